package xmpp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// S-01: who may answer a request to whom. Everything else with its id is ignored.
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
					taken := len(answer) > 0
					if taken != slices.Contains(accepted, from) {
						t.Errorf("%s from %q to a request to %q: taken is %v", typ, from, to, taken)
					}
					right := accepted[0]
					p.write(strings.Replace("<iq type='result' id='"+id+"' from='"+right+"'><q xmlns='u'>second</q></iq>", " from='-'", "", 1))
					r := <-answer
					got, _ := xmpp.Text(orEmpty(r.value), "u", "q")
					switch {
					case taken && typ == "result" && (r.err != nil || got != "first"):
						t.Errorf("%q answers %q by %v", from, got, r.err)
					case taken && typ == "error" && !errors.As(r.err, new(*xmpp.StanzaError)):
						t.Errorf("%q answers %q by %v", from, got, r.err)
					case !taken && (r.err != nil || got != "second"):
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

func orEmpty(e *xmpp.Element) *xmpp.Element {
	if e == nil {
		return xmpp.NewElement("", "none")
	}
	return e
}

// S-01: what has the right id and sender, and is no answer.
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
				t.Fatalf("%s is taken for the answer", e)
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

// S-01 against the embedded server, whose forgeries come before each answer.
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

// S-02: each request is answered exactly once, and strangers learn nothing.
func TestRequests(t *testing.T) {
	const ping, unknown, two = "<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='jabber:iq:version'/>", "<a xmlns='u'/><b xmlns='u'/>"
	refusal := func(typ, condition string) string {
		return "<error type='" + typ + "'><" + condition + " xmlns='" + stanzasNS + "'/></error>"
	}
	const ok = "ok"
	refused, bad := refusal("cancel", "service-unavailable"), refusal("modify", "bad-request")
	for _, test := range []struct {
		from, typ, payload string
		want               string // "" for no answer
	}{
		{"", "get", ping, ok},
		{"localhost", "get", ping, ok},
		{"romeo@localhost", "get", ping, ok},
		{"", "set", ping, refused},
		{"romeo@localhost/other", "get", ping, refused},
		{"juliet@localhost", "get", ping, refused},
		{"juliet@localhost/x", "get", ping, refused},
		{"localhost.evil", "get", ping, refused},
		{"mallory@evil.example/x", "get", ping, refused},
		{"mallory@evil.example/x", "get", unknown, refused},
		{"juliet@localhost/x", "get", unknown, refused},
		{"", "get", unknown, refused},
		{"localhost", "set", unknown, refused},
		{"juliet@localhost/x", "get", "<ping xmlns='evil'/>", refused},
		{"localhost", "get", "<ping xmlns='evil'/>", refused},
		{"localhost", "get", "<pong xmlns='urn:xmpp:ping'/>", refused},
		{"localhost", "get", "", bad},
		{"localhost", "get", "text", bad},
		{"localhost", "get", two, bad},
		{"mallory@evil.example/x", "set", two, bad},
		{"localhost", "get", ping + ping, bad},
		{"localhost", "foo", ping, ""},
		{"localhost", "", ping, ""},
		{"localhost", "GET", ping, ""},
		{"localhost", "result", ping, ""},
		{"localhost", "error", refused, ""},
		{"a@@b", "get", ping, ""}, // nobody to answer
	} {
		for _, id := range []string{"id-1", ""} {
			bubble(t, func(t *testing.T) {
				s, p := connect(t)
				attrs := ""
				for _, a := range [][2]string{{"from", test.from}, {"type", test.typ}, {"id", id}} {
					if a[1] != "" {
						attrs += " " + a[0] + "='" + a[1] + "'"
					}
				}
				p.write("<iq" + attrs + ">" + test.payload + "</iq>")
				synctest.Wait()
				p.write("<iq type='get' id='fence'>" + ping + "</iq>")
				to := ""
				if test.from != "" {
					to = " to='" + test.from + "'"
				}
				switch {
				case test.want == "" || id == "":
				case test.want == ok:
					p.expect("<iq xmlns='jabber:client' type='result' id='id-1'" + to + "/>")
				default:
					p.expect("<iq xmlns='jabber:client' type='error' id='id-1'" + to + ">" + test.want + "</iq>")
				}
				p.expect("<iq xmlns='jabber:client' type='result' id='fence'/>")

				// Stanzas shows requests, and nothing of what is none.
				synctest.Wait()
				want := []string{"fence"}
				if id != "" && (test.want != "" || test.from == "a@@b") {
					want = []string{id, "fence"}
				}
				if got, _ := collect(s); !slices.Equal(got, want) {
					t.Errorf("%+v: delivered %q, want %q", test, got, want)
				}
			})
		}
	}
}

// S-02: a flood of strangers' requests is not echoed: at most 20 answers a second.
func TestRequestFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connect(t)
		var mu sync.Mutex
		answers := 0
		go func() {
			for p.next() != nil {
				mu.Lock()
				answers++
				mu.Unlock()
			}
		}()
		count := func() int {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return answers
		}
		flood := strings.Repeat("<iq type='get' id='1' from='mallory@evil.example/x'><q xmlns='u'/></iq>", 1000)
		for second := 1; second <= 3; second++ {
			p.write(flood)
			if n := count(); n != 20*second {
				t.Errorf("%d answers after %d s", n, second)
			}
			time.Sleep(999 * time.Millisecond)
			p.write(flood)
			if n := count(); n != 20*second {
				t.Errorf("%d answers at the end of second %d", n, second)
			}
			time.Sleep(time.Millisecond)
		}
		// The own server is no stranger.
		p.write(flood)
		before := count()
		for range 50 {
			p.write("<iq type='get' id='2' from='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
		}
		if n := count() - before; n != 50 {
			t.Errorf("%d of the own server's 50 pings were answered", n)
		}
		if n := s.Queued(); n != 7050 {
			t.Errorf("%d of 7050 requests are in Stanzas", n)
		}
	})
}

