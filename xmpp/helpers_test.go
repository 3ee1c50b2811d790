package xmpp_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/internal/wire"
	"xmppkit/xmpp/xmpptest"
)

// All tests with a connection run in a bubble of testing/synctest over net.Pipe: time
// is exact, and a goroutine that is left at the end fails the test.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

const password = "Wherefore art thou?"

func mustJID(s string) xmpp.JID {
	j, err := xmpp.ParseJID(s)
	if err != nil {
		panic(err)
	}
	return j
}

// parse is xmpp.Parse for what a test has written.
func parse(t testing.TB, text string) *xmpp.Element {
	t.Helper()
	e, err := xmpp.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

func text(e *xmpp.Element) string {
	if e == nil {
		return "<nil>"
	}
	b, err := xmpp.XML(e)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

const streamTag = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='localhost' id='s1' version='1.0' xml:lang='en'>"

// A world is the embedded server with a way to connect to it, and what it saw.
type world struct {
	*xmpptest.Server
	xmpp.Options

	mu       sync.Mutex
	received []string // what the server read, by connection and in the clear or inside TLS
	sent     []string
	conns    int
	wrap     func(net.Conn) net.Conn // the client's end
	latency  time.Duration           // of the link, each way
}

// newWorld makes a server with the account romeo.
func newWorld(t testing.TB, config xmpptest.Config) *world {
	t.Helper()
	w := &world{wrap: func(c net.Conn) net.Conn { return c }}
	if config.Accounts == nil {
		config.Accounts = map[string]string{"romeo": password, "juliet": password}
	}
	config.Trace = func(_ int, in bool, b []byte) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if in {
			w.received = append(w.received, string(b))
		} else {
			w.sent = append(w.sent, string(b))
		}
	}
	var err error
	if w.Server, err = xmpptest.New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Server.Close)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.CA())
	w.Options = xmpp.Options{
		JID: mustJID("romeo@" + w.Domain), Password: password, RootCAs: roots, Server: "server.example:5223",
		DialContext: w.dial,
	}
	return w
}

// dial connects to the server: to the port 5223 for direct TLS.
func (w *world) dial(_ context.Context, _, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.conns++
	w.mu.Unlock()
	there, here := newLink(w.latency)
	if w.latency > 0 {
		time.Sleep(2 * w.latency) // TCP
	}
	go w.ServeConn(there, strings.HasSuffix(addr, ":5223"))
	return w.wrap(here), nil
}

func (w *world) in() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.received, "")
}

func (w *world) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conns
}

