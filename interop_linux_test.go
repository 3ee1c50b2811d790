package main

import (
	"os"
	"os/exec"
	"syscall"
)

// confine makes cmd run as the user of the server, and end with the tests however they end.
func (h *home) confine(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.gid)}
	}
	return nil
}
