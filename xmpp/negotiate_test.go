package xmpp_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
	"xmppkit/xmpp/xmpptest"
)

// What the client says before TLS, to the byte. It does not name the account.
const clearFlight = `<?xml version='1.0'?><stream:stream to="localhost" version="1.0" xml:lang="en" xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams">` +
	`<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>`

const secureHeader = `<?xml version='1.0'?><stream:stream from="romeo@localhost" to="localhost" version="1.0" xml:lang="en" xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams">`

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

// C-30, C-31, C-33: whatever a server says before TLS, all it gets in the clear is the
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

		// C-31: a byte behind <proceed/>, even white space, is not TLS.
		"message behind":  {streamTag + starttlsFeatures + proceed + "<message/>", "data before TLS", 0},
		"features behind": {streamTag + starttlsFeatures + proceed + streamTag + "<stream:features>" + mechanisms + "</stream:features>", "data before TLS", 0},
		"space behind":    {streamTag + starttlsFeatures + proceed + " ", "data before TLS", 0},
		"newline behind":  {streamTag + starttlsFeatures + proceed + "\n", "data before TLS", 0},
		"NUL behind":      {streamTag + starttlsFeatures + proceed + "\x00", "data before TLS", 0},
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
					t.Errorf("it said %q, TLS %v", clear, secured)
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

// C-31: however <proceed/> is cut up, TLS begins behind it.
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

// C-35: the header and <starttls/> are one flight, but TLS waits for <proceed/>.
func TestHelloWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := scripted(t, func(p *peer) {
			p.open()
			p.next()
			for _, part := range []string{streamTag, starttlsFeatures[:40], starttlsFeatures[40:]} {
				p.write(part)
				p.conn.SetReadDeadline(time.Now().Add(3 * time.Second))
				if n, err := p.conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("behind %s: %d bytes, %v", part, n, err)
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

// C-30: the embedded server's ways to refuse TLS cost no credentials.
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

// C-40: inside TLS the header names the account, without its resource.
func TestSecureHeader(t *testing.T) {
	for _, port := range []string{"5222", "5223"} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, xmpptest.Config{})
			o := w.Options
			o.JID.Resource, o.Server = "balcony", "server.example:"+port
			w.login(t, o)
			headers := strings.SplitAfter(strings.TrimPrefix(w.in(), clearFlight), "<?xml ")
			n := 0
			for _, h := range headers[1:] {
				if strings.HasPrefix("<?xml "+h, secureHeader) {
					n++
				}
			}
			if n != 2 || len(headers) != 3 {
				t.Errorf("%d of %d headers are as they should: %q", n, len(headers)-1, headers)
			}
		})
	}
}

// C-32: what was offered before TLS is forgotten.
func TestFeaturesForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := scripted(t, func(p *peer) {
			p.open()
			p.next()
			p.write(streamTag + strings.Replace(plainFeatures, "<mech", "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mech", 1) + proceed)
			p.handshake()
			p.open()
			p.write(streamTag + "<stream:features><mechanisms xmlns='evil'><mechanism>PLAIN</mechanism></mechanisms></stream:features>")
			if e := p.next(); e != nil {
				t.Errorf("it goes on with %s", text(e))
			}
		})
		o.Server = "server.example:5222"
		var offer *sasl.OfferError
		if _, err := xmpp.Dial(t.Context(), o); !errors.As(err, &offer) || len(offer.Offered) > 0 {
			t.Errorf("%v", err)
		}
	})
	bubble(t, func(t *testing.T) { // and what was offered before the login
		o := scripted(t, func(p *peer) {
			p.handshake()
			p.open()
			p.write(streamTag + strings.Replace(plainFeatures, "<mech", "<old xmlns='u'/><mech", 1))
			p.next()
			p.write("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
			p.open()
			p.write(streamTag + "<stream:features><new xmlns='u'/></stream:features>")
			p.bind(p.next(), "romeo@localhost/r")
			p.next()
		})
		s, err := xmpp.Dial(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if s.Feature("u", "old") != nil || s.Feature("u", "new") == nil || s.Feature("evil", "new") != nil {
			t.Error("the features are not those of the last stream")
		}
	})
}

// C-34: an offer of STARTTLS inside TLS is ignored, and so is what is not known.
func TestUnknownFeatures(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := scripted(t, func(p *peer) {
			p.handshake()
			p.open()
			p.write(streamTag + strings.Replace(plainFeatures, "<mech", "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls><x xmlns='u'><y/>text</x><mech", 1))
			if e := p.next(); !xmpp.Is(e, xmpp.NSSASL, "auth") {
				t.Errorf("it goes on with %s", text(e))
			}
		})
		if _, err := xmpp.Dial(t.Context(), o); !errors.Is(err, xmpp.ErrLost) {
			t.Error(err)
		}
	})
}