// login opens a session that is closed at the end of the test.
func (w *world) login(t testing.TB, o xmpp.Options) *xmpp.Session {
	t.Helper()
	s, err := xmpp.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// starttls returns the options with STARTTLS.
func (w *world) starttls() xmpp.Options {
	o := w.Options
	o.Server = "server.example:5222"
	return o
}

// An authority issues certificates for a server made by hand. It does not fail.
type authority struct{ *xmpptest.Authority }

// template is a certificate for a server of these names.
func template(names ...string) *x509.Certificate {
	t := xmpptest.Template("test")
	t.DNSNames, t.ExtKeyUsage, t.BasicConstraintsValid = names, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, true
	return t
}

// newAuthority makes an authority. Where it has a parent, that has signed its certificate.
func newAuthority(parent *authority, change func(*x509.Certificate)) *authority {
	root, err := xmpptest.NewAuthority()
	if err != nil {
		panic(err)
	}
	if parent == nil {
		return &authority{root}
	}
	if change != nil {
		change(root.Certificate)
	}
	return &authority{&xmpptest.Authority{Certificate: parent.sign(root.Certificate, root.Key).Leaf, Key: root.Key}}
}

// sign issues a certificate for a key; others follow it in its chain.
func (a *authority) sign(t *x509.Certificate, key crypto.Signer, chain ...*authority) tls.Certificate {
	c, err := a.Issue(t, key)
	if err != nil {
		panic(err)
	}
	for _, other := range chain {
		c.Certificate = append(c.Certificate, other.Certificate.Raw)
	}
	return c
}

// issue makes a key and signs its certificate.
func (a *authority) issue(t *x509.Certificate, chain ...*authority) tls.Certificate {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return a.sign(t, key, chain...)
}

// The certificate of servers made by hand.
var handmade = sync.OnceValues(func() (*authority, tls.Certificate) {
	a := newAuthority(nil, nil)
	return a, a.issue(template("localhost"))
})

// A peer is the server's end of a connection whose script is in the test.
type peer struct {
	t    testing.TB
	raw  net.Conn
	conn net.Conn
	r    *wire.Reader

	reading chan *xmpp.Element // what within has begun to read
}

// scripted returns options whose connection is served by run, on a goroutine of its
// own, in the clear. When run has returned, the connection is closed.
func scripted(t testing.TB, run func(p *peer)) xmpp.Options {
	ca, _ := handmade()
	return xmpp.Options{
		JID: mustJID("romeo@localhost"), Password: password, AllowPlain: true, RootCAs: ca.Pool(), Server: "server.example:5223",
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			there, here := net.Pipe()
			go func() {
				defer there.Close()
				run(&peer{t: t, raw: there, conn: there})
			}()
			return here, nil
		},
	}
}

// handshake begins TLS.
func (p *peer) handshake() bool {
	_, cert := handmade()
	c := tls.Server(p.raw, &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true})
	p.conn, p.r = c, nil
	return c.Handshake() == nil
}

// open reads a stream header.
func (p *peer) open() *xmpp.Element {
	p.r = wire.NewReader(p.conn, wire.Limits{Stanza: 32 << 20})
	h, err := p.r.Header()
	if err != nil {
		p.t.Errorf("no stream header: %v", err)
	}
	return h
}

// next reads an element; nil at the end.
func (p *peer) next() *xmpp.Element {
	if p.reading != nil {
		defer func() { p.reading = nil }()
		return <-p.reading
	}
	e, _, err := p.r.Next()
	if err != nil {
		return nil
	}
	return e
}

// within is next for an element that comes within some time; nil for none.
func (p *peer) within(d time.Duration) *xmpp.Element {
	if p.reading == nil {
		c := make(chan *xmpp.Element, 1)
		go func(p peer) { c <- p.next() }(peer{r: p.r})
		p.reading = c
	}
	select {
	case e := <-p.reading:
		p.reading = nil
		return e
	case <-time.After(d):
		return nil
	}
}

// write reports whether somebody has read it.
func (p *peer) write(s string) bool {
	_, err := p.conn.Write([]byte(s))
	return err == nil
}

const plainFeatures = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"

// authenticate takes the client, from the TLS handshake on, through a login by PLAIN up
// to its bind request, which it returns.
func (p *peer) authenticate(features string) *xmpp.Element {
	if !p.handshake() {
		return nil
	}
	p.open()
	p.write(streamTag + plainFeatures)
	p.next()
	p.write("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	p.open()
	p.write(streamTag + "<stream:features>" + features + "</stream:features>")
	return p.next()
}

const nsBind = "urn:ietf:params:xml:ns:xmpp-bind"

// bind answers the bind request with an address.
func (p *peer) bind(request *xmpp.Element, jid string) {
	if request == nil {
		p.t.Error("no bind request")
		return
	}
	p.write("<iq type='result' id='" + xmpp.Attr(request, "id") + "'><bind xmlns='" + nsBind + "'><jid>" + jid + "</jid></bind></iq>")
}

// connect logs in at a scripted server as romeo@localhost/r and returns both ends. The
// server's is the test's to use; it is closed at the end.
func connect(t testing.TB, change ...func(*xmpp.Options)) (*xmpp.Session, *peer) {
	t.Helper()
	return connectBy(t, func(p *peer) { p.bind(p.authenticate(""), "romeo@localhost/r") }, change...)
}

// connectBy is connect with a login of its own.
func connectBy(t testing.TB, login func(p *peer), change ...func(*xmpp.Options)) (*xmpp.Session, *peer) {
	t.Helper()
	ready, end := make(chan *peer, 2), make(chan struct{})
	o := scripted(t, func(p *peer) {
		login(p)
		ready <- p
		<-end
	})
	for _, f := range change {
		f(&o)
	}
	s, err := xmpp.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(end)
		synctest.Wait()
		s.Close()
	})
	return s, <-ready
}

