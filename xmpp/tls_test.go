package xmpp_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// dialTLS logs in, up to TLS, at a server that is nothing but a TLS configuration.
func dialTLS(t *testing.T, o xmpp.Options, config *tls.Config) (cs tls.ConnectionState, clear []byte, err error) {
	t.Helper()
	type end struct {
		cs    tls.ConnectionState
		clear []byte
	}
	served := make(chan end, 1)
	o.DialContext = func(context.Context, string, string) (net.Conn, error) {
		there, here := newLink(0)
		go func() {
			c := tls.Server(there, config)
			var e end
			if c.Handshake() == nil {
				e.cs = c.ConnectionState()
				b := make([]byte, 4096)
				n, _ := c.Read(b)
				e.clear = b[:n]
			}
			there.Close()
			served <- e
		}()
		return here, nil
	}
	_, err = xmpp.Dial(t.Context(), o)
	e := <-served
	return e.cs, e.clear, err
}

// The certificate must be valid, and for the domain of the JID; nothing that
// belongs to the account is sent otherwise.
func TestCertificates(t *testing.T) {
	ca, stranger := newAuthority(nil, nil), newAuthority(nil, nil)
	middle := newAuthority(ca, nil)
	constrained := newAuthority(ca, func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"other.example"}
	})
	with := func(change func(*x509.Certificate), names ...string) *x509.Certificate {
		c := template(names...)
		change(c)
		return c
	}
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	self := template("example.org")
	leaf := ca.issue(template("example.org"))
	fake := &authority{&xmpptest.Authority{Certificate: leaf.Leaf, Key: leaf.PrivateKey.(*ecdsa.PrivateKey)}}
	bubbleTime := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

	for name, test := range map[string]struct {
		cert tls.Certificate
		want string // in the error; "" for none
	}{
		"right":                  {ca.issue(template("example.org")), ""},
		"among others":           {ca.issue(template("a.example", "example.org")), ""},
		"with an intermediate":   {middle.issue(template("example.org"), middle), ""},
		"self-signed":            {(&authority{&xmpptest.Authority{Certificate: self, Key: key}}).sign(self, key), "an authority that is not trusted here"},
		"stranger's":             {stranger.issue(template("example.org"), stranger), "an authority that is not trusted here"},
		"wrong name":             {ca.issue(template("other.example")), `is for "other.example", not "example.org"`},
		"the server's name":      {ca.issue(template("server.example")), `is for "server.example", not "example.org"`},
		"prefix of the name":     {ca.issue(template("example.or")), "not \"example.org\""},
		"suffix of the name":     {ca.issue(template("org")), "not \"example.org\""},
		"name and more":          {ca.issue(template("example.org.evil")), "not \"example.org\""},
		"wildcard of the domain": {ca.issue(template("*.example.org")), `is for "*.example.org", not "example.org"`},
		"name of two lines":      {ca.issue(template("a\nb")), `its certificate is for`},
		"CN only":                {ca.issue(with(func(c *x509.Certificate) { c.Subject.CommonName = "example.org" })), "is for no host name"},
		"address only":           {ca.issue(with(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })), `is for "127.0.0.1"`},
		"mail address only":      {ca.issue(with(func(c *x509.Certificate) { c.EmailAddresses = []string{"romeo@example.org"} })), "is for no host name"},
		"expired":                {ca.issue(with(func(c *x509.Certificate) { c.NotAfter = bubbleTime.AddDate(0, 0, -1) }, "example.org")), "expired"},
		"not yet valid":          {ca.issue(with(func(c *x509.Certificate) { c.NotBefore = bubbleTime.AddDate(0, 0, 1) }, "example.org")), "not yet valid"},
		"for clients only": {ca.issue(with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "example.org")),
			"incompatible key usage"},
		"missing intermediate":          {middle.issue(template("example.org")), "an authority that is not trusted here"},
		"name-constrained intermediate": {constrained.issue(template("example.org"), constrained), "not permitted"},
		"signed by no authority":        {fake.issue(template("example.org"), fake), "certificate"},
		"unknown critical extension": {ca.issue(with(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}, "example.org")), "unhandled critical extension"},
		"SRV-ID and XmppAddr only": {ca.issue(with(func(c *x509.Certificate) {
			srv, addr := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7}, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}
			san := sequence(otherName(srv, "_xmpp-client.example.org", "ia5"), otherName(addr, "example.org", "utf8"))
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}}
		})), "is for no host name"},
		"SHA-1": {ca.issue(with(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }, "example.org")), "not trusted here"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := xmpp.Options{JID: mustJID("romeo@example.org"), Password: password, Server: "server.example:5223", RootCAs: ca.Pool()}
				_, clear, err := dialTLS(t, o, &tls.Config{Certificates: []tls.Certificate{test.cert}})
				var d *xmpp.DialError
				if test.want == "" {
					if errors.As(err, &d) || !errors.Is(err, xmpp.ErrLost) || !bytes.Contains(clear, []byte("romeo@example.org")) {
						t.Errorf("got %v after %q", err, clear)
					}
					return
				}
				if !errors.As(err, &d) || d.Op != "tls" || d.Addr != "server.example:5223" || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
				if d != nil && d.Pin != xmpp.Pin(test.cert.Leaf) {
					t.Errorf("the error has the pin %q", d.Pin)
				}
				if len(clear) > 0 || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "x509") {
					t.Errorf("%v, sent %q", err, clear)
				}
			})
		})
	}
}

