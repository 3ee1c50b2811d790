package xmpp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// expect reads an element and compares it.
func (p *peer) expect(want string) {
	p.t.Helper()
	if got := strings.Replace(text(p.next()), ` xml:lang="en"`, "", 1); got != strings.ReplaceAll(want, "'", `"`) {
		p.t.Errorf("the server got %s, want %s", got, want)
	}
}

// closed reads the end of the client's stream.
func (p *peer) closed() {
	p.t.Helper()
	if e, _, err := p.r.Next(); err != io.EOF {
		p.t.Errorf("the server got %s, %v instead of the end of the stream", text(e), err)
	}
}

// collect ranges over what has arrived, up to the reason for the end.
func collect(s *xmpp.Session) (ids []string, err error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errEnough)
	for e, err := range s.Stanzas(ctx) {
		if err != nil {
			return ids, err
		}
		ids = append(ids, xmpp.Attr(e, "id"))
	}
	return ids, nil
}

var errEnough = errors.New("enough")

func ping(s *xmpp.Session, to xmpp.JID, before ...*xmpp.Element) func() (time.Duration, error) {
	return func() (time.Duration, error) { return s.Ping(context.Background(), to, before...) }
}

const (
	streamsNS = "urn:ietf:params:xml:ns:xmpp-streams"
	stanzasNS = "urn:ietf:params:xml:ns:xmpp-stanzas"
)

func TestFrom(t *testing.T) {
	bubble(t, func(t *testing.T) { // an unparsable to is not ours to judge; from is absent for the own account
		s, p := connect(t)
		p.write("<message to='a@@b' id='1'/>")
		for e := range s.Stanzas(t.Context()) {
			if from, err := s.From(e); err != nil || from != mustJID("romeo@localhost") {
				t.Errorf("%s, %v", from, err)
			}
			break
		}
		for in, want := range map[string]string{"<message from='A@B/C'/>": "A@b/C", "<message/>": "romeo@localhost", "<message from=''/>": "", "<message from='@'/>": ""} {
			if from, err := s.From(parse(t, in)); from.String() != want || (err == nil) != (want != "") {
				t.Errorf("%s: %s, %v", in, from, err)
			}
		}
		if s.JID() != mustJID("romeo@localhost/r") || s.Server() != mustJID("localhost") {
			t.Errorf("%s, %s", s.JID(), s.Server())
		}
	})
}

// A stream error (RFC 6120, section 4.9) is what all learn that the session ended by, and our side is closed.
func TestStreamErrors(t *testing.T) {
	for _, condition := range []string{
		"bad-format", "bad-namespace-prefix", "conflict", "connection-timeout", "host-gone", "host-unknown", "improper-addressing",
		"internal-server-error", "invalid-from", "invalid-namespace", "invalid-xml", "not-authorized", "not-well-formed", "policy-violation",
		"remote-connection-failed", "reset", "resource-constraint", "restricted-xml", "see-other-host", "system-shutdown",
		"undefined-condition", "unsupported-encoding", "unsupported-feature", "unsupported-stanza-type", "unsupported-version",
		"", "another-one",
	} {
		bubble(t, func(t *testing.T) {
			s, p := connect(t)
			call := async(ping(s, s.Server()))
			p.next()
			e := "<text xmlns='" + streamsNS + "' xml:lang='en'>because</text><x xmlns='u'/>"
			if condition != "" {
				e = "<" + condition + " xmlns='" + streamsNS + "'>x</" + condition + ">" + e
			}
			p.write("<message id='1'/><stream:error>" + e + "</stream:error><message id='2'/>")
			p.closed()
			want := xmpp.StreamError{Condition: xmpp.Condition(condition), Text: "because"}
			switch condition {
			case "":
				want.Condition = xmpp.UndefinedCondition
			case "see-other-host":
				want.Text, want.Host = "x (because)", "x"
			}
			synctest.Wait()
			ids, loop := collectAll(s)
			for name, err := range map[string]error{"Ping": (<-call).err, "Stanzas": loop, "Send": s.Send(t.Context(), parse(t, "<message/>"))} {
				var got *xmpp.StreamError
				if !errors.As(err, &got) || *got != want {
					t.Errorf("%s: %v", name, err)
				}
			}
			if !slices.Equal(ids, []string{"1"}) {
				t.Errorf("%q", ids)
			}
			if _, err := s.Ping(t.Context(), s.Server()); err == nil {
				t.Error("a ping")
			}
		})
	}
	bubble(t, func(t *testing.T) { // an error of another namespace is none
		s, p := connect(t)
		p.write("<error xmlns='evil'/><error/><message id='1'/>")
		synctest.Wait()
		if ids, err := collect(s); !slices.Equal(ids, []string{"1"}) || err != errEnough {
			t.Errorf("%q, %v", ids, err)
		}
	})
}

