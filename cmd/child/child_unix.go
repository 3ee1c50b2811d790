//go:build unix

package child

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// place gives a program its group and terminal. It returns a function that takes the
// terminal back.
func (c *Child) place(cmd *exec.Cmd) (restore func()) {
	if c.Group {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	if c.Terminal == nil {
		return func() {}
	}
	fd := int(c.Terminal.Fd())
	before, _ := term.GetState(fd)
	cmd.Stdin, cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = c.Terminal, true, fd
	return func() {
		signal.Ignore(unix.SIGTTOU) // for the rest of the run: this process is in the background now, and would be stopped
		_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, unix.Getpgrp())
		if before != nil {
			_ = term.Restore(fd, before)
		}
	}
}

// signal sends a signal to the program, or to its whole group.
func (c *Child) signal(p *os.Process, sig os.Signal) error {
	if !c.Group {
		return p.Signal(sig)
	}
	err := unix.Kill(-p.Pid, sig.(syscall.Signal))
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// alive reports whether the program, or another process of its group, still runs. The
// number of a group is not reused while a process is in it.
func (c *Child) alive(p *os.Process) bool {
	if !c.Group {
		return p.Signal(syscall.Signal(0)) == nil
	}
	return unix.Kill(-p.Pid, 0) == nil
}
