package xmpp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
	"xmppkit/xmpp/xmpptest"
)

// Without the server's proof that it knows the password (RFC 5802, section 5) there is no
// session, and nothing more is sent.
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

// During the login nothing else is legal, and after its success neither (RFC 6120, section
// 6.4).
func TestDuringLogin(t *testing.T) {
	for _, answer := range []string{
		"<message from='localhost'><body>injected</body></message><success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
		"<presence/>", "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "<stream:features/>", plainFeatures,
		"<success/>", "<success xmlns='urn:xmpp:sasl:2'/>", proceed, "text",
		"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/> ", // nobody may have put something there
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

// The channel binding by the version of TLS (RFC 9266) and what the server offers
// (XEP-0440).
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

// A client certificate logs in by EXTERNAL, without a password (XEP-0178).
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
	bubble(t, func(t *testing.T) { // the certificate's account is not the one asked for
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

// A server that makes deriving the keys take long does not hold the login longer
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
