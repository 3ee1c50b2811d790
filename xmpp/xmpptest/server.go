// Package xmpptest is an XMPP server for tests, as net/http/httptest has one for
// HTTP: in memory, on loopback ports or on any net.Conn, with an authority for its
// certificates made on the spot. It can also misbehave on request, see Fault.
//
// It knows one domain, whose accounts have rosters, presence and an offline store
// (RFC 6120, RFC 6121), carbons (XEP-0280) and an archive (XEP-0313), and announces
// what it can to disco (XEP-0030). It answers pings (XEP-0199) and manages streams
// (XEP-0198). Its service muc.DOMAIN has rooms (XEP-0045). It leaves out federation,
// registration and all storage that outlives it.
package xmpptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xdg-go/scram"

	"xmppkit/xmpp"
)

// A Config configures a Server. The zero value is a correct server for localhost
// without accounts.
type Config struct {
	// Domain is the domain of the server, "localhost" if it is empty.
	Domain string

	// Accounts are the passwords of the accounts, by local part.
	Accounts map[string]string

	// Rooms are the owners, by local part, of rooms that are there from the start, and stay:
	// the room "ops" is ops@muc.DOMAIN. An owner is one of the Accounts, or "" for none.
	Rooms map[string]string

	// Friends puts all accounts on each other's rosters, subscribed both ways.
	Friends bool

	// Faults are the ways in which the server misbehaves. Only one of the faults
	// about certificates takes effect.
	Faults []Fault

	// MinTLS and MaxTLS are versions of crypto/tls; zero stands for its defaults.
	MinTLS, MaxTLS uint16

	// Mechanisms are the SASL mechanisms offered inside TLS: any of
	// SCRAM-SHA-512, SCRAM-SHA-256 and SCRAM-SHA-1, each with or without -PLUS, and
	// PLAIN. Empty stands for all of SCRAM. EXTERNAL is offered in addition to a
	// client that showed a certificate of ClientCertificate.
	Mechanisms []string

	// Legacy makes the server behave like ejabberd 23.01: it offers SCRAM-SHA-1 and its
	// -PLUS, names no types of channel binding, accepts only tls-unique, which TLS 1.3
	// does not have, and accepts a client that believes there is no -PLUS.
	Legacy bool

	// Trace, if it is not nil, gets every byte of the XML streams, inside and
	// outside of TLS, as it is read (in) or written: one call for each read or
	// write. Connections count from 1. It is called by several goroutines at once
	// and must not keep b.
	Trace func(conn int, in bool, b []byte)
}

// A Server is a running server. Its methods may be called at any time by any
// goroutine.
type Server struct {
	Domain string // must not be changed

	config    Config
	features  []feature
	ca        *Authority
	key       *ecdsa.PrivateKey
	cert      tls.Certificate
	listeners []net.Listener
	accepting sync.WaitGroup
	attempts  atomic.Int64

	mu       sync.Mutex // guards the fields below, and all accounts
	closed   bool
	faults   faults
	total    int // connections ever
	conns    map[*conn]bool
	accounts map[string]*account
	rooms    map[string]*room // by local part
}

// An account is what the server keeps about one of its users.
type account struct {
	jid      xmpp.JID
	password string
	keys     map[string]*scram.Client // caches what PBKDF2 gives, by hash
	sessions map[string]*session      // by resource
	ended    map[string]uint32        // the count of an expired session, by its id (XEP-0198)
	roster   map[xmpp.JID]*contact
	version  int // of the roster
	offline  []*xmpp.Element
	archive  history
}

// shutdown is how long Close waits for clients to close their streams.
const shutdown = 100 * time.Millisecond