// Options.HandleIQ answers requests, on a goroutine of its own, until the session ends.
func TestHandleIQ(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var s *xmpp.Session
		ended := make(chan error, 1)
		s, p := connect(t, func(o *xmpp.Options) {
			o.HandleIQ = func(ctx context.Context, iq *xmpp.Element) *xmpp.Element {
				switch xmpp.Attr(iq, "id") {
				case "result":
					return xmpp.Result(iq, xmpp.NewText("u", "answer", "42"))
				case "ask": // it may ask back
					_, err := s.IQ(ctx, xmpp.NewIQ("get", mustJID("juliet@localhost/x"), xmpp.NewElement("u", "q")))
					return xmpp.Result(iq, xmpp.NewText("u", "answer", fmt.Sprint(err)))
				case "wait":
					<-ctx.Done()
					ended <- context.Cause(ctx)
				}
				return nil
			}
		})
		const from = "from='juliet@localhost/x' type='get'"
		p.write("<iq " + from + " id='result'><q xmlns='u'/></iq>")
		p.expect("<iq xmlns='jabber:client' type='result' id='result' to='juliet@localhost/x'><answer xmlns='u'>42</answer></iq>")
		p.write("<iq " + from + " id='nil'><q xmlns='u'/></iq>")
		p.expect("<iq xmlns='jabber:client' type='error' id='nil' to='juliet@localhost/x'><error type='cancel'><service-unavailable xmlns='" + stanzasNS + "'/></error></iq>")
		p.write("<iq " + from + " id='ask'><q xmlns='u'/></iq>")
		question := p.next()
		p.write("<iq type='result' from='juliet@localhost/x' id='" + xmpp.Attr(question, "id") + "'/>")
		p.expect("<iq xmlns='jabber:client' type='result' id='ask' to='juliet@localhost/x'><answer xmlns='u'>&lt;nil&gt;</answer></iq>")

		p.write("<iq " + from + " id='wait'><q xmlns='u'/></iq>")
		synctest.Wait()
		p.raw.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Stanzas yields in order; where its context ends, what has arrived and then the cause.
func TestStanzas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connect(t)
		p.write("<message id='1'/><presence id='2'/>")
		p.write("<iq type='set' id='3'><q xmlns='u'/></iq><message id='4'/>")
		p.next()
		synctest.Wait()
		if s.Queued() != 4 {
			t.Errorf("%d queued", s.Queued())
		}
		if ids, err := collect(s); !slices.Equal(ids, []string{"1", "2", "3", "4"}) || err != errEnough {
			t.Errorf("%q, %v", ids, err)
		}
		if ids, err := collect(s); len(ids) > 0 || err != errEnough { // again, with nothing left
			t.Errorf("%q, %v", ids, err)
		}
	})
	bubble(t, func(t *testing.T) { // break, and range again
		s, p := connect(t)
		p.write("<message id='1'/><message id='2'/><message id='3'/>")
		for want := 1; want <= 3; want++ {
			for e, err := range s.Stanzas(t.Context()) {
				if err != nil || xmpp.Attr(e, "id") != fmt.Sprint(want) {
					t.Errorf("%s, %v", text(e), err)
				}
				break
			}
			if s.Queued() != 3-want {
				t.Errorf("%d queued", s.Queued())
			}
		}
	})
	bubble(t, func(t *testing.T) { // each is there when it comes, and at the end the cause
		s, p := connect(t)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3500*time.Millisecond, errEnough)
		defer cancel()
		started := time.Now()
		go func() {
			for i := 1; i <= 3; i++ {
				time.Sleep(time.Second)
				p.write("<message>") // in parts
				p.write("</message>")
			}
		}()
		n := 0
		for e, err := range s.Stanzas(ctx) {
			took := time.Since(started)
			if err != nil {
				if e != nil || err != errEnough || took != 3500*time.Millisecond {
					t.Errorf("%s, %v after %s", text(e), err, took)
				}
				break
			}
			if n++; took != time.Duration(n)*time.Second {
				t.Errorf("stanza %d after %s", n, took)
			}
		}
		if n != 3 {
			t.Errorf("%d stanzas", n)
		}
	})
	bubble(t, func(t *testing.T) { // the loop may send, ask and ping
		s, p := connect(t)
		p.write("<message id='1'/><message id='2'/>")
		go func() {
			for {
				e := p.next()
				if e == nil {
					return
				}
				if e.Tag == "iq" {
					p.write("<message id='more'/><iq type='result' from='localhost' id='" + xmpp.Attr(e, "id") + "'/>")
				}
			}
		}()
		var ids []string
		for e, err := range s.Stanzas(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if ids = append(ids, xmpp.Attr(e, "id")); len(ids) == 4 {
				break
			}
			if _, err := s.IQ(t.Context(), xmpp.NewIQ("get", s.Server(), xmpp.NewElement("u", "q"))); err != nil {
				t.Error(err)
			}
		}
		if !slices.Equal(ids, []string{"1", "2", "more", "more"}) {
			t.Error(ids)
		}
	})
	bubble(t, func(t *testing.T) { // the end of the session, each time it is asked for
		s, p := connect(t)
		p.write("<message id='1'/><message id='2'/></stream:stream>")
		for i, want := range [][]string{{"1", "2"}, nil, nil} {
			var ids []string
			var end error
			for e, err := range s.Stanzas(t.Context()) {
				if end = err; err == nil {
					ids = append(ids, xmpp.Attr(e, "id"))
				}
			}
			if !slices.Equal(ids, want) || !errors.Is(end, xmpp.ErrLost) {
				t.Errorf("%d: %q, %v", i, ids, end)
			}
		}
	})
}