// C-41, C-42: the answer to the header, in the clear, inside TLS and after login.
func TestHeader(t *testing.T) {
	header := func(old, new string) string { return strings.Replace(streamTag, old, new, 1) }
	unknown := "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
	for name, test := range map[string]struct {
		answer    string
		condition xmpp.Condition // "" where the header is accepted
		lost      bool
		peer      bool // the condition is the peer's own
	}{
		"right":               {answer: streamTag},
		"another prefix":      {answer: strings.NewReplacer("stream:", "s:", "xmlns:stream", "xmlns:s").Replace(streamTag) + "<s:features/>"},
		"no from":             {answer: header(" from='localhost'", "")},
		"from in upper case":  {answer: header("'localhost'", "'LOCALHOST.'")},
		"version 1.1":         {answer: header("version='1.0' xml", "version='1.1' xml")},
		"no declaration":      {answer: header("<?xml version='1.0'?>", "")},
		"white space":         {answer: strings.Repeat(" ", 1000) + streamTag},
		"host unknown":        {answer: streamTag + unknown, condition: "host-unknown", peer: true},
		"host unknown, other": {answer: header("'localhost'", "'other.example'") + unknown, condition: "host-unknown", peer: true},

		"wrong stream namespace":  {answer: header("etherx.jabber.org/streams", "example.org/"), condition: xmpp.InvalidNamespace},
		"wrong content namespace": {answer: header("jabber:client", "jabber:server"), condition: xmpp.InvalidNamespace},
		"no content namespace":    {answer: header(" xmlns='jabber:client'", ""), condition: xmpp.InvalidNamespace},
		"no stream":               {answer: header("<stream:stream", "<stream:flow"), condition: xmpp.InvalidNamespace},
		"version 0.9":             {answer: header("version='1.0' xml", "version='0.9' xml"), condition: xmpp.UnsupportedVersion},
		"no version":              {answer: header("version='1.0' xml", "xml"), condition: xmpp.UnsupportedVersion},
		"version 2.0":             {answer: header("version='1.0' xml", "version='2.0' xml"), condition: xmpp.UnsupportedVersion},
		"version 10":              {answer: header("version='1.0' xml", "version='10' xml"), condition: xmpp.UnsupportedVersion},
		"from evil":               {answer: header("'localhost'", "'evil.example'"), condition: xmpp.InvalidFrom},
		"from below":              {answer: header("'localhost'", "'x.localhost'"), condition: xmpp.InvalidFrom},
		"from an account":         {answer: header("'localhost'", "'romeo@localhost'"), condition: xmpp.InvalidFrom},
		"from with a resource":    {answer: header("'localhost'", "'localhost/x'"), condition: xmpp.InvalidFrom},
		"from nothing":            {answer: header("'localhost'", "'@'"), condition: xmpp.InvalidFrom},
		"no id":                   {answer: header(" id='s1'", ""), condition: "bad-format"},
		"empty id":                {answer: header("id='s1'", "id=''"), condition: "bad-format"},
		"HTTP":                    {answer: "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html>", condition: "not-well-formed"},
		"HTML":                    {answer: "<html><body>", condition: xmpp.InvalidNamespace},
		"SMTP":                    {answer: "220 mail.example ESMTP\r\n", condition: "not-well-formed"},
		"nothing":                 {answer: "", lost: true},
		"half a header":           {answer: streamTag[:60], lost: true},
		"spaces without end":      {answer: strings.Repeat(" ", 1<<20), condition: xmpp.PolicyViolation},
		"header without end":      {answer: "<stream:stream x='" + strings.Repeat("x", 1<<20), condition: xmpp.PolicyViolation},
		"features without end":    {answer: streamTag + "<stream:features>" + strings.Repeat("<x/>", 1<<18), condition: xmpp.PolicyViolation},
		"two declarations":        {answer: "<?xml version='1.0'?>" + streamTag, condition: "restricted-xml"},
		"document type":           {answer: "<!DOCTYPE stream>" + streamTag, condition: "restricted-xml"},
		"another encoding":        {answer: header("?>", " encoding='utf-16'?>"), condition: "unsupported-encoding"},
		"byte order mark":         {answer: "\ufeff" + streamTag, condition: "not-well-formed"},
		"message first":           {answer: streamTag + "<message><body>hello</body></message>", condition: xmpp.UnsupportedStanzaType},
		"features of others":      {answer: streamTag + "<features xmlns='jabber:client'/>", condition: xmpp.UnsupportedStanzaType},
	} {
		for _, phase := range []string{"clear", "secure", "restart"} {
			t.Run(name+" "+phase, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					answered := make(chan string, 1)
					var connections atomic.Int32
					o := scripted(t, func(p *peer) {
						if connections.Add(1) > 1 {
							return // is it TLS?
						}
						switch phase {
						case "secure":
							p.handshake()
						case "restart":
							p.handshake()
							p.open()
							p.write(streamTag + plainFeatures)
							p.next()
							p.write("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
						}
						p.open()
						go func() {
							p.write(test.answer)
							if test.lost {
								p.raw.Close()
							} else if !strings.Contains(test.answer, "features") {
								p.write("<stream:features/>")
							}
						}()
						if phase != "secure" {
							p.next() // starttls or bind
						}
						if test.condition == "" {
							return
						}
						b, _ := io.ReadAll(p.conn)
						answered <- string(b)
					})
					if phase == "clear" {
						o.Server = "server.example:5222"
					}
					started := time.Now()
					_, err := xmpp.Dial(t.Context(), o)
					if d := time.Since(started); d > time.Second && (phase != "clear" || test.condition != "" || test.lost) {
						t.Errorf("took %s", d)
					}
					if test.condition == "" {
						// What comes next has nothing to do with the header.
						if _, refused := errors.AsType[*xmpp.StreamError](err); refused || err == nil {
							t.Errorf("refused: %v", err)
						}
						return
					}
					var s *xmpp.StreamError
					if !errors.As(err, &s) || s.Condition != test.condition || s.Sent == test.peer {
						t.Fatalf("got %v", err)
					}
					got, want := <-answered, "<stream:error><"+string(test.condition)+" xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
					if test.peer {
						want = "</stream:stream>"
						if phase == "clear" {
							want = ""
						}
					}
					if got != want {
						t.Errorf("the server was told %q, want %q", got, want)
					}
				})
			})
		}
	}
}