// What is no XML that XMPP allows ends the stream, the server is told why, and nothing
// after it counts.
func TestMalformed(t *testing.T) {
	for in, condition := range map[string]string{
		"<message><body>a</message>":                          "not-well-formed",
		"text":                                                "not-well-formed",
		"<message a='1' a='2'/>":                              "not-well-formed",
		"<x:message/>":                                        "not-well-formed",
		"<x:message xmlns:x='jabber:client'/>":                "bad-namespace-prefix",
		"<!-- -->":                                            "restricted-xml",
		"<message><?pi?></message>":                           "restricted-xml",
		"<message><body>&nbsp;</body></message>":              "restricted-xml",
		"<message><body>\xff</body></message>":                "unsupported-encoding",
		"<message><body>\x00</body></message>":                "not-well-formed",
		strings.Repeat("<x>", 40) + "</y>":                    "not-well-formed",
		"<stream:stream>":                                     "not-well-formed",
		"<message><body>" + strings.Repeat("x", 64<<20) + "<": "policy-violation",
	} {
		bubble(t, func(t *testing.T) {
			s, p := connect(t)
			call := async(ping(s, s.Server()))
			p.next()
			go p.write("<message id='1'/>" + in + "<message id='2'/>")
			p.expect("<error xmlns='http://etherx.jabber.org/streams'><" + condition + " xmlns='" + streamsNS + "'/></error>")
			p.closed()
			ids, end := collectAll(s)
			for _, err := range []error{(<-call).err, end} {
				var got *xmpp.StreamError
				if !errors.As(err, &got) || string(got.Condition) != condition || !got.Sent {
					t.Errorf("%.40q: %v", in, err)
				}
			}
			if !slices.Equal(ids, []string{"1"}) {
				t.Errorf("%.40q: %q", in, ids)
			}
		})
	}
}

// An end without </stream:stream>, in the middle of a stanza too, is a loss.
func TestLost(t *testing.T) {
	for _, last := range []string{"", "<message><body>half a", "</stream:stream>", "</stream:str"} {
		bubble(t, func(t *testing.T) {
			s, p := connect(t)
			call := async(ping(s, s.Server()))
			p.next()
			p.write("<message id='1'/>" + last)
			if last == "</stream:stream>" {
				p.closed()
			}
			p.raw.Close()
			ids, end := collectAll(s)
			if err := (<-call).err; !errors.Is(err, xmpp.ErrLost) || !errors.Is(end, xmpp.ErrLost) || !slices.Equal(ids, []string{"1"}) {
				t.Errorf("%q: %v, %q, %v", last, err, ids, end)
			}
			if err := s.Send(t.Context(), parse(t, "<message/>")); !errors.Is(err, xmpp.ErrLost) {
				t.Errorf("%q: Send: %v", last, err)
			}
		})
	}
}

