package xmpp_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
)

// A write to a peer that does not read ends with its context, and it is the end of
// the stream, as nobody knows how much of it was written.
func TestWriteStalls(t *testing.T) {
	presence := xmpp.NewElement(xmpp.NSClient, "presence")
	bubble(t, func(t *testing.T) {
		s, _ := connect(t)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errEnough)
		defer cancel()
		started := time.Now()
		if err := s.Send(ctx, presence); err != errEnough || time.Since(started) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(started))
		}
		if _, err := collectAll(s); !errors.Is(err, xmpp.ErrLost) {
			t.Error(err)
		}
		if err := s.Send(t.Context(), presence); !errors.Is(err, xmpp.ErrLost) {
			t.Error(err)
		}
	})
	bubble(t, func(t *testing.T) { // without a deadline there is one
		s, _ := connect(t)
		started := time.Now()
		if err := s.Send(t.Context(), presence); !errors.Is(err, xmpp.ErrLost) || time.Since(started) != 30*time.Second+200*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(started))
		}
	})
	bubble(t, func(t *testing.T) { // a write that waits for another has a context of its own, and harms nobody
		s, p := connect(t)
		first := async(func() (bool, error) { return true, s.Send(context.Background(), presence) })
		synctest.Wait()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errEnough)
		defer cancel()
		started := time.Now()
		if err := s.Send(ctx, presence); err != errEnough || time.Since(started) != time.Second {
			t.Errorf("%v after %s", err, time.Since(started))
		}
		if _, err := s.Ping(ctx, s.Server()); err != errEnough {
			t.Errorf("%v", err)
		}
		p.expect("<presence xmlns='jabber:client'/>")
		if r := <-first; r.err != nil {
			t.Errorf("the first: %v", r.err)
		}
	})
	bubble(t, func(t *testing.T) { // an answer is read while another write is stuck
		s, p := connect(t)
		call := async(ping(s, s.Server()))
		id := xmpp.Attr(p.next(), "id")
		stuck := async(func() (bool, error) { return true, s.Send(context.Background(), presence) })
		synctest.Wait()
		p.write("<iq type='result' from='localhost' id='" + id + "'/>")
		if r := <-call; r.err != nil || time.Since(r.at) != 0 {
			t.Errorf("%v", r.err)
		}
		if len(stuck) > 0 {
			t.Error("the write was not stuck")
		}
		p.next()
	})
	bubble(t, func(t *testing.T) { // an ended context writes nothing
		s, p := connect(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errEnough)
		if err := s.Send(ctx, presence); err != errEnough {
			t.Error(err)
		}
		go s.Close()
		p.closed()
	})
}

// What is larger than the server accepts (XEP-0478) is not sent.
func TestStanzaSize(t *testing.T) {
	limits := func(bytes string) string {
		return "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>" + bytes + "</max-bytes></limits>"
	}
	sized := func(n int) *xmpp.Element {
		e := xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message"), xmpp.NewText(xmpp.NSClient, "body", "x"))
		xmpp.Child(e, xmpp.NSClient, "body").SetText(strings.Repeat("x", n-len(text(e))+1))
		return e
	}
	for features, max := range map[string]int{
		limits("10000"): 10_000, limits(" 65536 "): 65_536,
		"": 0, limits("9999"): 0, limits("-1"): 0, limits(""): 0, limits("many"): 0, "<limits xmlns='evil'><max-bytes>10000</max-bytes></limits>": 0,
	} {
		bubble(t, func(t *testing.T) {
			o := scripted(t, func(p *peer) {
				p.bind(p.authenticate(features), "romeo@localhost/r")
				for p.next() != nil {
				}
			})
			s, err := xmpp.Dial(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if max == 0 {
				if err := s.Send(t.Context(), sized(100_000)); err != nil {
					t.Errorf("%s: %v", features, err)
				}
				return
			}
			if err := s.Send(t.Context(), sized(max), sized(max)); err != nil {
				t.Errorf("%s: %v", features, err)
			}
			if err := s.Send(t.Context(), sized(100), sized(max+1)); !errors.Is(err, xmpp.ErrTooLarge) || errors.Is(err, xmpp.ErrLost) {
				t.Errorf("%s: %v", features, err)
			}
			if err := s.Send(t.Context(), sized(100)); err != nil { // it is still there
				t.Errorf("%s: %v", features, err)
			}
		})
	}
}
