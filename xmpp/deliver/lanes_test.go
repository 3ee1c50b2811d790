package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/deliver"
)

const (
	goodOne = "juliet@localhost/x"
	badOne  = "mallory@localhost/x"
)

// arrivals notes what a session of the stage gets, and refuses what refuse says, as if
// its server did it for the moment.
type arrivals struct {
	at     map[string]time.Time // the first time
	bodies []string             // those that were not refused, in order
}

func (s *stage) arrivals(t *testing.T, who string, refuse func(body string) *xmpp.StanzaError) *arrivals {
	a := &arrivals{at: make(map[string]time.Time)}
	reply(t, s.session(t, who), func(m *xmpp.Element) []*xmpp.Element {
		body, _ := xmpp.Text(m, xmpp.NSClient, "body")
		if _, known := a.at[body]; !known {
			a.at[body] = time.Now()
		}
		if e := refuse(body); e != nil {
			return []*xmpp.Element{xmpp.Refusal(m, e.Type, e.Condition)}
		}
		a.bodies = append(a.bodies, body)
		return nil
	})
	return a
}

func never(string) *xmpp.StanzaError { return nil }

func later(condition xmpp.Condition) func(string) *xmpp.StanzaError {
	return func(string) *xmpp.StanzaError { return &xmpp.StanzaError{Type: "wait", Condition: condition} }
}

// A recipient who is to be tried again later slows down nobody else, and its pauses do
// not move the end of the time.
func TestSlowRecipient(t *testing.T) {
	for _, condition := range []xmpp.Condition{xmpp.RecipientUnavailable, xmpp.ResourceConstraint, xmpp.PolicyViolation, "remote-server-timeout"} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			good, bad := s.arrivals(t, goodOne, never), s.arrivals(t, badOne, later(condition))
			r := &run{Options: deliver.Options{Stream: true, Retries: 9}, to: []string{goodOne, badOne}, grace: 300 * time.Millisecond}
			in := make(chan deliver.Chunk)
			written := make(map[string]time.Time)
			go func() {
				for range 20 {
					r.read++
					written[fmt.Sprintf("line %d", r.read)] = time.Now()
					in <- deliver.Chunk{Messages: []*deliver.Message{r.message(goodOne), r.message(badOne)}}
					time.Sleep(500 * time.Millisecond)
				}
				close(in)
			}()
			r.Source = in
			started := time.Now()
			ctx, cancel := context.WithTimeoutCause(t.Context(), 12*time.Second, xmpp.TimeoutError(12*time.Second))
			defer cancel()
			s.run(ctx, r)
			for line, at := range written {
				if took := good.at[line].Sub(at); took < 0 || took > 100*time.Millisecond {
					t.Errorf("%s: %s came after %s", condition, line, took)
				}
			}
			if took := time.Since(started); took < 12*time.Second || took > 13*time.Second || !errors.Is(r.err, context.DeadlineExceeded) {
				t.Errorf("%s: %v after %s", condition, r.err, took)
			}
			if ok := r.with(deliver.Accepted); len(ok) != 20 || len(r.settled)+len(r.left) != 40 || len(good.bodies) != 20 || len(bad.at) != 1 {
				t.Errorf("%s: %d of %d, %v", condition, len(ok), len(r.settled)+len(r.left), bad.at)
			}
		})
	}
}

// A recipient who takes messages again gets those that have waited, in order.
func TestSlowRecipientRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		started := time.Now()
		good := s.arrivals(t, goodOne, never)
		bad := s.arrivals(t, badOne, func(body string) *xmpp.StanzaError {
			if time.Since(started) > 10*time.Second {
				return nil
			}
			return later(xmpp.RecipientUnavailable)(body)
		})
		r := slow(9, 3000)
		s.run(t.Context(), r)
		if r.err != nil || len(r.with(deliver.Accepted)) != 6000 {
			t.Fatalf("%v, %d accepted", r.err, len(r.with(deliver.Accepted)))
		}
		for n := range 3000 {
			line := fmt.Sprintf("line %d", n+1)
			if good.bodies[n] != line || bad.bodies[n] != line {
				t.Fatalf("%s: %s, %s", line, good.bodies[n], bad.bodies[n])
			}
		}
		if took := good.at["line 3000"].Sub(started); took > time.Second {
			t.Errorf("the last one came after %s", took)
		}
	})
}

// slow is a delivery to one who takes messages and one who may not.
func slow(retries, lines int) *run {
	return &run{Options: deliver.Options{Stream: true, Retries: retries}, to: []string{goodOne, badOne}, lines: lines, grace: 10 * time.Millisecond}
}

// One that does not is given up after as many tries in a row, with all that waits for it:
// not each of its messages has as many.
func TestSlowRecipientGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		good, _ := s.arrivals(t, goodOne, never), s.arrivals(t, badOne, later(xmpp.RecipientUnavailable))
		started := time.Now()
		r := slow(3, 3000)
		s.run(t.Context(), r)
		if r.err != nil || len(r.with(deliver.Returned)) != 3000 || len(good.bodies) != 3000 {
			t.Errorf("%v, %d failed, %d came", r.err, len(r.with(deliver.Returned)), len(good.bodies))
		}
		if took := time.Since(started); took < 7*time.Second || took > 15*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// What waits for a slow recipient is bounded: then no more is read until there is room.
func TestSlowRecipientBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		good, _ := s.arrivals(t, goodOne, never), s.arrivals(t, badOne, later(xmpp.RecipientUnavailable))
		ctx, stop := contextAfter(t, 50*time.Second)
		defer stop()
		r := slow(9, 0)
		s.run(ctx, r)
		if n := len(good.bodies); !errors.Is(r.err, context.Canceled) || n < 10*windowSize || n > 12*windowSize || r.read > 13*windowSize {
			t.Errorf("%v, %d came, %d were read", r.err, n, r.read)
		}
	})
}

// A limit of your server is one for all. Nothing is lost by it, and each recipient gets its
// messages in order.
func TestLimitForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "rate-limit=20")
		one, two := s.arrivals(t, goodOne, never), s.arrivals(t, badOne, never)
		r := &run{Options: deliver.Options{Stream: true, Retries: 3}, to: []string{"juliet@localhost", "mallory@localhost"}, lines: 100}
		s.run(t.Context(), r)
		synctest.Wait() // they read
		if r.err != nil || len(one.bodies) != 100 || len(two.bodies) != 100 {
			t.Errorf("%v, %d and %d came", r.err, len(one.bodies), len(two.bodies))
		}
		if tries := s.count("<message"); tries > 1000 {
			t.Errorf("%d tries", tries)
		}
		order := func(a, b string) int { return numberOf(a) - numberOf(b) }
		if !slices.IsSortedFunc(one.bodies, order) || !slices.IsSortedFunc(two.bodies, order) {
			t.Errorf("%s\n%s", strings.Join(one.bodies, " "), strings.Join(two.bodies, " "))
		}
	})
}

func numberOf(line string) (n int) {
	fmt.Sscanf(line, "line %d", &n)
	return n
}

// contextAfter is interrupted, as by a signal, after a while.
func contextAfter(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(d, cancel)
	return ctx, cancel
}