// result is what a call that runs beside the test returned.
type result[T any] struct {
	value T
	err   error
	at    time.Time
}

// async runs f on a goroutine.
func async[T any](f func() (T, error)) <-chan result[T] {
	c := make(chan result[T], 1)
	go func() {
		v, err := f()
		c <- result[T]{v, err, time.Now()}
	}()
	return c
}

// A link is one end of a connection that takes a latency each way and, unlike that of a
// net.Pipe, keeps what the other end has not read yet.
type link struct {
	net.Conn // for the addresses
	in, out  *lane
	latency  time.Duration
}

func newLink(latency time.Duration) (*link, *link) {
	addrs, _ := net.Pipe()
	a, b := &lane{wake: make(chan struct{}, 1)}, &lane{wake: make(chan struct{}, 1)}
	return &link{addrs, a, b, latency}, &link{addrs, b, a, latency}
}

func (l *link) Write(b []byte) (int, error) {
	return len(b), l.out.push(packet{slices.Clone(b), time.Now().Add(l.latency)})
}
func (l *link) Read(b []byte) (int, error)        { return l.in.read(b) }
func (l *link) SetDeadline(t time.Time) error     { return l.SetReadDeadline(t) }
func (l *link) SetWriteDeadline(time.Time) error  { return nil } // it never blocks
func (l *link) SetReadDeadline(t time.Time) error { return l.in.setDeadline(t) }

func (l *link) Close() error {
	l.out.push(packet{nil, time.Now().Add(l.latency)})
	l.in.close()
	return nil
}

// A lane is one direction of a link.
type lane struct {
	wake chan struct{}

	mu       sync.Mutex
	packets  []packet
	deadline time.Time
	closed   bool // by the reader
	ended    bool // by the writer
}

// A packet without bytes is the end.
type packet struct {
	b  []byte
	at time.Time
}

func (l *lane) push(p packet) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.ended {
		return net.ErrClosed
	}
	l.ended = p.b == nil
	l.packets = append(l.packets, p)
	l.signal()
	return nil
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.signal()
}

func (l *lane) setDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline = t
	l.signal()
	return nil
}

func (l *lane) read(b []byte) (int, error) {
	for {
		n, wait, err := l.poll(b)
		if n > 0 || err != nil {
			return n, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-l.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// poll reads what has arrived, or returns how long nothing will.
func (l *lane) poll(b []byte) (n int, wait time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	wait = 24 * time.Hour
	switch {
	case l.closed:
		return 0, 0, net.ErrClosed
	case !l.deadline.IsZero() && !now.Before(l.deadline):
		return 0, 0, os.ErrDeadlineExceeded
	case !l.deadline.IsZero():
		wait = l.deadline.Sub(now)
	}
	for len(l.packets) > 0 && n < len(b) {
		p := &l.packets[0]
		if now.Before(p.at) {
			return n, min(wait, p.at.Sub(now)), nil
		}
		if p.b == nil {
			if n == 0 {
				err = io.EOF
			}
			return n, 0, err
		}
		c := copy(b[n:], p.b)
		n += c
		if p.b = p.b[c:]; len(p.b) == 0 {
			l.packets = l.packets[1:]
		}
	}
	return n, wait, nil
}
