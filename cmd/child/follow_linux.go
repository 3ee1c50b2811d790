package child

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// follow stops this process and its group when Control-Z stops a program that has the
// terminal, and continues the program afterwards, because the shell knows only this process.
// It calls restore to take the terminal back.
func (c *Child) follow(p *os.Process, restore func()) (end func()) {
	if c.Terminal == nil {
		return func() {}
	}
	changed, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(changed, unix.SIGCHLD)
	go func() {
		defer close(ended)
		for range changed {
			var info unix.Siginfo // of a stop, which the end of the program is not
			if unix.Waitid(unix.P_PID, p.Pid, &info, unix.WSTOPPED|unix.WNOHANG, nil) == nil && info.Signo != 0 {
				c.suspend(p, restore)
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(changed)
		<-ended
	}
}

func (c *Child) suspend(p *os.Process, restore func()) {
	fd, own := int(c.Terminal.Fd()), unix.Getpgrp()
	theirs, _ := term.GetState(fd)
	restore()
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	_ = unix.Kill(0, unix.SIGTSTP) // which has no effect if there is no shell to continue it
	select {
	case <-continued:
	case <-time.After(100 * time.Millisecond):
	}
	signal.Stop(continued)
	if front, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil && front == own {
		if theirs != nil {
			_ = term.Restore(fd, theirs)
		}
		_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, p.Pid)
	}
	_ = c.signal(p, unix.SIGCONT)
}
