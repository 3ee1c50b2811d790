package e2e

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A proxy stands between a client and the nodes of its server, and is the network that fails.
type proxy struct {
	listeners []net.Listener // one for each node

	mu      sync.Mutex
	links   map[*link]int // to which node
	dark    bool          // new links lose everything
	refuses map[int]bool  // there are no new links to these nodes
}

// A link is a connection through a proxy.
type link struct {
	client, server *net.TCPConn
	up, down       way
}

// A way is one direction of a link. Once it loses bytes it loses all that come after
// them, the end of the connection included: nobody behind it learns of that.
type way struct{ lost atomic.Bool }

func startProxy(t testing.TB, nodes ...string) *proxy {
	p := &proxy{links: make(map[*link]int), refuses: make(map[int]bool)}
	t.Cleanup(p.cut)
	for node, addr := range nodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		p.listeners = append(p.listeners, l)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go p.connect(c.(*net.TCPConn), node, addr)
			}
		}()
	}
	return p
}

// addrs is where the proxy listens for each of the nodes.
func (p *proxy) addrs() (all []string) {
	for _, l := range p.listeners {
		all = append(all, l.Addr().String())
	}
	return all
}

func (p *proxy) connect(client *net.TCPConn, node int, addr string) {
	server, err := net.Dial("tcp", addr)
	if err != nil {
		reset(client)
		return
	}
	l := &link{client: client, server: server.(*net.TCPConn)}
	p.mu.Lock()
	p.links[l] = node
	l.up.lost.Store(p.dark)
	l.down.lost.Store(p.dark)
	if p.refuses[node] {
		l.cut()
	}
	p.mu.Unlock()

	var both sync.WaitGroup
	both.Go(func() { l.up.carry(l.server, l.client, &l.down) })
	both.Go(func() { l.down.carry(l.client, l.server, &l.up) })
	both.Wait()
	l.cut()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// carry copies until the source has ended, and passes that on. It also ends the way
// back where that still works: as a reset would.
func (w *way) carry(to, from *net.TCPConn, back *way) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if w.lost.Load() {
			if err != nil {
				return
			}
			continue
		}
		if _, failed := to.Write(b[:n]); failed != nil {
			if w.lost.Store(back.lost.Load()); !w.lost.Load() {
				reset(from)
				return
			}
		}
		switch {
		case err == io.EOF:
			to.CloseWrite()
			return
		case err != nil:
			reset(to)
			return
		}
	}
}

// reset closes a connection by RST.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

func (l *link) cut() {
	reset(l.client)
	reset(l.server)
}

// each calls f for the links that there are.
func (p *proxy) each(f func(*link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		f(l)
	}
}

// cut resets all links, at both ends.
func (p *proxy) cut() { p.each((*link).cut) }

// lose makes all links lose what goes to the server, or to the client, or both.
func (p *proxy) lose(up, down bool) {
	p.each(func(l *link) {
		l.up.lost.CompareAndSwap(false, up)
		l.down.lost.CompareAndSwap(false, down)
	})
}

// darken makes all links lose everything, and new ones as long as it is dark.
func (p *proxy) darken(dark bool) {
	p.mu.Lock()
	p.dark = dark
	p.mu.Unlock()
	if dark {
		p.lose(true, true)
	}
}

// refuse makes the proxy refuse new links to a node, or take them again.
func (p *proxy) refuse(node int, refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses[node] = refuse
}

// node is one that the client has a link to; ok is false where there is none.
func (p *proxy) node() (node int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, node := range p.links {
		return node, true
	}
	return 0, false
}

// The network that fails has to fail as it says.
func TestProxy(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p := startProxy(t, server.Addr().String())
	pair := func() (client, behind net.Conn) {
		client, err := net.Dial("tcp", p.addrs()[0])
		if err != nil {
			t.Fatal(err)
		}
		behind, err = server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return client, behind
	}
	// arrives reports what reading gives once from has written.
	arrives := func(from, to net.Conn) string {
		if _, err := from.Write([]byte("x")); err != nil {
			return "cannot write"
		}
		to.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := to.Read(make([]byte, 8))
		switch timeout, ok := err.(net.Error); {
		case n > 0:
			return "arrives"
		case ok && timeout.Timeout():
			return "lost"
		}
		return "ended"
	}
	for _, test := range []struct {
		name     string
		fail     func()
		up, down string
	}{
		{"works", func() {}, "arrives", "arrives"},
		{"loses up", func() { p.lose(true, false) }, "lost", "arrives"},
		{"loses down", func() { p.lose(false, true) }, "arrives", "lost"},
		{"dark", func() { p.darken(true) }, "lost", "lost"},
	} {
		client, behind := pair()
		if got := arrives(client, behind) + " " + arrives(behind, client); got != "arrives arrives" {
			t.Fatalf("%s: %s before it does", test.name, got)
		}
		test.fail()
		if up, down := arrives(client, behind), arrives(behind, client); up != test.up || down != test.down {
			t.Errorf("%s: up %s, down %s, want %s, %s", test.name, up, down, test.up, test.down)
		}
		// The end of the client is no more than another byte.
		client.Close()
		behind.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, err := io.Copy(io.Discard, behind)
		if told := err == nil; told != (test.up == "arrives") {
			t.Errorf("%s: the server is told of the client's end: %v (%v)", test.name, told, err)
		}
		behind.Close()
		p.darken(false)
	}

	p.darken(true)
	client, behind := pair()
	if up, down := arrives(client, behind), arrives(behind, client); up != "lost" || down != "lost" {
		t.Errorf("a new link in the dark: up %s, down %s", up, down)
	}
	p.darken(false)
	if up := arrives(client, behind); up != "lost" {
		t.Errorf("a link that has lost something: up %s later", up)
	}
	client, behind = pair()
	arrives(client, behind)
	p.cut()
	for _, c := range []net.Conn{client, behind} {
		c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 8)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("cut: %v, want a reset", err)
		}
	}
}
