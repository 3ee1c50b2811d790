package xmpp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// What the client says before TLS, to the byte. It does not name the account.
const clearFlight = `<?xml version='1.0'?><stream:stream to="localhost" version="1.0" xml:lang="en" xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams">` +
	`<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>`

const starttlsFeatures = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"

const proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

// A tap keeps what is written.
type tap struct {
	net.Conn
	mu sync.Mutex
	b  []byte
}

func (c *tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.b = append(c.b, b...)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// clear returns what was written before the first TLS record.
func (c *tap) clear() (clear string, secured bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, _, secured := bytes.Cut(c.b, []byte{0x16, 0x03, 0x01})
	return string(before), secured
}

// tapped adds a tap to the connection that o makes.
func tapped(o *xmpp.Options) *tap {
	c := new(tap)
	dial := o.DialContext
	o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		c.Conn = conn
		return c, err
	}
	return c
}

// Whatever a server sends before TLS, all it gets in the clear is the
// header and <starttls/>, and at the end of it what is wrong with the stream.
func TestClear(t *testing.T) {
	mechanisms := "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism><mechanism>SCRAM-SHA-1</mechanism></mechanisms>"
	streamError := func(c, text string) string {
		return "<stream:error><" + c + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'>" + text + "</" + c + "></stream:error></stream:stream>"
	}
	for name, test := range map[string]struct {
		answer string // of the server
		want   string // in the error; "" where TLS begins
		took   time.Duration
	}{
		"offered":             {streamTag + starttlsFeatures + proceed, "", 0},
		"not offered":         {streamTag + "<stream:features/>" + proceed, "", 0}, // RFC 7590, section 3.1
		"mechanisms":          {streamTag + "<stream:features>" + mechanisms + "</stream:features>" + proceed, "", 0},
		"not offered, silent": {streamTag + "<stream:features/>", "does not offer STARTTLS", 2 * time.Second},
		"mechanisms, silent":  {streamTag + "<stream:features>" + mechanisms + "</stream:features>", "does not offer STARTTLS", 2 * time.Second},
		"offered, silent":     {streamTag + starttlsFeatures, "waiting for the answer to STARTTLS with server.example:5222: context deadline exceeded", 30 * time.Second},
		"no features":         {streamTag, "waiting for the answer to STARTTLS with server.example:5222: context deadline exceeded", 30 * time.Second},
		"half the features":   {streamTag + "<stream:features>" + mechanisms, "context deadline exceeded", 30 * time.Second},
		"refused":             {streamTag + starttlsFeatures + "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>", "the server refused STARTTLS", 0},
		"not offered, refused": {streamTag + "<stream:features>" + mechanisms + "</stream:features><failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
			"the server refused STARTTLS", 0},
		"proceed without features": {streamTag + proceed, "unsupported-stanza-type", 0},
		"message":                  {streamTag + starttlsFeatures + "<message/>" + proceed, "unsupported-stanza-type", 0},
		"features again":           {streamTag + starttlsFeatures + "<stream:features>" + mechanisms + "</stream:features>", "unsupported-stanza-type", 0},
		"SASL success":             {streamTag + starttlsFeatures + "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "unsupported-stanza-type", 0},
		"other proceed":            {streamTag + starttlsFeatures + "<proceed xmlns='evil'/>", "unsupported-stanza-type", 0},
		"features of others":       {streamTag + "<features xmlns='evil'/>", "unsupported-stanza-type", 0},
		"end":                      {streamTag + starttlsFeatures + "</stream:stream>", "connection lost", 0},
		"host-unknown":             {streamTag + streamError("host-unknown", ""), "stream error host-unknown", 0},
		"see-other-host":           {streamTag + streamError("see-other-host", "127.0.0.1:22"), "stream error see-other-host", 0},
		"see-other-host later":     {streamTag + starttlsFeatures + streamError("see-other-host", "[::1]:22"), "stream error see-other-host", 0},

		// A byte after <proceed/>, even white space, is not TLS (RFC 6120, section 5.4.2.3).
		"message after":  {streamTag + starttlsFeatures + proceed + "<message/>", "data before TLS", 0},
		"features after": {streamTag + starttlsFeatures + proceed + streamTag + "<stream:features>" + mechanisms + "</stream:features>", "data before TLS", 0},
		"space after":    {streamTag + starttlsFeatures + proceed + " ", "data before TLS", 0},
		"newline after":  {streamTag + starttlsFeatures + proceed + "\n", "data before TLS", 0},
		"NUL after":      {streamTag + starttlsFeatures + proceed + "\x00", "data before TLS", 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				received := make(chan string, 1)
				o := scripted(t, func(p *peer) {
					p.open()
					if e := p.next(); !xmpp.Is(e, xmpp.NSTLS, "starttls") || p.r.Buffered() > 0 {
						t.Errorf("it asks for %s, and %d bytes more", text(e), p.r.Buffered())
					}
					p.write(test.answer)
					io.Copy(io.Discard, p.conn)
					received <- ""
				})
				o.Server = "server.example:5222"
				if test.want == "" {
					o.DialContext = abruptly(o.DialContext)
				}
				c := tapped(&o)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				started := time.Now()
				_, err := xmpp.Dial(ctx, o)
				took := time.Since(started)
				<-received
				clear, secured := c.clear()
				if test.want == "" {
					if clear != clearFlight || !secured {
						t.Errorf("%v after %q, TLS %v", err, clear, secured)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), test.want) || took != test.took {
					t.Errorf("%v after %s, want %s after %s", err, took, test.want, test.took)
				}
				rest, ok := strings.CutPrefix(clear, clearFlight)
				if rest != "" && !strings.HasPrefix(rest, "<stream:error>") || !ok || secured || strings.Contains(clear, "romeo") {
					t.Errorf("it sent %q, TLS %v", clear, secured)
				}
			})
		})
	}
}