func sequence(parts ...[]byte) []byte {
	b, _ := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: bytes.Join(parts, nil)})
	return b
}

// otherName is a GeneralName of RFC 5280, section 4.2.1.6.
func otherName(id asn1.ObjectIdentifier, value, kind string) []byte {
	oid, _ := asn1.Marshal(id)
	text, _ := asn1.MarshalWithParams(value, kind)
	inner, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: text})
	b, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: append(oid, inner...)})
	return b
}

// The name asked for is the domain's A-label without a dot; an address is verified
// as one, and not asked for.
func TestServerName(t *testing.T) {
	ca := newAuthority(nil, nil)
	six := template()
	six.IPAddresses = []net.IP{net.IPv6loopback}
	for domain, test := range map[string]struct {
		sni  string
		cert tls.Certificate
	}{
		"b\u00fccher.example.": {"xn--bcher-kva.example", ca.issue(template("xn--bcher-kva.example"))},
		"[::1]":                {"", ca.issue(six)},
	} {
		bubble(t, func(t *testing.T) {
			o := xmpp.Options{JID: mustJID("romeo@" + domain), Server: "server.example:5223", RootCAs: ca.Pool()}
			cs, clear, err := dialTLS(t, o, &tls.Config{Certificates: []tls.Certificate{test.cert}})
			if cs.ServerName != test.sni || len(clear) == 0 {
				t.Errorf("%s: asked for %q, %v", domain, cs.ServerName, err)
			}
		})
	}
}

// TLS 1.2 at least (RFC 7590, section 3); ALPN on direct TLS, which the server may ignore
// (XEP-0368, section 3).
func TestTLSVersionAndALPN(t *testing.T) {
	ca, cert := handmade()
	o := xmpp.Options{JID: mustJID("romeo@localhost"), Server: "server.example:5223", RootCAs: ca.Pool()}
	dial := func(t *testing.T, config *tls.Config) (tls.ConnectionState, []byte, error) {
		config.Certificates = []tls.Certificate{cert}
		return dialTLS(t, o, config)
	}
	bubble(t, func(t *testing.T) {
		var d *xmpp.DialError
		if _, clear, err := dial(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); !errors.As(err, &d) || d.Op != "tls" || len(clear) > 0 {
			t.Errorf("TLS 1.1: %v, sent %q", err, clear)
		}
		if cs, clear, _ := dial(t, &tls.Config{MaxVersion: tls.VersionTLS12}); cs.Version != tls.VersionTLS12 || len(clear) == 0 {
			t.Errorf("TLS 1.2: %+v", cs)
		}
		if cs, clear, _ := dial(t, &tls.Config{}); cs.Version != tls.VersionTLS13 || len(clear) == 0 || cs.NegotiatedProtocol != "" {
			t.Errorf("TLS 1.3: %+v", cs)
		}
		if cs, clear, _ := dial(t, &tls.Config{NextProtos: []string{"h2", "xmpp-client"}}); cs.NegotiatedProtocol != "xmpp-client" || len(clear) == 0 {
			t.Errorf("ALPN: %q", cs.NegotiatedProtocol)
		}
		if _, clear, err := dial(t, &tls.Config{NextProtos: []string{"h2"}}); !errors.As(err, &d) || d.Op != "tls" || len(clear) > 0 {
			t.Errorf("another protocol: %v, sent %q", err, clear)
		}
	})
	bubble(t, func(t *testing.T) { // not with STARTTLS
		protos := make(chan []string, 1)
		o := scripted(t, func(p *peer) {
			p.open()
			p.write(streamTag + "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>")
			p.next()
			p.write("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			tls.Server(p.raw, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				protos <- h.SupportedProtos
				return nil, errRefused
			}}).Handshake()
		})
		o.Server = "server.example:5222"
		if _, err := xmpp.Dial(t.Context(), o); err == nil {
			t.Error("a session")
		}
		if p := <-protos; len(p) > 0 {
			t.Errorf("STARTTLS with ALPN %q", p)
		}
	})
}