// New makes a server that does not listen; connections come by ServeConn. It fails
// on a domain, account or fault that is malformed.
func New(config Config) (*Server, error) {
	if config.Domain == "" {
		config.Domain = "localhost"
	}
	domain, err := xmpp.ParseJID(config.Domain)
	if err != nil || domain.String() != domain.Domain {
		return nil, fmt.Errorf("xmpptest: %q is not a domain", config.Domain)
	}
	s := &Server{
		Domain:   domain.Domain,
		config:   config,
		features: features(),
		conns:    make(map[*conn]bool),
		accounts: make(map[string]*account),
		rooms:    make(map[string]*room),
	}
	if err := s.SetFaults(config.Faults...); err != nil {
		return nil, err
	}
	for local, password := range config.Accounts {
		if err := s.AddAccount(local, password); err != nil {
			return nil, err
		}
	}
	for local, owner := range config.Rooms {
		if err := s.addRoom(local, owner); err != nil {
			return nil, err
		}
	}
	if s.ca, err = NewAuthority(); err != nil {
		return nil, fmt.Errorf("xmpptest: %w", err)
	}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("xmpptest: %w", err)
	}
	if s.cert, err = serverCertificate(s.ca, s.key, s.Domain, nil); err != nil {
		return nil, fmt.Errorf("xmpptest: %w", err)
	}
	return s, nil
}

// Start makes a server that listens on two ports of 127.0.0.1.
func Start(config Config) (*Server, error) {
	s, err := New(config)
	if err != nil {
		return nil, err
	}
	for _, direct := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("xmpptest: %w", err)
		}
		s.listeners = append(s.listeners, l)
		s.accepting.Go(func() { s.accept(l, direct) })
	}
	return s, nil
}

func (s *Server) accept(l net.Listener, direct bool) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.accepting.Go(func() { s.ServeConn(c, direct) })
	}
}

// Addr returns the host and port for STARTTLS, "" if the server was made by New.
func (s *Server) Addr() string { return s.addr(0) }

// DirectAddr returns the host and port for direct TLS (XEP-0368), "" if the server
// was made by New.
func (s *Server) DirectAddr() string { return s.addr(1) }

func (s *Server) addr(i int) string {
	if i >= len(s.listeners) {
		return ""
	}
	return s.listeners[i].Addr().String()
}

// Attempts returns how many <auth/> elements have arrived on all connections.
func (s *Server) Attempts() int { return int(s.attempts.Load()) }

// SetFaults replaces the faults for new connections.
func (s *Server) SetFaults(f ...Fault) error {
	parts, err := splitFaults(f)
	if err != nil {
		return fmt.Errorf("xmpptest: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = parts
	return nil
}

// AddAccount adds an account, or changes its password. It fails on a local part
// that is malformed or a password that SASLprep refuses.
func (s *Server) AddAccount(local, password string) error {
	jid, err := xmpp.ParseJID(local + "@" + s.Domain)
	if err != nil || jid.Local == "" || jid != jid.Bare() {
		return fmt.Errorf("xmpptest: %q is not a local part", local)
	}
	keys := make(map[string]*scram.Client)
	for _, h := range []string{"SHA-1", "SHA-256", "SHA-512"} {
		keys[h], err = hash(h).NewClient("", password, "")
		if err != nil { // an emoji, which the library stores nothing of, and servers do
			keys[h], err = hash(h).NewClientUnprepped("", password, "")
		}
		if err != nil {
			return fmt.Errorf("xmpptest: account %s: %w", local, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[jid.Local]
	if a == nil {
		a = &account{jid: jid, sessions: make(map[string]*session), ended: make(map[string]uint32), roster: make(map[xmpp.JID]*contact)}
		s.accounts[jid.Local] = a
		if s.config.Friends {
			s.befriend(a)
		}
	}
	a.password, a.keys = password, keys
	return nil
}

// befriend subscribes a and all other accounts to each other. The server is locked.
func (s *Server) befriend(a *account) {
	friends := state{listed: true, to: true, from: true}
	for _, other := range s.accounts {
		if other != a {
			a.roster[other.jid] = &contact{state: friends}
			other.roster[a.jid] = &contact{state: friends}
		}
	}
}

// account returns the account with that name and its current password, or nil.
func (s *Server) account(local string) *account {
	jid, err := xmpp.ParseJID(local + "@" + s.Domain)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accounts[jid.Local]
}

// Close ends all streams with system-shutdown and returns when their goroutines have
// ended. A client that does not close its stream is cut off after a moment.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	conns := slices.Collect(maps.Keys(s.conns))
	for _, c := range conns {
		if c.bound == nil {
			c.raw.Close()
		} else {
			c.end(closing(streamError{condition: "system-shutdown"}))
		}
	}
	for _, a := range s.accounts {
		for _, there := range a.sessions {
			there.wake()
		}
	}
	s.mu.Unlock()
	for _, l := range s.listeners {
		l.Close()
	}
	cut := time.AfterFunc(shutdown, func() {
		for _, c := range conns {
			c.raw.Close()
		}
	})
	defer cut.Stop()
	for _, c := range conns {
		<-c.done
	}
	s.accepting.Wait()
}

// Cut breaks all connections, like a network failure. Resumable sessions wait for their
// clients.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.raw.Close()
	}
}

// Restart breaks all connections, and drops all sessions with the stanzas that only
// they had, as if the server had been killed and restarted. Accounts, rosters,
// archives, offline messages and persistent rooms are still there.
func (s *Server) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.cut, c.bound = true, nil
		c.raw.Close()
	}
	for _, a := range s.accounts {
		for _, there := range a.sessions {
			there.wake()
		}
		clear(a.sessions)
		clear(a.ended)
	}
	s.emptyRooms()
}