// What is no XMPP server, or begins TLS otherwise, is named with its address.
func TestStrangers(t *testing.T) {
	const alert = "\x15\x03\x01\x00\x02\x02\x0a"
	_, cert := handmade()
	speaksTLS := func(p *peer) { tls.Server(p.raw, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake() }
	says := func(text string) func(*peer) {
		return func(p *peer) {
			go p.write(text)
			io.Copy(io.Discard, p.conn)
		}
	}
	inside := func(text string) func(*peer) {
		return func(p *peer) {
			p.handshake()
			says(text)(p)
		}
	}
	const starttls, direct = "stream with server.example:5222: ", "stream with server.example:5223: "
	for name, test := range map[string]struct {
		port string
		peer func(*peer)
		want string
		is   error
	}{
		"HTTP":                {"5222", says("HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"), starttls + `it does not speak XMPP with clients: it sent "HTTP/1.1 400 Bad Request"`, xmpp.ErrNotXMPP},
		"HTML":                {"5222", says("<html><body>"), starttls + "it does not speak XMPP with clients: it sent <html/>", xmpp.ErrNotXMPP},
		"SMTP":                {"5222", says("220 mail ESMTP\r\n"), starttls + `it does not speak XMPP with clients: it sent "220 mail ESMTP"`, xmpp.ErrNotXMPP},
		"SSH":                 {"5222", says("SSH-2.0-x\r\n"), starttls + `it does not speak XMPP with clients: it sent "SSH-2.0-x"`, xmpp.ErrNotXMPP},
		"a stream of servers": {"5222", says(strings.Replace(streamTag, "jabber:client", "jabber:server", 1)), starttls + `it does not speak XMPP with clients: its stream is of "jabber:server", not of "jabber:client"`, xmpp.ErrNotXMPP},
		"HTTPS":               {"5223", inside("HTTP/1.1 400 Bad Request\r\n\r\n"), direct + `it does not speak XMPP with clients: it sent "HTTP/1.1 400 Bad Request"`, xmpp.ErrNotXMPP},
		"a long line":         {"5222", says(strings.Repeat("x", 10_000)), starttls + `it does not speak XMPP with clients: it sent "` + strings.Repeat("x", 80) + `"`, xmpp.ErrNotXMPP},

		"an alert":            {"5222", says(alert), "TLS with server.example:5222: the port is for direct TLS", xmpp.ErrDirectTLS},
		"TLS that closes":     {"5222", speaksTLS, "TLS with server.example:5222: the port is for direct TLS", xmpp.ErrDirectTLS},
		"who closes":          {"5222", func(*peer) {}, "connection lost: waiting for the answer to STARTTLS with server.example:5222: ", xmpp.ErrLost},
		"a stream, not TLS":   {"5223", says(streamTag), "TLS with server.example:5223: the port is for STARTTLS", xmpp.ErrStartTLS},
		"a stream, unadorned": {"5223", says("<stream:stream>"), "TLS with server.example:5223: the port is for STARTTLS", xmpp.ErrStartTLS},
		"HTTP, not TLS":       {"5223", says("HTTP/1.1 400\r\n"), `TLS with server.example:5223: it does not speak TLS: what it sent begins with "HTTP/"`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := scripted(t, test.peer)
				o.Server = "server.example:" + test.port
				_, err := dialWithin(t, 30*time.Second, o)
				if err == nil || !strings.HasPrefix(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// without the server's proof that it knows the password there is no session, and
// nothing more is said.
func TestServerProof(t *testing.T) {
	for _, fault := range []xmpptest.Fault{"early-success", "no-signature", "wrong-signature", "short-nonce", "low-iterations", "high-iterations"} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{fault}, MaxTLS: version})
				o := w.Options
				o.Memory = new(xmpp.Memory)
				_, err := xmpp.Dial(t.Context(), o)
				synctest.Wait()
				var a *xmpp.AuthError
				if !errors.As(err, &a) || !errors.Is(err, sasl.ErrServer) || w.Attempts() != 1 || strings.Contains(w.in(), "<bind") || *o.Memory != (xmpp.Memory{}) {
					t.Errorf("%s: %v, %d attempts, %+v", fault, err, w.Attempts(), *o.Memory)
				}
				if strings.Contains(w.in(), "</stream:stream>") {
					t.Errorf("%s: it says farewell to somebody in between", fault)
				}
				proof := fault == "no-signature" || fault == "wrong-signature"
				if strings.Contains(w.in(), "<response") != proof {
					t.Errorf("%s: proof sent is %v", fault, !proof)
				}
			})
		}
	}
	bubble(t, func(t *testing.T) { // RFC 6120, section 6.3.10: it may come in a challenge
		w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{"final-challenge"}})
		w.login(t, w.Options)
		if n := strings.Count(w.in(), "<response"); n != 2 || !strings.Contains(w.in(), `<response xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>`) {
			t.Errorf("%d responses: %s", n, w.in())
		}
	})
}

