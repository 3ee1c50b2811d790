package xmpp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

func orEmpty(e *xmpp.Element) *xmpp.Element {
	if e == nil {
		return xmpp.NewElement("", "none")
	}
	return e
}

// Who may answer a request to whom (RFC 6120, sections 8.1.2.1 and 8.2.3). Everything else
// with its id is ignored.
func TestIQAnswers(t *testing.T) {
	// romeo@localhost/r is the session; "-" is no from at all.
	senders := []string{"-", "romeo@localhost", "romeo@localhost/r", "localhost", "romeo@localhost/other", "ROMEO@LocalHost/r", "Localhost.",
		"localhost.evil", "evil.localhost", "localhost/x", "romeo@localhost.evil", "xromeo@localhost", "mallory@localhost", "mallory@localhost/r",
		"juliet@localhost", "juliet@localhost/x", "juliet@localhost/X", "juliet@localhost/y", "other.example", "juliet@other.example", "", "@", "a@@b", "romeo@"}
	own := []string{"-", "romeo@localhost", "romeo@localhost/r", "localhost", "Localhost."}
	here := append(own, "romeo@localhost/other", "ROMEO@LocalHost/r", "localhost/x", "xromeo@localhost", "mallory@localhost", "mallory@localhost/r",
		"juliet@localhost", "juliet@localhost/x", "juliet@localhost/X", "juliet@localhost/y")
	there := []string{"-", "romeo@localhost", "localhost", "Localhost.", "other.example", "juliet@other.example"}
	for to, accepted := range map[string][]string{
		"":                      own,
		"romeo@localhost":       own,
		"romeo@localhost/r":     own,
		"localhost":             {"-", "romeo@localhost", "localhost", "Localhost."},
		"romeo@localhost/other": here,
		"juliet@localhost":      here,
		"juliet@localhost/x":    here,
		"localhost/x":           here,
		"other.example":         there,
		"juliet@other.example":  there,
	} {
		bubble(t, func(t *testing.T) {
			s, p := connect(t)
			for _, from := range senders {
				for _, typ := range []string{"result", "error"} {
					request := xmpp.NewIQ("get", xmpp.JID{}, xmpp.NewElement("u", "q"))
					if to != "" {
						request.CreateAttr("to", to)
					}
					answer := async(func() (*xmpp.Element, error) { return s.IQ(context.Background(), request) })
					id := xmpp.Attr(p.next(), "id")
					attr := " from='" + from + "'"
					if from == "-" {
						attr = ""
					}
					p.write("<iq type='" + typ + "' id='" + id + "'" + attr + "><q xmlns='u'>first</q></iq>")
					synctest.Wait()
					isAnswer := len(answer) > 0
					if isAnswer != slices.Contains(accepted, from) {
						t.Errorf("%s from %q to a request to %q: is an answer: %v", typ, from, to, isAnswer)
					}
					right := accepted[0]
					p.write(strings.Replace("<iq type='result' id='"+id+"' from='"+right+"'><q xmlns='u'>second</q></iq>", " from='-'", "", 1))
					r := <-answer
					got, _ := xmpp.Text(orEmpty(r.value), "u", "q")
					switch {
					case isAnswer && typ == "result" && (r.err != nil || got != "first"):
						t.Errorf("%q answers %q by %v", from, got, r.err)
					case isAnswer && typ == "error" && !errors.As(r.err, new(*xmpp.StanzaError)):
						t.Errorf("%q answers %q by %v", from, got, r.err)
					case !isAnswer && (r.err != nil || got != "second"):
						t.Errorf("after the forgery: %q, %v", got, r.err)
					}
				}
			}
			if n := s.Queued(); n > 0 {
				t.Errorf("%d answers became stanzas", n)
			}
		})
	}
}

