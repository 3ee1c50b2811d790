package xmpp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
	"xmppkit/xmpp/xmpptest"
)

const secureHeader = `<?xml version='1.0'?><stream:stream from="romeo@localhost" to="localhost" version="1.0" xml:lang="en" xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams">`

// Inside TLS the header names the account, without its resource (RFC 6120, section 4.7.1).
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

// What was offered before TLS is forgotten (RFC 6120, section 5.4.3.3).
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

// An offer of STARTTLS inside TLS is ignored, and so is what is not known.
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

// The answer to the header (RFC 6120, section 4.7), in the clear, inside TLS and after login.
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
		"a stream of servers": {"5222", says(strings.Replace(streamTag, "jabber:client", "jabber:server", 1)), starttls + `it does not speak XMPP with clients: its stream is in the namespace "jabber:server", not "jabber:client"`, xmpp.ErrNotXMPP},
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

// Silence in any phase ends with the context, to the moment, and the error says what was
// waited for. Drops of white space do not help.
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