// during the login nothing else is legal, and behind its success neither.
func TestDuringLogin(t *testing.T) {
	for _, answer := range []string{
		"<message from='localhost'><body>injected</body></message><success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
		"<presence/>", "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "<stream:features/>", plainFeatures,
		"<success/>", "<success xmlns='urn:xmpp:sasl:2'/>", proceed, "text",
		"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/> ", // as C-31: nobody may have put something there
		"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/><message/>",
		"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" + streamTag + "<stream:features/>",
	} {
		bubble(t, func(t *testing.T) {
			o := scripted(t, func(p *peer) {
				p.handshake()
				p.open()
				p.write(streamTag + plainFeatures)
				p.next()
				p.write(answer)
				if e := p.next(); e == nil || !xmpp.Is(e, xmpp.NSStream, "error") {
					t.Errorf("%s: it goes on with %s", answer, text(e))
				}
			})
			o.Memory = new(xmpp.Memory)
			var s *xmpp.StreamError
			if _, err := xmpp.Dial(t.Context(), o); !errors.As(err, &s) || !s.Sent {
				t.Errorf("%s: %v", answer, err)
			}
		})
	}
	for answer, want := range map[string]error{
		"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>":             sasl.ErrServer, // PLAIN has none
		"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>!</challenge>": sasl.ErrServer,
		"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dj0=</success>":  sasl.ErrServer,
		"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>*</success>":     sasl.ErrServer,
		"</stream:stream>": xmpp.ErrLost,
	} {
		bubble(t, func(t *testing.T) {
			o := scripted(t, func(p *peer) {
				p.handshake()
				p.open()
				p.write(streamTag + plainFeatures)
				p.next()
				p.write(answer)
				if e := p.next(); e != nil {
					t.Errorf("%s: it goes on with %s", answer, text(e))
				}
			})
			if _, err := xmpp.Dial(t.Context(), o); !errors.Is(err, want) {
				t.Errorf("%s: %v", answer, err)
			}
		})
	}
	bubble(t, func(t *testing.T) { // an error has the server's words, and its last ones count
		o := scripted(t, func(p *peer) {
			p.handshake()
			p.open()
			p.write(streamTag + plainFeatures)
			p.next()
			p.write("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><account-disabled/><text xml:lang='en'>ask me</text></failure>")
			if e := p.next(); e != nil {
				t.Errorf("it goes on with %s", text(e))
			}
		})
		var a *xmpp.AuthError
		if _, err := xmpp.Dial(t.Context(), o); !errors.As(err, &a) || a.Condition != "account-disabled" || a.Text != "ask me" || a.Mechanism != "PLAIN" {
			t.Errorf("%#v", err)
		}
	})
}