// What has the right id and sender, and is no answer.
func TestNoAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connect(t)
		request := xmpp.NewElement(xmpp.NSClient, "iq", "type", "get", "to", "juliet@localhost/x")
		answer := async(func() (*xmpp.Element, error) {
			return s.IQ(context.Background(), xmpp.Add(request, xmpp.NewElement("u", "q")))
		})
		id := xmpp.Attr(p.next(), "id")
		if len(id) < 20 {
			t.Errorf("the request without an id was given %q", id)
		}
		attrs := " from='juliet@localhost/x' id='" + id + "'"
		for _, e := range []string{
			"<iq type='foo'" + attrs + "/>", "<iq" + attrs + "/>", "<message type='result'" + attrs + "/>", "<iq xmlns='evil' type='result'" + attrs + "/>",
			"<iq type='result' from='juliet@localhost/x'/>", "<iq type='result' from='juliet@localhost/x' id='" + id + "x'/>",
			"<iq type='result' from='juliet@localhost/x' id='" + strings.ToLower(id) + "'/>", "<iq type='result' x:id='" + id + "' xmlns:x='u' from='juliet@localhost/x'/>",
			"<iq type='set'" + attrs + "><q xmlns='u'/></iq>",
		} {
			p.write(e)
			synctest.Wait()
			if len(answer) > 0 {
				t.Fatalf("%s is accepted as the answer", e)
			}
		}
		p.expect("<iq xmlns='jabber:client' type='error' id='" + id + "' to='juliet@localhost/x'><error type='cancel'><service-unavailable xmlns='" + stanzasNS + "'/></error></iq>") // of the set
		results := ""
		for i := 1; i <= 5; i++ {
			results += "<iq type='result'" + attrs + "><q xmlns='u'>" + fmt.Sprint(i) + "</q></iq>"
		}
		p.write(results)
		r := <-answer
		if got, _ := xmpp.Text(orEmpty(r.value), "u", "q"); got != "1" || r.err != nil {
			t.Errorf("%q, %v", got, r.err)
		}
		if ids, _ := collect(s); len(ids) != 2 { // the message and the set
			t.Errorf("delivered %q", ids)
		}
	})
	bubble(t, func(t *testing.T) { // malformed requests are not sent
		s, p := connect(t)
		bad := xmpp.NewElement(xmpp.NSClient, "iq", "type", "get", "to", "a@@b")
		if _, err := s.IQ(t.Context(), bad); err == nil {
			t.Error("a request to nobody")
		}
		if err := s.Send(t.Context(), xmpp.NewText(xmpp.NSClient, "message", "\x00")); err == nil {
			t.Error("a NUL was sent")
		}
		go s.Send(t.Context(), xmpp.NewElement(xmpp.NSClient, "presence"))
		p.expect("<presence xmlns='jabber:client'/>")
	})
}

// The embedded server sends forged answers before each true one; none of them counts.
func TestForgedReplies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{"forged-reply"}})
		s := w.login(t, w.Options)
		if s.JID().Bare() != w.JID {
			t.Errorf("bound %s", s.JID())
		}
		roster, err := s.IQ(t.Context(), xmpp.NewIQ("get", xmpp.JID{}, xmpp.NewElement("jabber:iq:roster", "query")))
		if err != nil || strings.Contains(text(roster), "mallory") {
			t.Errorf("%s, %v", text(roster), err)
		}
	})
}

