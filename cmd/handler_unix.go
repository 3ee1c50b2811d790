//go:build unix

package cmd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ownGroup makes a command the leader of a process group: what a terminal sends to
// ours does not reach it.
func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// endGroup ends the process group of a command: by SIGTERM, and what is left of it when
// there is no more patience by SIGKILL.
func endGroup(ctx context.Context, p *os.Process) error {
	err := unix.Kill(-p.Pid, unix.SIGTERM)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	// Nobody else can get the number of a group while one of it is there.
	for started := time.Now(); unix.Kill(-p.Pid, 0) == nil && time.Since(started) < patience(ctx); {
		time.Sleep(5 * time.Millisecond)
	}
	_ = unix.Kill(-p.Pid, unix.SIGKILL)
	return err
}
