// Package stdio is standard output and standard error of a program that must neither hang on
// a reader that has stopped nor lose in silence what it could not write. It leaves out what
// is written.
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

// stalled is how long a reader of standard output is given when all is over.
const stalled = 200 * time.Millisecond

// Stdout writes to standard output. It gives up on a reader that does not read when its
// context ends.
type Stdout struct {
	w      io.Writer
	mu     sync.Mutex
	ctx    context.Context
	finish bool
	lost   error
}

// NewStdout returns one that writes to w until ctx ends.
func NewStdout(ctx context.Context, w io.Writer) *Stdout { return &Stdout{w: w, ctx: ctx} }

// Finish makes it succeed where the results cannot be written: a command that changes
// something, or whose exit code is an answer, does not stop half way because nobody looks
// any more. Lost is then the first error.
func (s *Stdout) Finish() { s.finish = true }

// Lost is the error of the first write that failed after Finish.
func (s *Stdout) Lost() error { return s.lost }

// WholeLines has each write begin at the begin of a line, where standard output is a
// regular file. It calls torn when it had to end a line of somebody else for that.
func (s *Stdout) WholeLines(torn func()) {
	if f, ok := s.w.(*os.File); ok {
		s.w = &tailWriter{out: f, torn: torn}
	}
}

// Until says when a reader is no longer waited for.
func (s *Stdout) Until(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
}

// Context is what the last call of Until said.
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
