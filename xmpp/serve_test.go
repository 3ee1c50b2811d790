package xmpp_test

import (
	"context"
	"fmt"
	"runtime"
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
		{"own server", "localhost", "<ping xmlns='urn:xmpp:ping'/>", 100_000, 0},
		{"stranger", "mallory@evil.example/x", "<q xmlns='u'/>", 100_000, 0},
		{"slow stranger", "mallory@evil.example/x", "<q xmlns='u'/>", 500, 51 * time.Millisecond},
		{"own server, large", "localhost", big, 200, 0},
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

// The own server is answered whatever the requests of others wait for, and what waited
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
