package e2e

import (
	"os"
	"os/exec"
	"syscall"
)

// confine makes cmd run as the user of the server, and end with the tests however they end.
func (h *home) confine(cmd *exec.Cmd) error {
	endWithTests(cmd)
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.gid)}
	}
	return nil
}

// endWithTests makes cmd end with the tests however they end.
func endWithTests(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
