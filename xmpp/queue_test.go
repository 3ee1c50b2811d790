package xmpp_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
)

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

// What is nobody's stanza is not delivered, such as one of another namespace (RFC 6120,
// section 4.8.4).
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

// Stanzas that nobody reads are kept up to a budget of memory. Beyond it no more are accepted:
// what is kept is yielded, answers still come, and then the session is lost.
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
				if end == nil || !strings.Contains(end.Error(), "stanzas arrive faster than they are read") || !errors.Is(end, xmpp.ErrLost) {
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

// With Options.Pause the reader waits for room, as long as somebody can make some.
func TestQueuePause(t *testing.T) {
	message := "<message id='1'><body>" + strings.Repeat("x", 1<<20) + "</body></message>"
	bubble(t, func(t *testing.T) { // a loop over all of Stanzas makes room
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
	bubble(t, func(t *testing.T) { // a call that waits for an answer does not
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
	bubble(t, func(t *testing.T) { // a session that pauses can be closed
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
			"<iq type='result' from='localhost' id='ID'><x xmlns='u'>" + deep + "</x></iq>":                                                                           "the answer of localhost exceeds a limit: nested too deeply (more than 32 levels)",
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

func collectAll(s *xmpp.Session) (ids []string, end error) {
	for e, err := range s.Stanzas(context.Background()) {
		if end = err; err == nil {
			ids = append(ids, xmpp.Attr(e, "id"))
		}
	}
	return ids, end
}