// The system's roots, as far as this process is concerned.
var systemAuthority = sync.OnceValue(func() *authority {
	a := newAuthority(nil, nil)
	os.Setenv("GODEBUG", "x509usefallbackroots=1")
	x509.SetFallbackRoots(a.Pool())
	return a
})

// RootCAs replace the system's roots, and are not added to them.
func TestRootCAs(t *testing.T) {
	system, own := systemAuthority(), newAuthority(nil, nil)
	cert := system.issue(template("localhost"))
	bubble(t, func(t *testing.T) {
		o := xmpp.Options{JID: mustJID("romeo@localhost"), Server: "server.example:5223"}
		for _, test := range []struct {
			roots *x509.CertPool
			ok    bool
		}{{nil, true}, {system.Pool(), true}, {own.Pool(), false}, {x509.NewCertPool(), false}} {
			o.RootCAs = test.roots
			_, clear, err := dialTLS(t, o, &tls.Config{Certificates: []tls.Certificate{cert}})
			if (len(clear) > 0) != test.ok {
				t.Errorf("want %v: %v", test.ok, err)
			}
		}
	})
}

// A pin accepts exactly the leaf with this key, whoever signed it, and no other
// certificate of the chain.
func TestPins(t *testing.T) {
	ca := newAuthority(nil, nil)
	middle := newAuthority(ca, nil)
	leaf := middle.issue(template("localhost"), middle, ca)
	renewed := ca.sign(template("other.example"), leaf.PrivateKey.(*ecdsa.PrivateKey))
	good := xmpp.Pin(leaf.Leaf)
	sum := sha256.Sum256(leaf.Leaf.RawSubjectPublicKeyInfo)
	if good != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Fatal(good)
	}
	for name, test := range map[string]struct {
		pins []string
		cert tls.Certificate
		ok   bool
	}{
		"leaf":                {[]string{good}, leaf, true},
		"backup":              {[]string{xmpp.Pin(ca.Certificate), good}, leaf, true},
		"another certificate": {[]string{good}, renewed, true},
		"intermediate":        {[]string{xmpp.Pin(middle.Certificate)}, leaf, false},
		"authority":           {[]string{xmpp.Pin(ca.Certificate)}, leaf, false},
		"mismatch":            {[]string{good}, ca.issue(template("localhost")), false},
		"empty":               {[]string{""}, leaf, false},
		"prefix":              {[]string{good[:len(good)-1]}, leaf, false},
	} {
		for _, roots := range []*x509.CertPool{ca.Pool(), nil} { // a pin replaces the roots
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					o := xmpp.Options{JID: mustJID("romeo@localhost"), Server: "server.example:5223", Pins: test.pins, RootCAs: roots}
					_, clear, err := dialTLS(t, o, &tls.Config{Certificates: []tls.Certificate{test.cert}})
					var d *xmpp.DialError
					if (len(clear) > 0) != test.ok || !test.ok && (!errors.As(err, &d) || d.Pin != xmpp.Pin(test.cert.Leaf) || !strings.Contains(err.Error(), "not the pinned one")) {
						t.Errorf("%v, sent %q", err, clear)
					}
				})
			})
		}
	}
	for in, want := range map[string]string{
		good: good, strings.ToUpper(good): good, "SHA256:" + good[7:]: good,
		"": "", "sha256:": "", good[7:]: "", good + "00": "", good[:len(good)-2]: "", "sha1:" + good[7:]: "", "sha256:" + strings.Repeat("g", 64): "",
	} {
		if got, err := xmpp.ParsePin(in); got != want || (err == nil) != (want != "") {
			t.Errorf("ParsePin(%s): %s, %v", in, got, err)
		}
	}
}

// The pin alone is enough to log in at a server with a self-signed certificate.
func TestPinLogin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{"self-signed"}})
		o := w.Options
		var d *xmpp.DialError
		if _, err := xmpp.Dial(t.Context(), o); !errors.As(err, &d) || d.Pin == "" || w.Attempts() != 0 {
			t.Fatalf("%v after %d attempts", err, w.Attempts())
		}
		o.RootCAs, o.Pins = nil, []string{d.Pin}
		s := w.login(t, o)
		if _, err := s.Ping(t.Context(), s.Server()); err != nil || w.Attempts() != 1 {
			t.Errorf("%v after %d attempts", err, w.Attempts())
		}
	})
}