// PLAIN is used only where it was allowed, nothing better is there, and the account
// has never done better.
func TestPlain(t *testing.T) {
	for _, test := range []struct {
		offered []string
		allow   bool
		memory  xmpp.Memory
		logsIn  bool
		plain   bool // in an error: allowing it would help
		after   xmpp.Memory
	}{
		{offered: []string{"PLAIN"}, plain: true},
		{offered: []string{"PLAIN"}, allow: true, logsIn: true},
		{offered: []string{"PLAIN"}, allow: true, memory: xmpp.Memory{NoPlain: true}, after: xmpp.Memory{NoPlain: true}},
		{offered: []string{"PLAIN", "X-UNKNOWN"}, plain: true},
		{offered: []string{"PLAIN", "X-UNKNOWN"}, allow: true, logsIn: true},
		{offered: []string{"PLAIN", "SCRAM-SHA-1"}, allow: true, logsIn: true, after: xmpp.Memory{NoPlain: true}},
		{offered: []string{"PLAIN", "SCRAM-SHA-1"}, logsIn: true, after: xmpp.Memory{NoPlain: true}},
		{offered: []string{"PLAIN", "SCRAM-NEW"}, allow: true},
		{offered: []string{"X-UNKNOWN"}, allow: true},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{Mechanisms: test.offered})
				o := w.Options
				o.AllowPlain, o.Memory = test.allow, &test.memory
				s, err := xmpp.Dial(t.Context(), o)
				if err == nil {
					defer s.Close()
				}
				var offer *sasl.OfferError
				attempts := 0
				if test.logsIn {
					attempts = 1
				} else if !errors.As(err, &offer) || offer.PlainOnly != test.plain {
					t.Errorf("got %v", err)
				}
				if (err == nil) != test.logsIn || w.Attempts() != attempts || test.memory != test.after {
					t.Errorf("%v, %d attempts, %+v", err, w.Attempts(), test.memory)
				}
				if used := strings.Contains(w.in(), `mechanism="PLAIN"`); used != (test.logsIn && !test.after.NoPlain) {
					t.Errorf("PLAIN used: %v", used)
				}
			})
		})
	}
}

// the channel binding by the version of TLS and what the server says of it.
func TestBinding(t *testing.T) {
	for _, test := range []struct {
		config xmpptest.Config
		want   string
	}{
		{xmpptest.Config{MinTLS: tls.VersionTLS13}, "SCRAM-SHA-512-PLUS (tls-exporter)"},
		{xmpptest.Config{MaxTLS: tls.VersionTLS12}, "SCRAM-SHA-512-PLUS (tls-exporter)"},
		{xmpptest.Config{MinTLS: tls.VersionTLS13, Faults: []xmpptest.Fault{"strip-types"}}, "SCRAM-SHA-512-PLUS (tls-exporter)"},
		{xmpptest.Config{MaxTLS: tls.VersionTLS12, Faults: []xmpptest.Fault{"strip-types"}}, "SCRAM-SHA-512-PLUS (tls-unique)"},
		{xmpptest.Config{MaxTLS: tls.VersionTLS12, Legacy: true}, "SCRAM-SHA-1-PLUS (tls-unique)"},
		{xmpptest.Config{Mechanisms: []string{"SCRAM-SHA-512", "SCRAM-SHA-1-PLUS"}}, "SCRAM-SHA-1-PLUS (tls-exporter)"}, // binding outranks the hash
		{xmpptest.Config{Mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-256"}}, "SCRAM-SHA-256 (no channel binding)"},
	} {
		for _, port := range []string{"5222", "5223"} {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, test.config)
				o := w.Options
				o.Server = "server.example:" + port
				var steps []string
				o.Trace = func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }
				w.login(t, o)
				if !slices.Contains(steps, "logged in by "+test.want) || w.Attempts() != 1 {
					t.Errorf("%d attempts, %q, want %s", w.Attempts(), steps, test.want)
				}
			})
		}
	}
}

