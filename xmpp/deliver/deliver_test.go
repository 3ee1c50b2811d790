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
	"xmppkit/xmpp/xep"
	"xmppkit/xmpp/xmpptest"
)

const juliet = "juliet@localhost"

// Nobody answers: no more than the window is written, in several flights, and reading
// stops soon behind it, however much there is to read. What was written may have been
// sent, and the rest was certainly not.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "silence@confirm")
		r := &run{Options: deliver.Options{Stream: true, Timeout: 10 * time.Second}, to: []string{juliet}}
		s.run(t.Context(), r)
		if messages, pings := s.count("<message"), s.count("<ping"); messages != windowSize || pings != windowSize/flightSize {
			t.Errorf("%d messages in %d flights", messages, pings)
		}
		if r.read > 2*windowSize {
			t.Errorf("%d lines were read", r.read)
		}
		unknown, unsent := r.with(deliver.Unconfirmed), r.with(deliver.Unsent)
		if r.err != xmpp.TimeoutError(10*time.Second) || len(unknown) != windowSize || len(unsent) != flightSize || len(r.left) != windowSize+flightSize || len(r.settled) > 0 {
			t.Errorf("%v: %d unknown, %d not sent", r.err, len(unknown), len(unsent))
		}
		for id, want := range map[*[]string]int{&unknown: 1, &unsent: 0} {
			for _, id := range *id {
				if s.count(id) != want {
					t.Fatalf("%s was written %d times, want %d", id, s.count(id), want)
				}
			}
		}
	})
}

// What is no stream is one flight, with the ping in it, however many are to get it.
func TestOneFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		r := &run{lines: 1, body: func(int) string { return strings.Repeat("x", 1000) }}
		for n := range 300 {
			r.to = append(r.to, fmt.Sprintf("juliet@localhost/%d", n))
		}
		var reads []string
		seen := 0
		s.then = func(heard string) {
			if more := heard[seen:]; strings.Contains(more, "<message") || strings.Contains(more, "<ping") || strings.Contains(more, "</stream") {
				reads = append(reads, more)
			}
			seen = len(heard)
		}
		s.run(t.Context(), r)
		if r.err != nil || s.count("<message") != 300 || s.count("<ping") != 1 || s.count("<presence") != 0 || len(r.with(deliver.Accepted)) != 300 {
			t.Error(r.err)
		}
		whole := strings.Join(reads, "")
		if end := `<ping xmlns="urn:xmpp:ping"/></iq></stream:stream>`; !strings.HasSuffix(whole, end) || !strings.HasPrefix(whole, "<message") {
			t.Errorf("%.100s...%s", whole, whole[max(0, len(whole)-100):])
		}
	})
}

// Large messages fill the window by their bytes.
func TestWindowBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "silence@confirm")
		s.run(t.Context(), &run{
			Options: deliver.Options{Stream: true, Timeout: time.Second}, to: []string{juliet}, lines: 20,
			body: func(int) string { return strings.Repeat("x", 100_000) },
		})
		if n := s.count("<message"); n != windowBytes/100_000 {
			t.Errorf("%d messages", n)
		}
	})
}

// Every message comes, with the id it had, through several losses: resumed where the
// server does, else bound anew. The time between is not less than a second.
func TestRetry(t *testing.T) {
	for _, faults := range [][]xmpptest.Fault{nil, {"no-resume"}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, faults...)
			next := 150
			s.then = func(heard string) {
				if n := strings.Count(heard, "<message"); n > next && next < 2000 {
					next = n + 400
					s.cut()
				}
			}
			started := time.Now()
			r := &run{Options: deliver.Options{Stream: true, Retries: 2}, to: []string{juliet}, lines: 2000}
			s.run(t.Context(), r)
			ids := r.with(deliver.Accepted)
			slices.Sort(ids)
			if r.err != nil || len(slices.Compact(ids)) != 2000 || len(r.settled) != 2000 {
				t.Fatalf("%v, %d of %d", r.err, len(slices.Compact(ids)), len(r.settled))
			}
			if resumed := s.count("<resume ") > 0; resumed != (faults == nil) {
				t.Errorf("%q: resumed is %v", faults, resumed)
			}
			losses := len(s.conns) - 1
			if took := time.Since(started); losses < 2 || took < time.Duration(losses)*time.Second || took > time.Duration(losses)*2*time.Second {
				t.Errorf("%d losses, %s", losses, took)
			}
			for n := range 2000 {
				if s.count(fmt.Sprintf("<body>line %d</body>", n+1)) == 0 {
					t.Errorf("line %d is lost", n+1)
				}
			}
			if again := s.count("<message") - 2000; again < 0 || again > losses*windowSize {
				t.Errorf("%d were sent again", again)
			}
		})
	}
}