// What is nobody's stanza is not delivered. X-07: another namespace.
func TestNotDelivered(t *testing.T) {
	for _, e := range []string{
		"<message xmlns='evil'><body>x</body></message>", "<message xmlns='jabber:server'/>", "<presence xmlns=''/>", "<iq xmlns='evil' type='get' id='1'/>",
		"<r xmlns='urn:xmpp:sm:3'/>", "<a xmlns='urn:xmpp:sm:3' h='1'/>", "<stream:features/>", "<stream:message/>", "<Message/>", "<messages/>",
	} {
		bubble(t, func(t *testing.T) {
			s, p := connect(t)
			p.write(e + "<message id='next'/>")
			synctest.Wait()
			if ids, err := collect(s); !slices.Equal(ids, []string{"next"}) || err != errEnough {
				t.Errorf("%.80s: %q, %v", e, ids, err)
			}
		})
	}
}

// A sender that is no address takes nothing away: what it is of arrives and is counted.
// Nobody can be answered there.
func TestNoAddress(t *testing.T) {
	for _, from := range []string{"", "@", "/", "@b", "a@", "a@b/", strings.Repeat("a", 4000) + "@b", "a@b/" + strings.Repeat("r", 4000)} {
		bubble(t, func(t *testing.T) {
			s, p := connect(t)
			p.write("<message id='m' from='" + from + "'/><presence id='p' from='" + from + "'/><iq type='get' id='i' from='" + from + "'><q xmlns='u'/></iq><message id='next'/>")
			synctest.Wait()
			if ids, err := collect(s); !slices.Equal(ids, []string{"m", "p", "i", "next"}) || err != errEnough {
				t.Errorf("%.20q: %q, %v", from, ids, err)
			}
			if jid, err := s.From(parse(t, "<message from='"+from+"'/>")); err == nil || !jid.IsZero() {
				t.Errorf("%.20q is %s", from, jid)
			}
			if got := p.within(time.Second); got != nil {
				t.Errorf("%.20q: answered by %s", from, text(got))
			}
		})
	}
}

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