// a client certificate logs in by EXTERNAL, without a password.
func TestExternal(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, port := range []string{"5222", "5223"} {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{MaxTLS: version})
				cert := w.ClientCertificate("romeo")
				o := w.Options
				o.Password, o.Certificate, o.Server, o.Memory = "", &cert, "server.example:"+port, new(xmpp.Memory)
				s := w.login(t, o)
				if s.JID().Bare() != o.JID || !strings.Contains(w.in(), `mechanism="EXTERNAL">=</auth>`) || !o.Memory.NoPlain {
					t.Errorf("%s: %s", s.JID(), w.in())
				}
			})
		}
	}
	bubble(t, func(t *testing.T) { // of an authority that the server does not know
		w := newWorld(t, xmpptest.Config{})
		ca := newAuthority(nil, nil)
		cert := ca.issue(template())
		o := w.Options
		o.Password, o.Certificate = "", &cert
		var offer *sasl.OfferError
		if _, err := xmpp.Dial(t.Context(), o); !errors.As(err, &offer) || w.Attempts() != 0 {
			t.Errorf("%v, %d attempts", err, w.Attempts())
		}
		o.Password = password // but there is a password
		w.login(t, o)
	})
	bubble(t, func(t *testing.T) { // S-17: the certificate's account is not the one asked for
		w := newWorld(t, xmpptest.Config{})
		cert := w.ClientCertificate("juliet")
		o := w.Options
		o.Password, o.Certificate = "", &cert
		var s *xmpp.StreamError
		if _, err := xmpp.Dial(t.Context(), o); !errors.As(err, &s) || !s.Sent {
			t.Errorf("%v", err)
		}
	})
}

// S-17: the server's word on the address is the truth, as long as it is of the domain.
func TestBind(t *testing.T) {
	for jid, want := range map[string]string{
		"romeo@localhost/r":                            "romeo@localhost/r",
		"Romeo@LOCALHOST./R":                           "Romeo@localhost/R",
		"romeo@localhost/\u0645\u0640 \u00a0":          "romeo@localhost/\u0645\u0640 \u00a0",
		"romeo@localhost/a b/@c":                       "romeo@localhost/a b/@c",
		"romeo@localhost/" + strings.Repeat("r", 1023): "romeo@localhost/" + strings.Repeat("r", 1023),
		"strasse@localhost/r":                          "strasse@localhost/r", // the server has prepared it
		"romeo@evil.example/r":                         "",
		"romeo@localhost.evil/r":                       "",
		"romeo@localhost":                              "",
		"localhost/r":                                  "",
		"localhost":                                    "",
		"":                                             "",
		"@":                                            "",
		"a@@b/r":                                       "",
		"romeo@localhost/" + strings.Repeat("r", 4000): "",
	} {
		bubble(t, func(t *testing.T) {
			o := scripted(t, func(p *peer) {
				p.bind(p.authenticate(""), jid)
				if e := p.next(); (e == nil) != (want != "") {
					t.Errorf("%.40s: the server was told %s", jid, text(e))
				}
			})
			s, err := xmpp.Dial(t.Context(), o)
			if err == nil {
				defer s.Close()
			}
			var e *xmpp.StreamError
			if want == "" && (!errors.As(err, &e) || !e.Sent) || want != "" && (err != nil || s.JID().String() != want) {
				t.Errorf("%.40s: %v", jid, err)
			}
		})
	}
}