// Tries are counted without a success in between, wait ever longer, and end.
func TestRetryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "close@confirm", "no-resume")
		started := time.Now()
		r := &run{Options: deliver.Options{Stream: true, Retries: 4}, to: []string{juliet}, lines: 3}
		s.run(t.Context(), r)
		if took := time.Since(started); !errors.Is(r.err, xmpp.ErrLost) || len(s.conns) != 5 || took < 15*time.Second || took > 23*time.Second {
			t.Errorf("%v after %d connections and %s", r.err, len(s.conns), took)
		}
		if len(r.with(deliver.Unconfirmed)) != 3 || len(r.settled) > 0 {
			t.Errorf("%d are unknown", len(r.with(deliver.Unconfirmed)))
		}
	})
}

// What a session that was lost may have brought is not said to be unsent, although the next
// one was lost before it came to it.
func TestLostTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "silence@confirm", "no-resume")
		s.then = func(heard string) {
			if n := strings.Count(heard, "<message"); n == windowSize && len(s.conns) == 1 || n > windowSize {
				s.cut()
			}
		}
		r := &run{Options: deliver.Options{Stream: true, Retries: 1}, to: []string{juliet}, lines: windowSize}
		s.run(t.Context(), r)
		if !errors.Is(r.err, xmpp.ErrLost) || len(s.conns) != 2 || len(r.with(deliver.Unconfirmed)) != windowSize {
			t.Errorf("%v, %d are unknown", r.err, len(r.with(deliver.Unconfirmed)))
		}
	})
}

// A receipt counts from the recipient, whatever its resource, and from nobody else.
func TestReceipt(t *testing.T) {
	for from, want := range map[string]deliver.Fate{"juliet@localhost/other": deliver.Received, "mallory@localhost/juliet": deliver.Overdue, "romeo@localhost/x": deliver.Overdue} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			there := s.session(t, "juliet@localhost/x")
			forger := s.session(t, from)
			reply(t, there, func(m *xmpp.Element) []*xmpp.Element {
				_ = forger.Send(t.Context(), receiptFor(m))
				wrong := receiptFor(m)
				xmpp.Child(wrong, xep.NSReceipts, "received").CreateAttr("id", "another")
				return []*xmpp.Element{wrong}
			})
			r := &run{Options: deliver.Options{Stream: true, Receipt: true, Timeout: 5 * time.Second}, to: []string{"juliet@localhost/x"}, lines: 1}
			s.run(t.Context(), r)
			// The wait for the receipt and that for the rest are over at the same moment.
			if got := append(r.with(want), r.with(deliver.Unreceived)...); len(got) != 1 || want == deliver.Received && r.err != nil {
				t.Errorf("%s: %v, %d settled", from, r.err, len(r.settled))
			}
		})
	}
}

// XEP-0205: what is too much at a time is sent again later: with the same id, and for as
// long as that helps. Without another try, it has failed.
func TestLimit(t *testing.T) {
	for retries, failed := range []int{10, 1, 0} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			seen := make(map[string]int)
			reply(t, s.session(t, "juliet@localhost/x"), func(m *xmpp.Element) []*xmpp.Element {
				id := xmpp.Attr(m, "id")
				seen[id]++
				if body, _ := xmpp.Text(m, xmpp.NSClient, "body"); seen[id] == 1 || seen[id] == 2 && body == "line 7" {
					return []*xmpp.Element{xmpp.Refusal(m, "modify", xmpp.PolicyViolation)}
				}
				return nil
			})
			started := time.Now()
			r := &run{Options: deliver.Options{Stream: true, Retries: retries}, to: []string{"juliet@localhost/x"}, lines: 10, grace: 100 * time.Millisecond}
			s.run(t.Context(), r)
			if len(seen) != 10 || len(r.settled) != 10 || len(r.with(deliver.Returned)) != failed || len(r.with(deliver.Accepted)) != 10-failed || r.err != nil {
				t.Errorf("%d tries: %v, %d failed", retries, r.err, len(r.with(deliver.Returned)))
			}
			if took := time.Since(started); retries == 2 && (took < 2*time.Second || took > 6*time.Second) {
				t.Errorf("took %s", took)
			}
		})
	}
}

