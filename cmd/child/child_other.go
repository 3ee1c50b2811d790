//go:build !unix

package child

import (
	"os"
	"os/exec"
)

func (c *Child) place(cmd *exec.Cmd) (restore func()) {
	if c.Terminal != nil {
		cmd.Stdin = c.Terminal
	}
	return func() {}
}

// signal kills: other signals cannot be sent here.
func (c *Child) signal(p *os.Process, _ os.Signal) error { return p.Kill() }

func (c *Child) alive(*os.Process) bool { return false }
