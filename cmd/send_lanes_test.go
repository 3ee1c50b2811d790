package cmd

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
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
	reply(t, s.session(t, who), func(m *xmpp.Element, _ int) []*xmpp.Element {
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
			in, feed := io.Pipe()
			written := make(map[string]time.Time)
			go func() {
				for n := range 20 {
					line := fmt.Sprintf("line %d", n)
					written[line] = time.Now()
					fmt.Fprintln(feed, line)
					time.Sleep(500 * time.Millisecond)
				}
				feed.Close()
			}()
			started := time.Now()
			r := s.run(t.Context(), in, "send", "--timeout", "12", "--grace", "300ms", "--lines", "--json", "--retry", "9", goodOne, badOne)
			for line, at := range written {
				if took := good.at[line].Sub(at); took < 0 || took > 100*time.Millisecond {
					t.Errorf("%s: %s came after %s", condition, line, took)
				}
			}
			if took := time.Since(started); took < 12*time.Second || took > 13*time.Second || r.code != exit.Timeout {
				t.Errorf("%s: %d after %s: %s", condition, r.code, took, r.err)
			}
			ok := r.ids(t, func(s sentRecord) bool { return s.OK })
			if len(ok) != 20 || len(r.records(t)) != 40 || len(good.bodies) != 20 || len(bad.at) != 1 {
				t.Errorf("%s: %d of %d, %v", condition, len(ok), len(r.records(t)), bad.at)
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
		r := s.run(t.Context(), &lines{max: 3000}, "send", "--timeout", "0", "--grace", "10ms", "--lines", "--json", "--retry", "9", goodOne, badOne)
		if r.code != 0 || len(r.records(t)) != 6000 {
			t.Fatalf("%d, %d records: %.500s", r.code, len(r.records(t)), r.err)
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

// One that does not is given up after as many tries in a row, with all that waits for it:
// not each of its messages has as many.
func TestSlowRecipientGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		good, _ := s.arrivals(t, goodOne, never), s.arrivals(t, badOne, later(xmpp.RecipientUnavailable))
		started := time.Now()
		r := s.run(t.Context(), &lines{max: 3000}, "send", "--timeout", "0", "--grace", "10ms", "--lines", "--json", "--retry", "3", goodOne, badOne)
		failed := r.ids(t, func(s sentRecord) bool { return !s.OK && s.Error.Condition == "recipient-unavailable" })
		if r.code != exit.No || len(failed) != 3000 || len(good.bodies) != 3000 {
			t.Errorf("%d, %d failed, %d came: %.500s", r.code, len(failed), len(good.bodies), r.err)
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
		in := new(lines)
		ctx, stop := contextAfter(t, 50*time.Second)
		defer stop()
		r := s.run(ctx, in, "send", "--grace", "10ms", "--lines", "--json", "--retry", "9", goodOne, badOne)
		if n := len(good.bodies); r.code != exit.Interrupt || n < 10*windowSize || n > 12*windowSize || in.n > 20*windowSize {
			t.Errorf("%d, %d came, %d were read", r.code, n, in.n)
		}
	})
}

// A limit of the own server is one for all. Nothing is lost by it, and each recipient
// gets its messages in order.
func TestLimitForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "rate-limit=20")
		one, two := s.arrivals(t, goodOne, never), s.arrivals(t, badOne, never)
		r := s.run(t.Context(), &lines{max: 100}, "send", "--timeout", "0", "--lines", "--json", "--retry", "3", "juliet@localhost", "mallory@localhost")
		synctest.Wait() // they read
		if r.code != 0 || len(one.bodies) != 100 || len(two.bodies) != 100 {
			t.Errorf("%d, %d and %d came: %s", r.code, len(one.bodies), len(two.bodies), r.err)
		}
		if pauses := s.count("<message"); pauses > 1000 {
			t.Errorf("%d tries", pauses)
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
