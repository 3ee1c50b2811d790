package xmpp_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
)

// A flood of requests costs neither goroutines nor memory, whoever sends it, while the
// server does not read the answers.
func TestRequestFloodBounded(t *testing.T) {
	big := "<q xmlns='u'>" + strings.Repeat("x", 1<<20) + "</q>"
	for _, test := range []struct {
		name, from, payload string
		n                   int
		wait                time.Duration // between two, for the rate
	}{
		{"server", "localhost", "<ping xmlns='urn:xmpp:ping'/>", 100_000, 0},
		{"stranger", "mallory@evil.example/x", "<q xmlns='u'/>", 100_000, 0},
		{"slow stranger", "mallory@evil.example/x", "<q xmlns='u'/>", 500, 51 * time.Millisecond},
		{"server, large", "localhost", big, 200, 0},
		{"stranger, large", "mallory@evil.example/x", big, 200, 51 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				_, p := connect(t, func(o *xmpp.Options) { o.Take = func(*xmpp.Element) bool { return false } })
				goroutines, heap := runtime.NumGoroutine(), heapInUse()
				for i := range test.n {
					p.write(fmt.Sprintf("<iq type='get' id='%d' from='%s'>%s</iq>", i, test.from, test.payload))
					time.Sleep(test.wait)
				}
				synctest.Wait()
				if n := runtime.NumGoroutine() - goroutines; n > 10 {
					t.Errorf("%d goroutines more", n)
				}
				if n := heapInUse() - heap; n > 40<<20 {
					t.Errorf("%d MiB of memory more", n>>20)
				}
			})
		})
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The server is answered whatever the requests of others wait for, and what waited
// is answered in the end, each once.
func TestRequestsOwnServerFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		letGo := sync.OnceFunc(func() { close(release) })
		defer letGo()
		running, most := make(chan int, 1), 0
		running <- 0
		_, p := connect(t, func(o *xmpp.Options) {
			o.HandleIQ = func(_ context.Context, iq *xmpp.Element) *xmpp.Element {
				n := <-running + 1
				most = max(most, n)
				running <- n
				<-release
				running <- <-running - 1
				return xmpp.Result(iq)
			}
		})
		for i := range 40 { // 20 a second
			p.write(fmt.Sprintf("<iq type='get' id='%d' from='mallory@evil.example/x'><q xmlns='u'/></iq>", i))
			time.Sleep(51 * time.Millisecond)
		}
		const push = "<iq type='set' id='push'><query xmlns='jabber:iq:roster'><item jid='nurse@localhost'/></query></iq>"
		p.write("<iq type='get' id='ping' from='localhost'><ping xmlns='urn:xmpp:ping'/></iq>" + push)
		p.expect("<iq xmlns='jabber:client' type='result' id='ping' to='localhost'/>")
		p.expect("<iq xmlns='jabber:client' type='result' id='push'/>")
		letGo()
		seen := make(map[string]int)
		for range 40 {
			seen[xmpp.Attr(p.next(), "id")]++
		}
		if len(seen) != 40 {
			t.Errorf("answered %v", seen)
		}
		if most > 7 {
			t.Errorf("%d requests of others were answered at a time", most)
		}
	})
}

// A request whose answer would have to repeat too much stays unanswered.
func TestRequestLargeID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, p := connect(t)
		ask := func(id string) {
			p.write("<iq type='get' id='" + id + "' from='mallory@evil.example/x'><q xmlns='u'/></iq>")
		}
		ask(strings.Repeat("x", 9<<10))
		ask("next")
		if id := xmpp.Attr(p.next(), "id"); id != "next" {
			t.Errorf("answered a request with an id of %d bytes", len(id))
		}
	})
}

// Each request is answered exactly once (RFC 6120, section 8.2.3), and strangers learn
// nothing.
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

// A flood of strangers' requests is not echoed: at most 20 answers a second.
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
		// The server is no stranger.
		p.write(flood)
		before := count()
		for range 50 {
			p.write("<iq type='get' id='2' from='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
		}
		if n := count() - before; n != 50 {
			t.Errorf("%d of the server's 50 pings were answered", n)
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
