package stdio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A slowReader takes so long for each write; what is closed takes none.
type slowReader struct {
	bytes.Buffer
	wait func()
}

func (s *slowReader) Write(b []byte) (int, error) {
	s.wait()
	return s.Buffer.Write(b)
}

// A reader of standard error that is slow gets all; one that stalls misses what is said
// meanwhile, is told so, and holds up nobody.
func TestStderr(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := func() bool { return false }
		started := time.Now()
		slow := &slowReader{wait: func() { time.Sleep(300 * time.Millisecond) }}
		talk := &Stderr{w: slow, over: no, json: no}
		long := strings.Repeat("x", 10*talkPart) + "\n"
		io.WriteString(talk, long)
		io.WriteString(talk, "end\n")
		if slow.String() != long+"end\n" || time.Since(started) > 4*time.Second {
			t.Errorf("%d bytes after %s", slow.Len(), time.Since(started))
		}

		// Not beyond the end of the command.
		started = time.Now()
		talk.over = func() bool { return true }
		if io.WriteString(talk, long); time.Since(started) > talkWait {
			t.Errorf("took %s", time.Since(started))
		}
		synctest.Wait()
		time.Sleep(10 * time.Second)

		started = time.Now()
		read := make(chan struct{})
		stuck := &slowReader{wait: func() { <-read }}
		talk = &Stderr{w: stuck, over: no, json: no}
		for range 1000 {
			io.WriteString(talk, "a line\n")
		}
		if talk.Last(); time.Since(started) > 2*talkWait {
			t.Errorf("1000 lines took %s", time.Since(started))
		}
		close(read)
		talk.Last()
		io.WriteString(talk, "b\n")
		if got, want := stuck.String(), "a line\nxmppkit: * standard error was not read: dropped 999 writes\nb\n"; got != want {
			t.Errorf("%q", got)
		}
	})
}

// A failed write ends what lists, and not what finishes its work. Nothing follows it.
func TestStdout(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	fail := &brokenPipe{}
	w := &Stdout{w: fail, ctx: ctx}
	if _, err := w.Write([]byte("a")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("%v", err)
	}
	w.finish = true
	for range 3 {
		if n, err := w.Write([]byte("a")); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if fail.writes != 2 || !errors.Is(w.lost, syscall.EPIPE) {
		t.Errorf("%d writes, %v", fail.writes, w.lost)
	}
	// That its time is over ends both.
	stuck := &slowReader{wait: func() { <-ctx.Done(); select {} }}
	w = &Stdout{w: stuck, ctx: ctx, finish: true}
	cancel(errOver)
	if _, err := w.Write([]byte("a")); !errors.Is(err, errOver) || w.lost != nil {
		t.Errorf("%v, %v", err, w.lost)
	}
}

var errOver = errors.New("the time is over")

type brokenPipe struct{ writes int }

func (f *brokenPipe) Write([]byte) (int, error) {
	f.writes++
	return 0, syscall.EPIPE
}
