// Package stdio writes to standard output and standard error. It never hangs on a reader
// that has stopped, and never loses output silently. It does not know what is written.
package stdio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"xmppkit/internal/aside"
)

// Closed stands for a standard output that was closed from the start.
type Closed struct{}

// ErrClosed is the error of each write to Closed.
var ErrClosed = errors.New("standard output is closed, or is /dev/null opened for reading too")

func (Closed) Write([]byte) (int, error) { return 0, ErrClosed }

// stalled is how long to wait for a reader of standard output at the end.
const stalled = 200 * time.Millisecond

// Stdout writes to standard output. When its context ends, it stops waiting for a
// stalled reader.
type Stdout struct {
	w      io.Writer
	mu     sync.Mutex
	ctx    context.Context
	finish bool
	lost   error
}

// NewStdout returns a Stdout that writes to w until ctx ends.
func NewStdout(ctx context.Context, w io.Writer) *Stdout { return &Stdout{w: w, ctx: ctx} }

// Finish makes writes succeed even if the results cannot be written: a command that
// changes something, or whose exit code is an answer, must not stop halfway because its
// reader is gone. Lost then returns the first error.
func (s *Stdout) Finish() { s.finish = true }

// Lost is the error of the first write that failed after Finish.
func (s *Stdout) Lost() error { return s.lost }

// WholeLines makes each write start on a new line if standard output is a regular file.
// It calls torn if it had to complete somebody else's line first.
func (s *Stdout) WholeLines(torn func()) {
	if f, ok := s.w.(*os.File); ok {
		s.w = &tailWriter{out: f, torn: torn}
	}
}

// Until sets the context that limits the wait for a reader.
func (s *Stdout) Until(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
}

// Context returns the context that Until has set.
func (s *Stdout) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx
}

func (s *Stdout) Write(b []byte) (int, error) {
	if s.lost != nil {
		return len(b), nil
	}
	ctx := s.Context()
	n, err := s.write(ctx, b)
	if err != nil && s.finish && !errors.Is(err, context.Cause(ctx)) {
		s.lost = err
		return len(b), nil
	}
	return n, err
}

func (s *Stdout) write(ctx context.Context, b []byte) (int, error) {
	b = bytes.Clone(b) // it may be written long after this has returned
	return aside.Run(ctx, stalled, func() (int, error) { return s.w.Write(b) })
}
