// Package child runs the programs that a command starts, and ends them with everything
// that they have started. It leaves out what their output and their exit code mean.
package child

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// The exit codes of a shell for a program that does not run.
const (
	NotRunnable = 126
	NotFound    = 127
)

// A Child is a program and how it runs.
type Child struct {
	Path   string   // of the program
	Args   []string // with the name of the program first
	Env    []string // nil is the environment of this process
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	// Group makes the program the leader of a process group, which is ended as a whole:
	// what a terminal sends to this process does not reach it.
	Group bool
	// Terminal becomes the standard input of the program, and its group, which it must
	// have, the one in the foreground there, until the program ends. Nil is none.
	Terminal *os.File

	// Signal is what asks the program to end when the context has ended; nil is SIGTERM.
	Signal func() os.Signal
	// Grace is how long it may then take before it is killed; nil is no time.
	Grace func() time.Duration
	// Linger is how long what the program has left running may hold its input and
	// output.
	Linger time.Duration
}

// Run runs the program until it ends, or until ctx does, and ends it then. What goes on
// running behind a program that has succeeded is no error. The error of a program that
// has failed is an *exec.ExitError.
func (c *Child) Run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.Path)
	cmd.Args, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Args, c.Env, c.Stdin, c.Stdout, c.Stderr
	cmd.WaitDelay = c.Linger
	cmd.Cancel = func() error { return c.end(cmd.Process) }
	restore := c.place(cmd)
	err := cmd.Start()
	if err == nil {
		end := c.follow(cmd.Process, restore)
		err = cmd.Wait()
		end()
	}
	restore()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// end asks the program to end, and kills what is left of it after the grace.
func (c *Child) end(p *os.Process) error {
	sig := os.Signal(syscall.SIGTERM)
	if c.Signal != nil {
		sig = c.Signal()
	}
	if err := c.signal(p, sig); err != nil {
		return err
	}
	if c.Grace != nil {
		for started := time.Now(); c.alive(p) && time.Since(started) < c.Grace(); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	_ = c.signal(p, os.Kill)
	return nil
}

// Code returns the exit code that a shell has for the error of a program that failed, or
// that could not be run.
func Code(err error) int {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended):
		if w, ok := ended.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			return 128 + int(w.Signal())
		}
		return ended.ExitCode()
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return NotFound
	}
	return NotRunnable
}