// A few are too many as well: each time half of what was in flight is tried, so that no
// message runs out of tries while others come through.
func TestLimitOfFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "rate-limit=20")
		r := &run{Options: deliver.Options{Stream: true, Retries: 3}, to: []string{juliet}, lines: 100}
		if s.run(t.Context(), r); r.err != nil || len(r.with(deliver.Accepted)) != 100 {
			t.Errorf("%v, %d arrived", r.err, len(r.with(deliver.Accepted)))
		}
	})
}

// What your server has no room for is sent again once it has.
func TestLimitOfServer(t *testing.T) {
	const most, more = 12_000, 50 // messages that the server keeps
	for retries, failed := range []int{more, 0} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			go func() {
				time.Sleep(500 * time.Millisecond)
				reply(t, s.session(t, "juliet@localhost/x"), func(*xmpp.Element) []*xmpp.Element { return nil })
			}()
			r := &run{Options: deliver.Options{Stream: true, Retries: retries}, to: []string{juliet}, lines: most + more}
			s.run(t.Context(), r)
			if r.err != nil || len(r.with(deliver.Returned)) != failed || len(r.with(deliver.Accepted)) != most+more-failed {
				t.Errorf("%d tries: %v, %d of %d failed", retries, r.err, len(r.with(deliver.Returned)), len(r.settled))
			}
			if again := s.count("<message") - most - more; again < retries || again > retries*more {
				t.Errorf("%d tries: %d were sent again", retries, again)
			}
			time.Sleep(time.Second)
		})
	}
}

// A bounce that comes in the very moment when the time for it is over: one result.
func TestBounceAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		reply(t, s.session(t, "juliet@localhost/x"), func(m *xmpp.Element) []*xmpp.Element {
			time.Sleep(100 * time.Millisecond)
			return []*xmpp.Element{xmpp.Refusal(m, "cancel", xmpp.Gone)}
		})
		for range 20 {
			r := &run{Options: deliver.Options{Stream: true}, to: []string{"juliet@localhost/x"}, lines: 1, grace: 100 * time.Millisecond}
			if s.run(t.Context(), r); r.err != nil || len(r.settled) != 1 || len(r.with(deliver.Accepted))+len(r.with(deliver.Returned)) != 1 {
				t.Fatalf("%v, %d settled", r.err, len(r.settled))
			}
		}
	})
}

// Where results cannot be written, nothing more is sent.
func TestBrokenResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		r := &run{Options: deliver.Options{Stream: true, Retries: 3}, to: []string{juliet}}
		broken := errors.New("canary")
		full := func(o *deliver.Options) {
			o.Settled = func(*deliver.Message) error { return broken }
		}
		s.runWith(t.Context(), r, full)
		if r.err != broken || len(s.conns) != 1 || s.count("<message") > 3*windowSize {
			t.Errorf("%v, %d connections, %d messages", r.err, len(s.conns), s.count("<message"))
		}
	})
}

// The end of the context, but not of its time, gives what is in flight half a second.
func TestInterrupted(t *testing.T) {
	for fault, want := range map[xmpptest.Fault]deliver.Fate{"one-segment": deliver.Accepted, "silence@confirm": deliver.Unconfirmed} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, fault)
			ctx, cancel := context.WithCancelCause(t.Context())
			stop := errors.New("canary")
			s.then = func(heard string) {
				if strings.Contains(heard, "<message") {
					cancel(stop)
				}
			}
			started := time.Now()
			r := &run{Options: deliver.Options{Stream: true}, to: []string{juliet}, lines: 5}
			s.run(ctx, r)
			if took := time.Since(started); !errors.Is(r.err, stop) && r.err != nil || took > time.Second || len(r.with(want)) != 5 {
				t.Errorf("%s: %v after %s, %d", fault, r.err, took, len(r.with(want)))
			}
		})
	}
}

// A bounce by your server comes before the confirmation: however both are taken, the
// message is refused and not accepted.
func TestBounceBeforeConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		r := &run{Options: deliver.Options{Stream: true}, to: []string{"nobody@localhost"}, lines: 1000}
		s.runWith(t.Context(), r, func(o *deliver.Options) {
			o.Flush = func() error { // while this lasts, both come
				time.Sleep(time.Second)
				return nil
			}
		})
		if n := len(r.with(deliver.Returned)); r.err != nil || n != 1000 {
			t.Errorf("%v, %d were refused", r.err, n)
		}
	})
}