// ServeConn serves one connection, such as one end of a net.Pipe, closes it and
// returns when it has ended. With directTLS the client begins with a TLS
// handshake, otherwise with a stream header.
func (s *Server) ServeConn(nc net.Conn, directTLS bool) {
	c := &conn{s: s, raw: nc, nc: nc, direct: directTLS, done: make(chan struct{})}
	if !s.register(c) {
		nc.Close()
		return
	}
	c.out = newOutbox(c.write)
	if c.faults.has("one-segment") {
		c.out.delay = 20 * time.Millisecond
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		switch err := c.out.run(); {
		case err == nil:
			c.closeWrite()
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.raw.Close() // a client that has not read for so long is not read either
		} // a client that is gone may have sent a reason
	}()
	err := c.serve()
	c.leave(err)
	c.finish(err)
	nc.Close()
	<-written

	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	close(c.done)
}

// register counts c, and assigns its faults. It reports false if the server is closed.
func (s *Server) register(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.total++
	s.conns[c] = true
	c.number = s.total
	if n, ok := s.faults.number("first"); !ok || c.number <= n {
		c.faults = s.faults
	}
	return true
}

// linger is how long a connection stays open for the peer to read the end of the
// stream and to close it: closing earlier may reset it, and lose what was written.
const linger = time.Second

// end writes the last bytes of a connection. It may be called more than once, by
// any goroutine; only the first call counts.
func (c *conn) end(b []byte) {
	c.out.end(b)
	c.raw.SetReadDeadline(time.Now().Add(linger))
}

// closing is the end of a stream with an error, with details that are specific to it
// (RFC 6120, section 4.9.4).
func closing(e streamError, details ...*xmpp.Element) []byte {
	b := []byte("<stream:error>")
	condition := xmpp.NewElement(xmpp.NSStreams, e.condition)
	if e.condition == "see-other-host" {
		condition.SetText(e.text)
		e.text = ""
	}
	parts := []*xmpp.Element{condition}
	if e.text != "" {
		parts = append(parts, xmpp.NewText(xmpp.NSStreams, "text", e.text))
	}
	for _, p := range append(parts, details...) {
		x, _ := xmpp.XML(p)
		b = append(b, x...)
	}
	return append(b, "</stream:error></stream:stream>"...)
}

// finish ends the stream as err, the result of serve, requires.
func (c *conn) finish(err error) {
	c.flush()
	var se streamError
	switch {
	case err == io.EOF:
		c.end([]byte("</stream:stream>"))
	case errors.As(err, &se):
		if !c.opened {
			c.put(c, []byte(c.header()))
		}
		c.end(closing(se))
	default:
		c.end(nil)
	}
	c.discard()
}
