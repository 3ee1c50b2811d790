package xmpp_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// A meter writes down each write on a connection, and where in between it reads.
type meter struct {
	net.Conn
	mu  sync.Mutex
	log []string
}

// Write notes what kind of TLS record begins a write. In TLS 1.3 all that comes after
// the handshake looks like data.
func (m *meter) Write(b []byte) (int, error) {
	kind := "clear"
	switch b[0] {
	case 0x14, 0x16:
		kind = "handshake"
	case 0x15:
		kind = "alert"
	case 0x17:
		kind = "data"
	}
	m.note(kind)
	return m.Conn.Write(b)
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	if n > 0 {
		m.note("read")
	}
	return n, err
}

func (m *meter) note(s string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s != "read" || len(m.log) == 0 || m.log[len(m.log)-1] != "read" {
		m.log = append(m.log, s)
	}
}

func (m *meter) take() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	log := m.log
	m.log = nil
	return strings.Join(log, " ")
}

// One Write for each flight, and no flight more than RFC 6120 asks for. On a
// link of 100 ms each round trip costs exactly that, so the time tells their number.
func TestFlights(t *testing.T) {
	const roundTrip = 100 * time.Millisecond
	const (
		clear = "clear read "                              // header + <starttls/>
		tls13 = "handshake read handshake data read "      // and the header with the last one
		tls12 = "handshake read handshake read data read " // one more round trip
		scram = "data read data read "                     // <auth/>, <response/>
		one   = "data read "                               // PLAIN, EXTERNAL
		bind  = "data read"                                // header + bind
	)
	cert := func(w *world, o *xmpp.Options) {
		c := w.ClientCertificate("romeo")
		o.Certificate = &c
	}
	for _, test := range []struct {
		name   string
		port   string
		config xmpptest.Config
		change func(*world, *xmpp.Options)
		login  string
		trips  int // to the confirmation of the first message, the connection included
		closes string
	}{
		{"direct", "5223", xmpptest.Config{}, nil, tls13 + scram + bind, 7, "data data"},
		{"STARTTLS", "5222", xmpptest.Config{}, nil, clear + tls13 + scram + bind, 8, "data data"},
		{"direct, no binding", "5223", xmpptest.Config{Mechanisms: []string{"SCRAM-SHA-256"}}, nil, tls13 + scram + bind, 7, "data data"},
		{"direct, TLS 1.2", "5223", xmpptest.Config{MaxTLS: 0x303}, nil, tls12 + scram + bind, 8, "data alert"},
		{"STARTTLS, TLS 1.2", "5222", xmpptest.Config{MaxTLS: 0x303}, nil, clear + tls12 + scram + bind, 9, "data alert"},
		{"direct, PLAIN", "5223", xmpptest.Config{Mechanisms: []string{"PLAIN"}}, func(_ *world, o *xmpp.Options) { o.AllowPlain = true }, tls13 + one + bind, 6, "data data"},
		{"direct, EXTERNAL", "5223", xmpptest.Config{}, cert, tls13 + one + bind, 6, "data data"},
		{"STARTTLS, EXTERNAL", "5222", xmpptest.Config{}, cert, clear + tls13 + one + bind, 7, "data data"},
		{"resource", "5223", xmpptest.Config{}, func(_ *world, o *xmpp.Options) { o.JID.Resource = "r" }, tls13 + scram + bind, 7, "data data"},
		{"conflict", "5223", xmpptest.Config{Faults: []xmpptest.Fault{"bind-conflict"}}, func(_ *world, o *xmpp.Options) { o.JID.Resource = "r" }, tls13 + scram + bind + " data read", 8, "data data"},
		{"proof in a challenge", "5223", xmpptest.Config{Faults: []xmpptest.Fault{"final-challenge"}}, nil, tls13 + scram + one + bind, 8, "data data"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, test.config)
				w.latency = roundTrip / 2
				m := new(meter)
				w.wrap = func(c net.Conn) net.Conn {
					m.Conn = c
					return m
				}
				o := w.Options
				o.Server = "server.example:" + test.port
				if test.change != nil {
					test.change(w, &o)
				}
				started := time.Now()
				s, err := xmpp.Dial(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if got := m.take(); got != test.login {
					t.Errorf("login:\n got %s\nwant %s", got, test.login)
				}
				message := xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message", "to", "juliet@localhost"), xmpp.NewText(xmpp.NSClient, "body", "hello"))
				rtt, err := s.Ping(t.Context(), s.Server(), message, message.Copy(), message.Copy())
				if err != nil || rtt != roundTrip {
					t.Errorf("Ping: %s, %v", rtt, err)
				}
				if took := time.Since(started); took != time.Duration(test.trips)*roundTrip {
					t.Errorf("took %s, want %d round trips", took, test.trips)
				}
				if got := m.take(); got != "data read" {
					t.Errorf("three messages and their confirmation: %s", got)
				}
				started = time.Now()
				if err := s.Close(); err != nil || time.Since(started) != 0 {
					t.Errorf("Close: %v after %s", err, time.Since(started))
				}
				if got := m.take(); got != test.closes {
					t.Errorf("Close: got %s, want %s", got, test.closes)
				}
			})
		})
	}
}

// A large flight is one write, too.
func TestLargeFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{})
		m := new(meter)
		w.wrap = func(c net.Conn) net.Conn {
			m.Conn = c
			return m
		}
		s := w.login(t, w.Options)
		m.take()
		var messages []*xmpp.Element
		for i := range 100 {
			e := xmpp.NewElement(xmpp.NSClient, "message", "to", "juliet@localhost", "id", fmt.Sprint(i))
			messages = append(messages, xmpp.Add(e, xmpp.NewText(xmpp.NSClient, "body", "hello")))
		}
		if _, err := s.Ping(t.Context(), s.Server(), messages...); err != nil {
			t.Error(err)
		}
		if got := m.take(); got != "data read" {
			t.Error(got)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if i := slices.IndexFunc(w.received, func(s string) bool { return strings.HasPrefix(s, "<message") }); i < 0 || len(w.received[i]) < 8000 {
			t.Errorf("the server read it in parts")
		}
	})
}