// Stanzas that nobody takes are kept up to a budget of memory. Past it no more are taken:
// what is kept is handed on, answers still come, and then the session is lost.
func TestQueueBudget(t *testing.T) {
	const size = 1 << 20
	message := "<message id='1'><body>" + strings.Repeat("x", size) + "</body></message>"
	for name, test := range map[string]struct {
		flood string
		want  int // how many are kept
	}{
		"large": {message, 31},
		"many":  {"<message id='1'/>", 32 << 20 / (17 + 100*5)},                                            // an element and three attributes
		"parts": {"<message>" + strings.Repeat("<a/>", 1000) + "</message>", 32 << 20 / (4019 + 100*2004)}, // 4 bytes that take 200
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, p := connect(t)
				call := async(ping(s, s.Server()))
				id := xmpp.Attr(p.next(), "id")
				go func() {
					burst := strings.Repeat(test.flood, 1+10_000/len(test.flood))
					for range 40<<20/len(burst) + 1 {
						p.write(burst)
					}
					p.write("<iq type='result' from='localhost' id='" + id + "'/>")
				}()
				if got := <-call; got.err != nil {
					t.Error(got.err)
				}
				n := 0
				var end error
				for e, err := range s.Stanzas(t.Context()) {
					if end = err; e != nil {
						n++
					}
				}
				if end == nil || !strings.Contains(end.Error(), "more arrives than is read") || !errors.Is(end, xmpp.ErrLost) {
					t.Errorf("ended by %v", end)
				}
				if n > test.want+1 || n < test.want-1 {
					t.Errorf("%d stanzas were kept, want %d", n, test.want)
				}
			})
		})
	}
	bubble(t, func(t *testing.T) { // a managed session is sent again what did not fit
		s, p := connectManaged(t)
		go func() {
			for range 40 {
				p.write(message)
			}
		}()
		synctest.Wait()
		kept, _ := collectAll(s)
		if s.Handled(); int(s.Resumption().Handled) != len(kept) {
			t.Errorf("%d are handled, and %d were yielded", s.Resumption().Handled, len(kept))
		}
	})
	bubble(t, func(t *testing.T) { // who takes all of it lets the reader wait
		s, p := connect(t, func(o *xmpp.Options) { o.Pause, o.KeepAlive = true, time.Minute })
		var written atomic.Int64
		asked := async(func() (*xmpp.Element, error) { return p.next(), nil })
		go func() {
			for written.Load() < 100 {
				p.write(message)
				written.Add(1)
			}
			p.write("<iq type='result' from='localhost' id='" + xmpp.Attr((<-asked).value, "id") + "'/>")
		}()
		time.Sleep(time.Hour) // it is this side that is silent
		if n := written.Load(); n < 30 || n > 33 {
			t.Errorf("%d were read, and nobody takes them", n)
		}
		answer := s.Ask(t.Context(), xmpp.NewIQ("get", s.Server(), xmpp.NewElement("u", "q")))
		for n := 0; n < 100; n++ {
			for e, err := range s.Stanzas(t.Context()) {
				if err != nil || e == nil {
					t.Fatalf("%d: %v", n, err)
				}
				break
			}
		}
		if a := <-answer; a.Err != nil {
			t.Error(a.Err)
		}
	})
	bubble(t, func(t *testing.T) { // but whoever waits for an answer cannot take anything
		s, p := connectManaged(t, func(o *xmpp.Options) { o.Pause = true })
		go func() {
			for range 100 {
				p.write(message)
			}
			id := xmpp.Attr(p.next(), "id")
			p.write("<iq type='result' from='localhost' id='" + id + "'/>")
		}()
		synctest.Wait()
		if _, err := s.Ping(t.Context(), s.Server()); err != nil {
			t.Error(err)
		}
		if kept, end := collectAll(s); len(kept) < 30 || len(kept) > 32 || !errors.Is(end, xmpp.ErrLost) {
			t.Errorf("%d were kept: %v", len(kept), end)
		}
	})
	bubble(t, func(t *testing.T) { // and what pauses can be closed
		s, p := connect(t, func(o *xmpp.Options) { o.Pause = true })
		go func() {
			for range 100 {
				p.write(message)
			}
		}()
		synctest.Wait()
		started := time.Now()
		s.Close()
		if took := time.Since(started); took > time.Second {
			t.Errorf("closing took %s", took)
		}
	})
	bubble(t, func(t *testing.T) { // what was read counts no more
		s, p := connect(t)
		go func() {
			for range 40 {
				p.write(message)
			}
		}()
		n := 0
		for _, err := range s.Stanzas(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 40 {
				break
			}
		}
	})
}

// a stream error is what all learn that the session ended by, and our side is closed.
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