// S-17, S-01: the answers to the bind request that are none, and those that are errors.
func TestBindAnswers(t *testing.T) {
	const right = "<bind xmlns='" + nsBind + "'><jid>romeo@localhost/r</jid></bind>"
	const wrong = "<bind xmlns='" + nsBind + "'><jid>romeo@localhost/wrong</jid></bind>"
	refusal := func(condition string) string {
		return "<iq type='error' id='ID'><error type='cancel'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
	}
	for name, test := range map[string]struct {
		resource string
		answers  []string // one to each request
		want     string   // the resources asked for
		err      xmpp.Condition
	}{
		"result":               {"", []string{"<iq type='result' id='ID'>" + right + "</iq>"}, "|", ""},
		"resource":             {"x", []string{"<iq type='result' id='ID'>" + right + "</iq>"}, "x|", ""},
		"from the server":      {"", []string{"<iq type='result' id='ID' from='localhost'>" + right + "</iq>"}, "|", ""},
		"from the account":     {"", []string{"<iq type='result' id='ID' from='romeo@localhost'>" + right + "</iq>"}, "|", ""},
		"others before":        {"", []string{"<message/><iq type='result' id='other'>" + wrong + "</iq><iq type='result' id='ID' from='mallory@localhost/x'>" + wrong + "</iq><iq type='result' id='ID' from='localhost.evil'>" + wrong + "</iq><iq type='set' id='ID'>" + wrong + "</iq><iq type='result' id='ID' from='@@'>" + wrong + "</iq><iq xmlns='evil' type='result' id='ID'>" + wrong + "</iq><iq type='result' id='ID'>" + right + "</iq>"}, "|", ""},
		"wrong namespace":      {"", []string{"<iq type='result' id='ID'><bind xmlns='evil'><jid>romeo@localhost/r</jid></bind></iq>"}, "|", "undefined-condition"},
		"empty":                {"", []string{"<iq type='result' id='ID'/>"}, "|", "undefined-condition"},
		"conflict":             {"x", []string{refusal("conflict"), "<iq type='result' id='ID'>" + right + "</iq>"}, "x||", ""},
		"conflict twice":       {"x", []string{refusal("conflict"), refusal("conflict")}, "x||", "conflict"},
		"conflict by itself":   {"", []string{refusal("conflict")}, "|", "conflict"},
		"conflict, then other": {"x", []string{refusal("conflict"), refusal("not-allowed")}, "x||", "not-allowed"},
		"not-allowed":          {"x", []string{refusal("not-allowed")}, "x|", "not-allowed"},
		"resource-constraint":  {"x", []string{refusal("resource-constraint")}, "x|", "resource-constraint"},
		"stream error":         {"", []string{"<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"}, "|", "not-authorized"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				asked := make(chan string, 1)
				o := scripted(t, func(p *peer) {
					var resources strings.Builder
					request := p.authenticate("")
					for _, a := range test.answers {
						r, _ := xmpp.Text(xmpp.Child(request, nsBind, "bind"), nsBind, "resource")
						resources.WriteString(r + "|")
						p.write(strings.ReplaceAll(a, "ID", xmpp.Attr(request, "id")))
						request = p.next()
					}
					if request != nil && !xmpp.Is(request, xmpp.NSStream, "error") {
						t.Errorf("it goes on with %s", text(request))
					}
					asked <- resources.String()
				})
				o.JID.Resource = test.resource
				s, err := xmpp.Dial(t.Context(), o)
				var condition xmpp.Condition
				var stanza *xmpp.StanzaError
				var stream *xmpp.StreamError
				switch {
				case errors.As(err, &stanza):
					condition = stanza.Condition
				case errors.As(err, &stream):
					condition = stream.Condition
				case err != nil:
					t.Error(err)
				default:
					if s.JID().String() != "romeo@localhost/r" {
						t.Errorf("bound %s", s.JID())
					}
					s.Close()
				}
				if got := <-asked; got != test.want || condition != test.err {
					t.Errorf("asked for %s, got %v", got, err)
				}
			})
		})
	}
}

// RFC 3921's session is established where the server insists, and only there.
func TestLegacySession(t *testing.T) {
	const ns = "urn:ietf:params:xml:ns:xmpp-session"
	for features, asked := range map[string]bool{
		"":                              false,
		"<session xmlns='" + ns + "'/>": true,
		"<session xmlns='" + ns + "'><optional/></session>":              false,
		"<session xmlns='" + ns + "'><optional xmlns='evil'/></session>": true,
		"<session xmlns='evil'/>":                                        false,
	} {
		for answer, ok := range map[string]bool{
			"<iq type='result' id='ID'/>": true,
			"<iq type='error' id='ID'><error type='wait'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>": false,
		} {
			bubble(t, func(t *testing.T) {
				requests := make(chan bool, 1)
				o := scripted(t, func(p *peer) {
					p.bind(p.authenticate(features), "romeo@localhost/r")
					e := p.next()
					requests <- xmpp.Child(e, ns, "session") != nil
					if e != nil {
						p.write(strings.ReplaceAll(answer, "ID", xmpp.Attr(e, "id")))
						p.next()
					}
				})
				s, err := xmpp.Dial(t.Context(), o)
				if err == nil {
					s.Close()
				}
				var e *xmpp.StanzaError
				if got := <-requests; got != asked || (err == nil) != (ok || !asked) || err != nil && !errors.As(err, &e) {
					t.Errorf("%s: asked %v, %v", features, got, err)
				}
			})
		}
	}
}

