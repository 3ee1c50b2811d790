//go:build unix

package prompt

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// NoCoreDumps keeps the password out of core files, unless the user raises the limit
// again.
func NoCoreDumps() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &limit) == nil {
		limit.Cur = 0
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &limit) // lowering it always works
	}
}

// Terminal opens the terminal if a person watches it: standard error goes there, and
// this is not a background job, which would be stopped at its first use.
func Terminal() (*os.File, error) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, ErrNoTerminal
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, ErrNoTerminal
	}
	if front, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP); err != nil || front != unix.Getpgrp() {
		tty.Close()
		return nil, ErrNoTerminal
	}
	return tty, nil
}

// A question is asked on a terminal, which does not show the answer.
type question struct {
	tty    *os.File
	text   string
	before *unix.Termios
}

// ask also sets the terminal modes: a shell may have turned the echo on while the
// process was stopped.
func (q *question) ask(request uint) {
	silent := *q.before
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	silent.Iflag |= unix.ICRNL
	_ = unix.IoctlSetTermios(int(q.tty.Fd()), request, &silent)
	io.WriteString(q.tty, q.text)
}

// again asks again: input typed while the echo was on is dropped, later input is kept.
func (q *question) again() (request uint) {
	now, err := unix.IoctlGetTermios(int(q.tty.Fd()), getTermios)
	if err == nil && now.Lflag&unix.ECHO == 0 {
		return setTermios
	}
	return setFlushTermios
}

func (q *question) end(request uint) {
	_ = unix.IoctlSetTermios(int(q.tty.Fd()), request, q.before)
	io.WriteString(q.tty, "\n")
}

// Password asks on the terminal, whatever standard input is. After a stop the limit
// starts again, so that a person who returns has the full time.
func Password(ctx context.Context, text string, limit time.Duration) (string, error) {
	tty, err := Terminal()
	if err != nil {
		return "", err
	}
	before, err := unix.IoctlGetTermios(int(tty.Fd()), getTermios)
	if err != nil {
		return "", ErrNoTerminal
	}
	signals := make(chan os.Signal, 8)
	// The runtime would end the program at SIGQUIT, and leave the terminal without echo.
	signal.Notify(signals, unix.SIGTSTP, unix.SIGCONT, unix.SIGQUIT)
	defer signal.Stop(signals)
	q := &question{tty, text, before}
	q.ask(setTermios)
	answer := make(chan func() (string, error), 1)
	go func() {
		line, err := typedLine(tty)
		answer <- func() (string, error) { return line, err }
	}()
	const tick = 100 * time.Millisecond
	ticks := time.NewTicker(tick) // while the process is stopped there are none
	defer ticks.Stop()
	for waited := time.Duration(0); ; {
		select {
		case <-ticks.C:
			if waited += tick; limit > 0 && waited >= limit {
				q.end(setFlushTermios)
				return "", ErrLate
			}
		case <-ctx.Done(): // the reader still sits there
			q.end(setFlushTermios)
			return "", context.Cause(ctx)
		case a := <-answer:
			q.end(setTermios)
			return a()
		case s := <-signals:
			switch s {
			case unix.SIGQUIT:
				q.end(setFlushTermios)
				return "", ErrQuit
			case unix.SIGTSTP:
				q.end(setFlushTermios)
				suspend(signals)
			}
			waited = 0
			q.text = "\r" + text // some shells send SIGCONT twice
			q.ask(q.again())
		}
	}
}

// suspend stops the process until a shell continues it.
func suspend(signals <-chan os.Signal) {
	// The runtime never gives SIGTSTP its default action back, and the default of
	// SIGTTIN is the same. Unlike SIGSTOP, it does not stop a process that no shell
	// could continue: then there is no SIGCONT to wait for.
	_ = unix.Kill(unix.Getpid(), unix.SIGTTIN)
	select {
	case <-signals:
	case <-time.After(100 * time.Millisecond):
	}
}

// typedLine reads a line, and is io.EOF where Control-D ended it: half a password is none.
func typedLine(tty io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < maxAnswer {
		n, err := tty.Read(b)
		switch {
		case err != nil && err != io.EOF:
			return "", err
		case n == 0:
			return "", io.EOF
		case b[0] == '\n':
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", fmt.Errorf("it is longer than %d MiB", maxAnswer>>20)
}
