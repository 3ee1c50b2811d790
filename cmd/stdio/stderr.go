package stdio

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// Stderr writes to standard error without blocking for long. If the reader stalls,
// further writes are dropped until the pending one is written.
type Stderr struct {
	w    io.Writer
	over func() bool
	json func() bool

	mu      sync.Mutex
	begun   chan struct{} // closed once the last write has ended; nil if there was none
	part    chan struct{} // has a token when a part of it has been written
	dropped int           // how many since then
}

// NewStderr returns a Stderr that writes to w. over reports whether the command has no time
// left, json whether all output is JSON.
func NewStderr(w io.Writer, over, json func() bool) *Stderr {
	return &Stderr{w: w, over: over, json: json}
}

const (
	// talkWait is how long to wait for a reader of standard error.
	talkWait = 400 * time.Millisecond
	// talkPart is the size of one write: as much as a pipe holds.
	talkPart = 64 << 10
)

// Write never fails: there is nowhere to report it.
func (t *Stderr) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun != nil && !isClosed(t.begun) {
		t.dropped++
		return len(b), nil
	}
	text := bytes.Clone(b) // it may be written long after this has returned
	if t.dropped > 0 && !t.json() {
		text = append(fmt.Appendf(nil, "xmppkit: * standard error was not read: dropped %d writes\n", t.dropped), text...)
	}
	t.dropped = 0
	t.begun, t.part = make(chan struct{}), make(chan struct{}, 1)
	go writeParts(t.w, text, t.part, t.begun)
	t.wait()
	return len(b), nil
}

// writeParts writes b, signals each part, and closes done.
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

// Last waits once more for the pending write, so that the error of the command can
// follow.
func (t *Stderr) Last() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun != nil {
		t.wait()
	}
}

// wait waits until all is written, for as long as something is read.
func (t *Stderr) wait() {
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