// abruptly makes the connection end when the client begins with TLS.
func abruptly(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return noTLS{c}, err
	}
}

type noTLS struct{ net.Conn }

func (c noTLS) Write(b []byte) (int, error) {
	if b[0] == 0x16 {
		c.Close()
	}
	return c.Conn.Write(b)
}

// However <proceed/> is cut up, TLS begins after it (RFC 6120, section 5.4.2.3).
func TestProceedInParts(t *testing.T) {
	for i := 1; i < len(proceed); i++ {
		bubble(t, func(t *testing.T) {
			o := scripted(t, func(p *peer) {
				p.open()
				p.write(streamTag)
				p.next()
				p.write(starttlsFeatures)
				for _, part := range []string{proceed[:i], proceed[i:]} {
					time.Sleep(time.Second)
					p.write(part)
				}
				p.bind(p.authenticate(""), "romeo@localhost/r")
				p.next()
			})
			o.Server = "server.example:5222"
			s, err := xmpp.Dial(t.Context(), o)
			if err != nil {
				t.Fatalf("cut at %d: %v", i, err)
			}
			s.Close()
		})
	}
}

// The header and <starttls/> are one flight, but TLS waits for <proceed/>.
func TestHelloWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := scripted(t, func(p *peer) {
			p.open()
			p.next()
			for _, part := range []string{streamTag, starttlsFeatures[:40], starttlsFeatures[40:]} {
				p.write(part)
				p.conn.SetReadDeadline(time.Now().Add(3 * time.Second))
				if n, err := p.conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("after %s: %d bytes, %v", part, n, err)
				}
				p.conn.SetReadDeadline(time.Time{})
			}
			p.write(proceed)
			p.bind(p.authenticate(""), "romeo@localhost/r")
			p.next()
		})
		o.Server = "server.example:5222"
		s, err := xmpp.Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	})
}

// Where the server refuses TLS, it gets no credentials (RFC 7590, section 3.1).
func TestNoTLSNoLogin(t *testing.T) {
	for _, faults := range [][]xmpptest.Fault{{"no-starttls"}, {"plaintext-auth", "no-starttls"}, {"inject-proceed"}} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, xmpptest.Config{Faults: faults})
			o := w.starttls()
			var d *xmpp.DialError
			_, err := xmpp.Dial(t.Context(), o)
			if synctest.Wait(); !errors.As(err, &d) || d.Op != "tls" || w.Attempts() != 0 || w.in() != clearFlight {
				t.Errorf("%v: %v, %d attempts after %q", faults, err, w.Attempts(), w.in())
			}
		})
	}
	bubble(t, func(t *testing.T) { // mechanisms in the clear do not matter where TLS is there
		w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{"plaintext-auth"}})
		o := w.starttls()
		c := tapped(&o)
		w.login(t, o)
		if clear, secured := c.clear(); clear != clearFlight || !secured {
			t.Errorf("in the clear: %q", clear)
		}
	})
}
