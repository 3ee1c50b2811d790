package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/output"
)

// A closedWriter stands for a standard output that was closed from the start.
type closedWriter struct{}

func (closedWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

// stalled is how long a reader of standard output is given when all is over.
const stalled = 200 * time.Millisecond

// A stoppableWriter gives up on a reader that does not read when its context ends.
type stoppableWriter struct {
	w   io.Writer
	mu  sync.Mutex
	ctx context.Context

	// finish makes it go on where the results cannot be written: a command that
	// changes something, or whose exit code is an answer, does not stop half way
	// because nobody looks any more. lost is then the first error.
	finish bool
	lost   error
}

// until says when what it writes is no longer waited for.
func (s *stoppableWriter) until(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
}

func (s *stoppableWriter) context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx
}

func (s *stoppableWriter) Write(b []byte) (int, error) {
	if s.lost != nil {
		return len(b), nil
	}
	ctx := s.context()
	n, err := s.write(ctx, b)
	if err != nil && s.finish && !errors.Is(err, context.Cause(ctx)) {
		s.lost = err
		return len(b), nil
	}
	return n, err
}

func (s *stoppableWriter) write(ctx context.Context, b []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	b = bytes.Clone(b) // it may be written long after this has returned
	go func() {
		n, err := s.w.Write(b)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.n, r.err
	case <-time.After(stalled):
		return 0, context.Cause(ctx)
	}
}

// open makes what the program writes to.
func (env *Env) open(ctx context.Context) {
	env.started = time.Now()
	env.stdout = &stoppableWriter{ctx: ctx, w: env.Out}
	env.talk = &talker{
		w:    env.Err,
		over: func() bool { return env.stdout.context().Err() != nil },
		json: func() bool { return env.flags.json && env.flags.verbose == 0 },
	}
}

// bound lets results be waited for until --timeout has passed since the program was
// started. A session says later when its time is over.
func (env *Env) bound(ctx context.Context) {
	if env.flags.timeout > 0 {
		d := env.flags.timeout
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, env.started.Add(time.Duration(d)), errTimeout(d))
		context.AfterFunc(ctx, cancel)
	}
	env.stdout.until(ctx)
}

// A helpWriter writes what cobra prints. By then the flags have been read, if not those
// of the environment.
type helpWriter struct {
	env  *Env
	ctx  context.Context
	once sync.Once
}

func (h *helpWriter) Write(b []byte) (int, error) {
	h.once.Do(func() { h.env.bound(h.ctx) })
	return h.env.stdout.Write(b)
}

// finishes says that the command finishes its work, whether its results are read or
// not, and that its exit code is an answer.
func (env *Env) finishes() { env.stdout.finish = true }

// outcome is the error of a command, if what could not be written is taken into
// account. A reader that goes away has seen enough of what only lists.
func (env *Env) outcome(err error) error {
	write, unwritten := errors.AsType[*output.WriteError](err)
	lost := env.stdout.lost
	e, decided := errors.AsType[*exit.Error](err)
	switch {
	case errors.Is(err, errReaderGone), unwritten && errors.Is(write, syscall.EPIPE):
		return nil
	case lost == nil:
		return err
	case err == nil, decided && e.Code == exit.No && !errors.Is(lost, syscall.EPIPE):
		return &output.WriteError{Err: lost}
	}
	return err
}

// A talker writes to standard error. It holds up nobody for long: where nothing is read
// for a while, what comes next is dropped until what was begun has been written.
type talker struct {
	w    io.Writer
	over func() bool // the command has no more time
	json func() bool // all that is written is JSON

	mu      sync.Mutex
	begun   chan struct{} // closed once the last write has ended; nil if there was none
	part    chan struct{} // has a token when a part of it has been written
	dropped int           // how many since then
}

const (
	// talkWait is how long a reader of standard error is waited for.
	talkWait = 400 * time.Millisecond
	// talkPart is what is written at once: as much as a pipe holds.
	talkPart = 64 << 10
)

// Write never fails: there is nowhere left to say that it did.
func (t *talker) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun != nil && !isClosed(t.begun) {
		t.dropped++
		return len(b), nil
	}
	text := bytes.Clone(b) // it may be written long after this has returned
	if t.dropped > 0 && !t.json() {
		text = append(fmt.Appendf(nil, "xmppkit: * standard error was not read: left out %d writes\n", t.dropped), text...)
	}
	t.dropped = 0
	t.begun, t.part = make(chan struct{}), make(chan struct{}, 1)
	go writeParts(t.w, text, t.part, t.begun)
	t.wait()
	return len(b), nil
}

// writeParts writes b, tells of each part, and closes done.
func writeParts(w io.Writer, b []byte, part, done chan struct{}) {
	defer close(done)
	for len(b) > 0 {
		n, err := w.Write(b[:min(len(b), talkPart)])
		if err != nil {
			return
		}
		b = b[n:]
		select {
		case part <- struct{}{}:
		default:
		}
	}
}

// last waits once more for what was begun, so that the error of the command can follow.
func (t *talker) last() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun != nil {
		t.wait()
	}
}

// wait waits until all is written, for as long as something is read.
func (t *talker) wait() {
	timer := time.NewTimer(talkWait)
	defer timer.Stop()
	for {
		select {
		case <-t.begun:
			return
		case <-timer.C:
			return
		case <-t.part:
			if !t.over() {
				timer.Reset(talkWait)
			}
		}
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// whileRead ends ctx by errReaderGone when nobody can read standard output any more.
func (env *Env) whileRead(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancelCause(ctx)
	if env.OutGone != nil {
		go func() {
			if env.OutGone(ctx) {
				stop(errReaderGone)
			}
		}()
	}
	return ctx, func() { stop(nil) }
}