// Close waits for the server only where something is unconfirmed, and never long (RFC 6120,
// section 4.4).
func TestClose(t *testing.T) {
	presence := xmpp.NewElement(xmpp.NSClient, "presence")
	confirm := func(s *xmpp.Session, p *peer, typ string) {
		call := async(ping(s, s.Server()))
		p.write("<iq type='" + typ + "' from='localhost' id='" + xmpp.Attr(p.next(), "id") + "'/>")
		<-call
	}
	send := func(s *xmpp.Session, p *peer) {
		sent := async(func() (bool, error) { return true, s.Send(context.Background(), presence) })
		p.next()
		<-sent
	}
	for name, test := range map[string]struct {
		before func(s *xmpp.Session, p *peer)
		answer time.Duration // until the server closes its side; 0: never
		want   time.Duration
	}{
		"nothing sent":          {func(*xmpp.Session, *peer) {}, 0, 0},
		"unconfirmed":           {send, 0, 500 * time.Millisecond},
		"unconfirmed, answered": {send, 200 * time.Millisecond, 200 * time.Millisecond},
		"confirmed":             {func(s *xmpp.Session, p *peer) { send(s, p); confirm(s, p, "result") }, 0, 0},
		"confirmed by an error": {func(s *xmpp.Session, p *peer) { send(s, p); confirm(s, p, "error") }, 0, 0},
		"more after the ping":   {func(s *xmpp.Session, p *peer) { confirm(s, p, "result"); send(s, p) }, 0, 500 * time.Millisecond},
		"more before its answer": {func(s *xmpp.Session, p *peer) {
			call := async(ping(s, s.Server()))
			id := xmpp.Attr(p.next(), "id")
			send(s, p)
			p.write("<iq type='result' from='localhost' id='" + id + "'/>")
			<-call
		}, 0, 500 * time.Millisecond},
		"answered by another": {func(s *xmpp.Session, p *peer) { // it came through the server
			call := async(ping(s, mustJID("juliet@localhost/x")))
			p.write("<iq type='result' from='juliet@localhost/x' id='" + xmpp.Attr(p.next(), "id") + "'/>")
			<-call
		}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, p := connect(t)
				test.before(s, p)
				go func() {
					p.closed()
					if test.answer > 0 {
						time.Sleep(test.answer)
						p.write("<message id='late'/></stream:stream>")
					}
					io.Copy(io.Discard, p.raw) // close_notify
				}()
				started := time.Now()
				err := s.Close()
				if took := time.Since(started); err != nil || took != test.want {
					t.Errorf("%v after %s, want %s", err, took, test.want)
				}
				ids, _ := collect(s)
				if late := slices.Equal(ids, []string{"late"}); late != (test.answer > 0) {
					t.Errorf("what came meanwhile: %q", ids)
				}
				if err := s.Send(t.Context(), presence); err == nil || err.Error() != "the session is closed" {
					t.Errorf("Send: %v", err)
				}
				if _, err := s.Ping(t.Context(), s.Server()); err == nil || err.Error() != "the session is closed" {
					t.Errorf("Ping: %v", err)
				}
				if _, err := collectAll(s); err == nil || err.Error() != "the session is closed" {
					t.Errorf("Stanzas: %v", err)
				}
				started = time.Now()
				s.Close() // again
				if took := time.Since(started); took > 500*time.Millisecond {
					t.Errorf("the second took %s", took)
				}
			})
		})
	}
	bubble(t, func(t *testing.T) { // answers that are looked at in another order
		s, p := connect(t)
		var waits []func(context.Context) (time.Duration, error)
		go func() {
			for range 2 {
				p.write("<iq type='result' from='localhost' id='" + xmpp.Attr(p.next(), "id") + "'/>")
			}
			io.Copy(io.Discard, p.raw)
		}()
		for range 2 {
			wait, err := s.Fence(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			waits = append(waits, wait)
		}
		for _, wait := range slices.Backward(waits) {
			if _, err := wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
		started := time.Now()
		if s.Close(); time.Since(started) > 0 {
			t.Errorf("after %s", time.Since(started))
		}
	})
	bubble(t, func(t *testing.T) { // the embedded server sees a clean end
		w := newWorld(t, xmpptest.Config{})
		s := w.login(t, w.Options)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if !strings.HasSuffix(w.in(), "</stream:stream>") {
			t.Error("no end of the stream")
		}
	})
}

// Close waits neither for a peer that does not read nor for requests that take too long to
// answer.
func TestCloseStalled(t *testing.T) {
	bubble(t, func(t *testing.T) { // a peer that does not read
		s, _ := connect(t)
		started := time.Now()
		if err := s.Close(); err == nil || time.Since(started) != 500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(started))
		}
	})
	bubble(t, func(t *testing.T) { // and one that has stopped in the middle of something
		s, _ := connect(t)
		stuck := async(func() (bool, error) { return true, s.Send(context.Background(), parse(t, "<presence/>")) })
		synctest.Wait()
		started := time.Now()
		s.Close()
		if r := <-stuck; r.err == nil || time.Since(started) != 500*time.Millisecond {
			t.Errorf("%v after %s", r.err, time.Since(started))
		}
	})
	bubble(t, func(t *testing.T) { // a request that is still being answered
		s, p := connect(t, func(o *xmpp.Options) {
			o.HandleIQ = func(ctx context.Context, iq *xmpp.Element) *xmpp.Element {
				select {
				case <-ctx.Done():
				case <-time.After(300 * time.Millisecond):
				}
				return xmpp.Result(iq)
			}
		})
		p.write("<iq type='get' id='1'><q xmlns='u'/></iq>")
		synctest.Wait()
		go func() {
			p.expect("<iq xmlns='jabber:client' type='result' id='1'/>")
			p.closed()
			p.write("</stream:stream>")
			io.Copy(io.Discard, p.raw)
		}()
		started := time.Now()
		if err := s.Close(); err != nil || time.Since(started) != 300*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(started))
		}
	})
	bubble(t, func(t *testing.T) { // and one that takes too long
		s, p := connect(t, func(o *xmpp.Options) {
			o.HandleIQ = func(ctx context.Context, iq *xmpp.Element) *xmpp.Element { <-ctx.Done(); return nil }
		})
		p.write("<iq type='get' id='1'><q xmlns='u'/></iq>")
		synctest.Wait()
		go io.Copy(io.Discard, p.raw)
		started := time.Now()
		if s.Close(); time.Since(started) != 500*time.Millisecond {
			t.Errorf("after %s", time.Since(started))
		}
	})
}