// C-09: silence in any phase ends with the context, to the moment, and the error says what was waited for. Drops of white space do not help.
func TestSilence(t *testing.T) {
	errCause := fmt.Errorf("no answer within 30s: %w", context.DeadlineExceeded)
	for phase, want := range map[string]string{
		"accept":        "waiting for the answer to STARTTLS",
		"header":        "waiting for the answer to STARTTLS",
		"proceed":       "waiting for the answer to STARTTLS",
		"handshake":     "TLS handshake",
		"secure-header": "waiting for the stream features",
		"challenge":     "login by SCRAM-SHA-512-PLUS",
		"success":       "login by SCRAM-SHA-512-PLUS",
		"restart":       "binding a resource",
		"bind":          "binding a resource",
	} {
		for _, fault := range []string{"silence@", "drip@"} {
			t.Run(fault+phase, func(t *testing.T) {
				if fault+phase == "drip@handshake" || fault+phase == "drip@accept" {
					t.Skip("spaces are no TLS, and too many of them no header")
				}
				bubble(t, func(t *testing.T) {
					w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{xmpptest.Fault(fault + phase)}})
					ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errCause)
					defer cancel()
					started := time.Now()
					_, err := xmpp.Dial(ctx, w.starttls())
					took := time.Since(started)
					if took != 30*time.Second || !errors.Is(err, context.DeadlineExceeded) || err.Error() != want+" with server.example:5222: no answer within 30s: context deadline exceeded" {
						t.Errorf("%v after %s, want %s", err, took, want)
					}
				})
			})
		}
	}
	bubble(t, func(t *testing.T) { // direct TLS
		w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{"silence@accept"}})
		started := time.Now()
		_, err := dialWithin(t, 4*time.Second, w.Options)
		if took := time.Since(started); took != 4*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v after %s", err, took)
		}
	})
	bubble(t, func(t *testing.T) { // a context that ends by itself
		w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{"silence@bind"}})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errRefused) })
		if _, err := xmpp.Dial(ctx, w.Options); !errors.Is(err, errRefused) {
			t.Error(err)
		}
	})
	bubble(t, func(t *testing.T) { // one that has ended connects to nobody who matters
		w := newWorld(t, xmpptest.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := xmpp.Dial(ctx, w.Options); !errors.Is(err, context.Canceled) || w.Attempts() != 0 {
			t.Error(err)
		}
	})
	bubble(t, func(t *testing.T) { // a peer that does not read
		end := make(chan struct{})
		defer close(end)
		o := scripted(t, func(*peer) { <-end })
		o.Server = "server.example:5222"
		started := time.Now()
		_, err := dialWithin(t, 4*time.Second, o)
		if took := time.Since(started); took != 4*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// The limits of the steps are there for the sake of other addresses: a server that is
// the only one may take all the time of the context.
func TestSlow(t *testing.T) {
	for _, phase := range []string{"accept", "header", "proceed", "handshake", "secure-header"} {
		t.Run(phase, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{xmpptest.Fault("slow@" + phase + "=12000")}})
				started := time.Now()
				s, err := dialWithin(t, 60*time.Second, w.starttls())
				if took := time.Since(started); err != nil || took != 12*time.Second {
					t.Fatalf("%v after %s", err, took)
				}
				s.Close()
			})
		})
	}
	bubble(t, func(t *testing.T) { // direct TLS, and TCP as well
		w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{"slow@handshake=12000"}})
		dial := w.Options.DialContext
		w.Options.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			select {
			case <-time.After(12 * time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return dial(ctx, network, addr)
		}
		started := time.Now()
		s, err := dialWithin(t, 60*time.Second, w.Options)
		if took := time.Since(started); err != nil || took != 24*time.Second {
			t.Fatalf("%v after %s", err, took)
		}
		s.Close()
	})
}

// C-09: a server that makes deriving the keys take long does not hold the login longer
// than the context.
func TestIterations(t *testing.T) {
	o := scripted(t, func(p *peer) {
		p.handshake()
		p.open()
		p.write(streamTag + strings.Replace(plainFeatures, "PLAIN", "SCRAM-SHA-512", 1))
		auth := p.next()
		first, _ := sasl.Decode(xmpp.TextOf(auth))
		_, nonce, _ := strings.Cut(string(first), ",r=")
		p.write("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + sasl.Encode([]byte("r="+nonce+"more,s=c2FsdA==,i=5000000")) + "</challenge>")
		p.next()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	started := time.Now()
	if _, err := xmpp.Dial(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(started); took > time.Second { // the derivation takes 3 and more
		t.Errorf("took %s", took)
	}
}

// NewSession takes a connection over, and closes it if it fails.
func TestNewSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{})
		for _, test := range []struct {
			port string
			mode xmpp.TLSMode
		}{{"5222", ""}, {"5222", xmpp.TLSStartTLS}, {"5223", xmpp.TLSDirect}} {
			c, _ := w.dial(t.Context(), "tcp", "x:"+test.port)
			o := w.Options
			o.TLS = test.mode
			s, err := xmpp.NewSession(t.Context(), c, o)
			if err != nil {
				t.Fatalf("%v: %v", test, err)
			}
			if _, err := s.Ping(t.Context(), s.Server()); err != nil {
				t.Error(err)
			}
			s.Close()
			o.Password = "wrong"
			c, _ = w.dial(t.Context(), "tcp", "x:"+test.port)
			if _, err := xmpp.NewSession(t.Context(), c, o); err == nil {
				t.Error("a session")
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is open: %v", err)
			}
		}
	})
}
