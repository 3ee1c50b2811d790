//go:build unix

package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// openFlags keep a named pipe without a writer from blocking.
const openFlags = syscall.O_NONBLOCK

// private tells what is wrong where others than the user and root can read an open
// file, or could have put it there.
func private(file string, info os.FileInfo) error {
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case !info.Mode().IsRegular():
		return errors.New("is no regular file")
	case owner != 0 && int(owner) != os.Geteuid():
		return errors.New("belongs to somebody else")
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("is open to others (mode %04o)", info.Mode().Perm())
	}
	dir, err := os.Stat(filepath.Dir(file))
	if err == nil && dir.Mode().Perm()&0o002 != 0 && dir.Mode()&os.ModeSticky == 0 {
		return errors.New("is in a directory that everybody can write into")
	}
	return err
}

// noCoreDumps keeps the password out of core files, unless the user raises the limit
// again.
func noCoreDumps() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &limit) == nil {
		limit.Cur = 0
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &limit) // it can always be lowered
	}
}

// openTerminal opens the terminal where a person watches it: what is said goes there,
// and this is not a job in the background, which would be stopped at its first use.
func openTerminal() (*os.File, error) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, errNoTerminal
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	if front, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP); err != nil || front != unix.Getpgrp() {
		tty.Close()
		return nil, errNoTerminal
	}
	return tty, nil
}

// readPassword asks on the terminal, whatever standard input is.
func readPassword(ctx context.Context, prompt string) (string, error) {
	tty, err := openTerminal()
	if err != nil {
		return "", err
	}
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", errNoTerminal
	}
	io.WriteString(tty, prompt)
	p, err := aside(ctx, func() (string, error) {
		b, err := term.ReadPassword(fd)
		if err != nil {
			err = inputError("read the password: %w", err)
		}
		return string(b), err
	})
	_ = term.Restore(fd, before) // the reader may still sit there, with the echo off
	io.WriteString(tty, "\n")
	return p, err
}

// lendTerminal makes a command the leader of a process group, which is ended as a whole,
// and puts that group in the foreground of the terminal, if there is one. It returns
// what takes the terminal back.
func lendTerminal(c *exec.Cmd) (giveBack func()) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return unix.Kill(-c.Process.Pid, unix.SIGTERM) }
	end := func() {
		if c.Process != nil && c.ProcessState != nil && !c.ProcessState.Success() {
			_ = unix.Kill(-c.Process.Pid, unix.SIGKILL) // what has not heard SIGTERM
		}
	}
	tty, err := openTerminal()
	if err != nil {
		return end
	}
	fd := int(tty.Fd())
	before, _ := term.GetState(fd)
	c.Stdin, c.SysProcAttr.Foreground, c.SysProcAttr.Ctty = tty, true, fd
	return func() {
		end()
		signal.Ignore(unix.SIGTTOU) // for good: we are in the background now, and would be stopped
		_ = unix.IoctlSetPointerInt(fd, unix.TIOCSPGRP, unix.Getpgrp())
		if before != nil {
			_ = term.Restore(fd, before)
		}
		tty.Close()
	}
}