// A session is for several goroutines.
func TestConcurrentUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{})
		o := w.Options
		o.HandleIQ = func(_ context.Context, iq *xmpp.Element) *xmpp.Element { return xmpp.Result(iq) }
		s := w.login(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		var asking, reading sync.WaitGroup
		var mu sync.Mutex
		got := make(map[string]int)
		for range 3 {
			reading.Go(func() {
				for e, err := range s.Stanzas(ctx) {
					if err == nil {
						mu.Lock()
						got[xmpp.Attr(e, "id")]++
						mu.Unlock()
					}
				}
			})
		}
		shared := make([]*xmpp.Element, 1, 4)
		shared[0] = xmpp.NewElement(xmpp.NSClient, "presence", "to", "juliet@localhost")
		for i := range 8 {
			asking.Go(func() {
				for n := range 20 {
					id := fmt.Sprintf("%d.%d", i, n)
					if err := s.Send(ctx, xmpp.NewElement(xmpp.NSClient, "message", "to", s.JID().String(), "id", id)); err != nil {
						t.Error(err)
					}
					if _, err := s.Ping(ctx, s.Server(), shared...); err != nil {
						t.Error(err)
					}
					if _, err := s.IQ(ctx, xmpp.NewIQ("get", s.JID(), xmpp.NewElement("u", "q"))); n == 0 && err != nil {
						t.Error(err)
					}
					s.Queued()
					s.Feature("u", "x")
					time.Sleep(time.Second)
				}
			})
		}
		asking.Wait()
		synctest.Wait()
		cancel()
		reading.Wait()
		for i := range 8 {
			for n := range 20 {
				if id := fmt.Sprintf("%d.%d", i, n); got[id] != 1 {
					t.Errorf("message %s came %d times", id, got[id])
				}
			}
		}
		for range 3 {
			reading.Go(func() { s.Close() })
			reading.Go(func() { s.Ping(t.Context(), s.Server()) })
		}
		reading.Wait()
	})
}

// The answers of a server are the same however they are cut up.
func TestCutUp(t *testing.T) {
	for _, fault := range []xmpptest.Fault{"byte-by-byte", "one-segment"} {
		for _, port := range []string{"5222", "5223"} {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{fault}})
				o := w.Options
				o.Server = "server.example:" + port
				s := w.login(t, o)
				bounced := xmpp.NewElement(xmpp.NSClient, "message", "to", "nobody@localhost", "id", "1")
				if _, err := s.Ping(t.Context(), s.Server(), bounced); err != nil || s.Queued() != 1 {
					t.Errorf("%s: %v, %d queued", fault, err, s.Queued())
				}
			})
		}
	}
}