func collectAll(s *xmpp.Session) (ids []string, end error) {
	for e, err := range s.Stanzas(context.Background()) {
		if end = err; err == nil {
			ids = append(ids, xmpp.Attr(e, "id"))
		}
	}
	return ids, end
}

// What is no XML that XMPP allows ends the stream, the server is told why, and nothing
// behind it counts.
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

// What somebody wrote and the server relayed is skipped where it is over a limit: counted,
// reported in its turn, and nothing that comes after it is lost. In an answer it is the
// failure of that one.
func TestOverLimit(t *testing.T) {
	deep := strings.Repeat("<y>", 33) + strings.Repeat("</y>", 33)
	for in, reason := range map[string]string{
		"<message id='x' from='carol@localhost/c'><body>x</body><x xmlns='u'>" + deep + "</x></message>":      "nested too deeply (more than 32 levels)",
		"<presence id='x' from='carol@localhost/c'><" + strings.Repeat("n", 300) + "/></presence>":            "name too long (more than 256 bytes)",
		"<message id='x' from='carol@localhost/c'><a><p:b/></a></message>":                                    "undeclared prefix",
		"<message id='x' from='carol@localhost/c'><body>" + strings.Repeat("x", 10<<20) + "</body></message>": "too large (more than 10 MiB)",
		"<message id='x' from='carol@localhost/c'>" + strings.Repeat("<y/>", 1<<19) + "</message>":            "too many parts (more than 1048576)",
	} {
		bubble(t, func(t *testing.T) {
			s, p := connect(t)
			call := async(ping(s, s.Server()))
			id := xmpp.Attr(p.next(), "id")
			go p.write("<message id='1'/>" + in + "<message id='2'/><iq type='result' from='localhost' id='" + id + "'/>")
			if got := <-call; got.err != nil {
				t.Fatal(got.err)
			}
			var ids []string
			for e, err := range s.Stanzas(t.Context()) {
				over, ok := errors.AsType[*xmpp.LimitError](err)
				if id := xmpp.Attr(e, "id"); ok != (id == "x") || ok && (over.Reason != reason || xmpp.Attr(e, "from") != "carol@localhost/c") {
					t.Errorf("%s: %v, want %s", id, err, reason)
				}
				if ids = append(ids, xmpp.Attr(e, "id")); len(ids) == 3 {
					break
				}
			}
			if !slices.Equal(ids, []string{"1", "x", "2"}) {
				t.Errorf("%.60q: %q", in, ids)
			}
		})
	}
	bubble(t, func(t *testing.T) {
		s, p := connect(t)
		for in, want := range map[string]string{
			"<iq type='result' from='localhost' id='ID'><x xmlns='u'>" + deep + "</x></iq>":                                                                           "the answer of localhost is over a limit: nested too deeply (more than 32 levels)",
			"<iq type='error' from='localhost' id='ID'><x xmlns='u'>" + deep + "</x><error type='wait'><resource-constraint xmlns='" + stanzasNS + "'/></error></iq>": "resource-constraint",
		} {
			call := async(ping(s, s.Server()))
			p.write(strings.ReplaceAll(in, "ID", xmpp.Attr(p.next(), "id")))
			if got := <-call; got.err == nil || got.err.Error() != want {
				t.Errorf("got %v, want %s", got.err, want)
			}
		}
		p.write("<iq type='get' from='localhost' id='7'><x xmlns='u'>" + deep + "</x></iq>")
		p.expect("<iq xmlns='jabber:client' type='error' id='7' to='localhost'><error type='modify'><policy-violation xmlns='" + stanzasNS + "'/></error></iq>")
	})
}

// an end without </stream:stream>, in the middle of a stanza too, is a loss.
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

// S-12: when a ping to the own server is answered, what was sent before has been
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

// S-18: a round trip is from the write to the read, for an error too.
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

// Close waits for the server only where something is unconfirmed, and never long.
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
		"answered by another": {func(s *xmpp.Session, p *peer) { // it came through the own server
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
	bubble(t, func(t *testing.T) { // a peer that does not read
		s, _ := connect(t)
		started := time.Now()
		if err := s.Close(); err == nil || time.Since(started) != 500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(started))
		}
	})
	bubble(t, func(t *testing.T) { // and one that has stopped in the middle of something
		s, _ := connect(t)
		stuck := async(func() (bool, error) { return true, s.Send(context.Background(), presence) })
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

// a write to a peer that does not read ends with its context, and it is the end of
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
	bubble(t, func(t *testing.T) { // who waits behind another has a context of his own, and harms nobody
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
	bubble(t, func(t *testing.T) { // an answer is taken while another write is stuck
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

// X-11, XEP-0478: what the server has announced that it does not take, is not sent.
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