// When the server answers a ping (RFC 6120, section 10.1), what was sent before has been
// processed, and the bounces are there.
func TestPingConfirms(t *testing.T) {
	message := func(to, id string) *xmpp.Element {
		return xmpp.NewElement(xmpp.NSClient, "message", "to", to, "id", id, "type", "chat")
	}
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{})
		s := w.login(t, w.Options)
		before := make([]*xmpp.Element, 3, 8)
		before[0], before[1], before[2] = message("nobody@localhost", "1"), message("juliet@localhost", "2"), message("elsewhere.example", "3")
		if _, err := s.Ping(t.Context(), s.Server(), before...); err != nil {
			t.Fatal(err)
		}
		if before[:4][3] != nil {
			t.Error("the ping is in the caller's slice")
		}
		if s.Queued() != 2 {
			t.Errorf("%d bounces when the answer is there", s.Queued())
		}
		if ids, _ := collect(s); !slices.Equal(ids, []string{"1", "3"}) {
			t.Errorf("bounced %q", ids)
		}
	})
	for _, fault := range []xmpptest.Fault{"close@confirm", "reset@confirm", "close@session", "stream-error@confirm=system-shutdown"} {
		bubble(t, func(t *testing.T) { // nothing is known then
			w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{fault}})
			s := w.login(t, w.Options)
			_, err := s.Ping(t.Context(), s.Server(), message("juliet@localhost", "1"))
			var stream *xmpp.StreamError
			if !errors.Is(err, xmpp.ErrLost) && !errors.As(err, &stream) || errors.As(err, new(*xmpp.StanzaError)) {
				t.Errorf("%s: %v", fault, err)
			}
		})
	}
	for range 20 {
		bubble(t, func(t *testing.T) { // an answer that is the last thing that comes counts, even if it comes early
			s, p := connect(t, func(o *xmpp.Options) {
				dial := o.DialContext
				o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					c, err := dial(ctx, network, addr)
					return slowWriter{c}, err
				}
			})
			call := async(ping(s, s.Server(), message("juliet@localhost", "1")))
			p.next()
			id := xmpp.Attr(p.next(), "id")
			p.write("<message type='error' id='1'/><iq type='result' from='localhost' id='" + id + "'/></stream:stream>")
			if r := <-call; r.err != nil || s.Queued() != 1 {
				t.Errorf("%v, %d queued", r.err, s.Queued())
			}
		})
	}
	bubble(t, func(t *testing.T) { // a bounce that comes later is in Stanzas
		s, p := connect(t)
		call := async(ping(s, s.Server(), message("juliet@other.example", "1")))
		p.next()
		p.write("<iq type='result' from='localhost' id='" + xmpp.Attr(p.next(), "id") + "'/>")
		if r := <-call; r.err != nil || s.Queued() != 0 {
			t.Errorf("%v, %d queued", r.err, s.Queued())
		}
		p.write("<message type='error' id='1' from='juliet@other.example'/>")
		synctest.Wait()
		if ids, _ := collect(s); !slices.Equal(ids, []string{"1"}) {
			t.Error(ids)
		}
	})
}

// A slowWriter returns from a write when the answer to it may be there.
type slowWriter struct{ net.Conn }

func (c slowWriter) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	time.Sleep(time.Second)
	return n, err
}

// A round trip is from the write to the read, for an error too (XEP-0199).
func TestPing(t *testing.T) {
	const delay = 250 * time.Millisecond
	refused := "<error type='cancel'><service-unavailable xmlns='" + stanzasNS + "'/><text xmlns='" + stanzasNS + "'>no</text></error>"
	for _, to := range []string{"localhost", "juliet@localhost/x", "juliet@localhost", "other.example"} {
		bubble(t, func(t *testing.T) {
			s, p := connect(t)
			answer := func(typ, payload string) result[time.Duration] {
				call := async(ping(s, mustJID(to)))
				e := p.next()
				if xmpp.Attr(e, "to") != to || xmpp.Attr(e, "type") != "get" || xmpp.Child(e, xmpp.NSPing, "ping") == nil {
					t.Errorf("asked %s", text(e))
				}
				time.Sleep(delay)
				p.write("<iq type='" + typ + "' from='" + to + "' id='" + xmpp.Attr(e, "id") + "'>" + payload + "</iq>")
				return <-call
			}
			if r := answer("result", ""); r.err != nil || r.value != delay {
				t.Errorf("result: %s, %v", r.value, r.err)
			}
			r := answer("error", refused)
			var e *xmpp.StanzaError
			if !errors.As(r.err, &e) || *e != (xmpp.StanzaError{Condition: xmpp.ServiceUnavailable, Type: "cancel", Text: "no"}) || r.value != delay {
				t.Errorf("error: %s, %v", r.value, r.err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			go p.next()
			rtt, err := s.Ping(ctx, mustJID(to))
			if rtt != 0 || !errors.Is(err, context.DeadlineExceeded) || err.Error() != "waiting for the answer of "+to+": context deadline exceeded" {
				t.Errorf("no answer: %s, %v", rtt, err)
			}
		})
	}
	bubble(t, func(t *testing.T) {
		s, p := connect(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go p.next()
		if _, err := s.Ping(ctx, xmpp.JID{}); !strings.HasPrefix(err.Error(), "waiting for the answer of romeo@localhost:") {
			t.Error(err)
		}
	})
}
