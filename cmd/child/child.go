// Package child runs programs for a command, and ends them together with everything
// that they have started. It does not interpret their output or their exit code.
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

// The exit codes of a shell for a program that cannot be run.
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

	// Group makes the program the leader of a process group, which is ended as a whole.
	// Signals from the terminal to this process do not reach that group.
	Group bool
	// Terminal, if it is not nil, becomes the standard input of the program. The
	// program's group is in the foreground there until it ends, so Group must be set.
	Terminal *os.File

	// Signal asks the program to end when the context has ended; nil is SIGTERM.
	Signal func() os.Signal
	// Grace is how long the program may then take before it is killed; nil is no time.
	Grace func() time.Duration
	// Linger is how long processes that the program has left running may hold its input
	// and output.
	Linger time.Duration
}

// Run runs the program until it ends. If ctx ends first, Run ends the program. It is no
// error if a program that succeeds leaves others running. The error of a program that
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

// end asks the program to end, and kills what is left of it after the grace period.
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

// Code returns the exit code that a shell reports for a program that failed or could not
// be run.
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
