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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
	"xmppkit/xmpp/xmpptest"
)

// C-08: HOST[:PORT], with IPv6.
func TestSplitServer(t *testing.T) {
	for in, want := range map[string][2]string{
		"example.org":              {"example.org", ""},
		"example.org:5222":         {"example.org", "5222"},
		"127.0.0.1":                {"127.0.0.1", ""},
		"127.0.0.1:443":            {"127.0.0.1", "443"},
		"::1":                      {"::1", ""},
		"[::1]":                    {"::1", ""},
		"[::1]:5223":               {"::1", "5223"},
		"[fe80::1%eth0]:1":         {"fe80::1%eth0", "1"},
		"2001:db8::5222":           {"2001:db8::5222", ""},
		"b\u00fccher.example":      {"xn--bcher-kva.example", ""},
		"B\u00dcCHER.example:1":    {"xn--bcher-kva.example", "1"},
		"b\u00fccher\u3002example": {"xn--bcher-kva.example", ""},
		"EXAMPLE.org":              {"EXAMPLE.org", ""},
		"x:65535":                  {"x", "65535"},
	} {
		host, port, err := xmpp.SplitServer(in)
		if err != nil || host != want[0] || port != want[1] {
			t.Errorf("%s: %q %q %v", in, host, port, err)
		}
	}
	for _, in := range []string{"", ":", ":5222", "x:", "x:0", "x:65536", "x:-1", "x:+1", "x:http", "x:1:2", "[::1", "::1]", "[::1]5222", "[]:1", "a b", "a/b", "a@b", "a\n", "[::1]:0", "\u00fc..example", "a\u2044\u00fc", "\u00fc\xff"} {
		if host, port, err := xmpp.SplitServer(in); err == nil {
			t.Errorf("%s: %q %q", in, host, port)
		}
	}
}

var errRefused = errors.New("refused here")

// C-08: where to connect to, and how TLS begins there. The port alone decides where the
// mode is auto.
func TestEndpoint(t *testing.T) {
	for _, test := range []struct {
		jid, server string
		mode        xmpp.TLSMode
		addr        string
		direct      bool
	}{
		{"a@[::1]", "", "", "[::1]:5222", false},
		{"a@example.org", "h", "", "h:5222", false},
		{"a@example.org", "h", xmpp.TLSDirect, "h:5223", true},
		{"a@example.org", "h:5223", xmpp.TLSAuto, "h:5223", true},
		{"a@example.org", "h:443", "", "h:443", true},
		{"a@example.org", "h:5224", xmpp.TLSAuto, "h:5224", false},
		{"a@example.org", "h:5224", xmpp.TLSDirect, "h:5224", true},
		{"a@example.org", "h:443", xmpp.TLSStartTLS, "h:443", false},
		{"a@example.org", "::1", "", "[::1]:5222", false},
		{"a@example.org", "[::1]:443", "", "[::1]:443", true},
	} {
		first := make(chan string, 1)
		var got string
		o := xmpp.Options{JID: mustJID(test.jid), Server: test.server, TLS: test.mode, RootCAs: x509.NewCertPool(),
			DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
				if got != "" {
					return nil, errRefused // once more, to see whether it is for direct TLS
				}
				got = addr
				there, here := net.Pipe()
				go func() {
					b := make([]byte, 1)
					io.ReadFull(there, b)
					first <- string(b)
					there.Close()
				}()
				return here, nil
			}}
		if _, err := xmpp.Dial(t.Context(), o); err == nil {
			t.Error("a session with nobody")
		}
		if direct := <-first == "\x16"; got != test.addr || direct != test.direct {
			t.Errorf("%+v: %s, direct %v", test, got, direct)
		}
	}
	o := xmpp.Options{JID: mustJID("a@b"), Server: "x:y", DialContext: func(context.Context, string, string) (net.Conn, error) {
		t.Error("connected")
		return nil, errRefused
	}}
	if _, err := xmpp.Dial(t.Context(), o); err == nil {
		t.Error("a malformed server")
	}
}

// C-09: the errors of a connection that does not come about, and its budget.
func TestConnectFails(t *testing.T) {
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	fail := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	for name, test := range map[string]struct {
		dial    func(context.Context, string, string) (net.Conn, error)
		timeout time.Duration
		took    time.Duration
		op      string // of a DialError
		want    string
	}{
		"refused": {fail(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), 30 * time.Second, 0, "connect", "connect to h:5222: connection refused"},
		"no host": {fail(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}}), 30 * time.Second, 0, "dns", "look up h:5222: no such host"},
		"hangs":   {hang, 30 * time.Second, 30 * time.Second, "", "connect to h:5222: context deadline exceeded"},
		"DNS hangs": {func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{UnwrapErr: context.DeadlineExceeded, Err: "i/o timeout", Name: "h", IsTimeout: true}}
		}, 30 * time.Second, 30 * time.Second, "", "connect to h:5222: context deadline exceeded"},
		"hangs beyond the deadline": {hang, 3 * time.Second, 3 * time.Second, "", "connect to h:5222: context deadline exceeded"},
		"its clock is ahead": {func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(2*time.Second - 1)
			return nil, &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
		}, 2 * time.Second, 2 * time.Second, "", "connect to h:5222: context deadline exceeded"},
		"the connection has the deadline": {func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(2*time.Second - 1)
			return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
		}, 2 * time.Second, 2 * time.Second, "", "connect to h:5222: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()
				started := time.Now()
				_, err := xmpp.Dial(ctx, xmpp.Options{JID: mustJID("a@b"), Server: "h", RootCAs: x509.NewCertPool(), DialContext: test.dial})
				var d *xmpp.DialError
				switch {
				case err == nil || err.Error() != test.want:
					t.Errorf("got %v, want %s", err, test.want)
				case errors.As(err, &d) != (test.op != "") || d != nil && d.Op != test.op:
					t.Errorf("%#v", err)
				case (d == nil) != errors.Is(err, context.DeadlineExceeded):
					t.Errorf("%v: only the caller's deadline is one", err)
				case time.Since(started) != test.took:
					t.Errorf("took %s, want %s", time.Since(started), test.took)
				}
			})
		})
	}
}

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

// C-20, C-21: the certificate must be valid, and for the domain of the JID; nothing that
// belongs to the account is sent otherwise.
func TestCertificates(t *testing.T) {
	ca, stranger := newAuthority(nil, nil), newAuthority(nil, nil)
	middle := newAuthority(ca, nil)
	elsewhere := newAuthority(ca, func(c *x509.Certificate) {
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
	fake := &authority{leaf.Leaf, leaf.PrivateKey.(*ecdsa.PrivateKey)}
	bubbleTime := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

	for name, test := range map[string]struct {
		cert tls.Certificate
		want string // in the error; "" for none
	}{
		"right":                    {ca.issue(template("example.org")), ""},
		"among others":             {ca.issue(template("a.example", "example.org")), ""},
		"with an intermediate":     {middle.issue(template("example.org"), middle), ""},
		"self-signed":              {(&authority{self, key}).sign(self, key), "an authority that is not trusted here"},
		"stranger's":               {stranger.issue(template("example.org"), stranger), "an authority that is not trusted here"},
		"wrong name":               {ca.issue(template("other.example")), `is for "other.example", not "example.org"`},
		"the server's name (C-08)": {ca.issue(template("server.example")), `is for "server.example", not "example.org"`},
		"prefix of the name":       {ca.issue(template("example.or")), "not \"example.org\""},
		"suffix of the name":       {ca.issue(template("org")), "not \"example.org\""},
		"name and more":            {ca.issue(template("example.org.evil")), "not \"example.org\""},
		"wildcard of the domain":   {ca.issue(template("*.example.org")), `is for "*.example.org", not "example.org"`},
		"name of two lines":        {ca.issue(template("a\nb")), `its certificate is for`},
		"CN only":                  {ca.issue(with(func(c *x509.Certificate) { c.Subject.CommonName = "example.org" })), "is for no host name"},
		"address only":             {ca.issue(with(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })), `is for "127.0.0.1"`},
		"mail address only":        {ca.issue(with(func(c *x509.Certificate) { c.EmailAddresses = []string{"romeo@example.org"} })), "is for no host name"},
		"expired":                  {ca.issue(with(func(c *x509.Certificate) { c.NotAfter = bubbleTime.AddDate(0, 0, -1) }, "example.org")), "expired"},
		"not yet valid":            {ca.issue(with(func(c *x509.Certificate) { c.NotBefore = bubbleTime.AddDate(0, 0, 1) }, "example.org")), "not yet valid"},
		"for clients only": {ca.issue(with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "example.org")),
			"incompatible key usage"},
		"missing intermediate":          {middle.issue(template("example.org")), "an authority that is not trusted here"},
		"name-constrained intermediate": {elsewhere.issue(template("example.org"), elsewhere), "not permitted"},
		"signed by no authority":        {fake.issue(template("example.org"), fake), "certificate"},
		"unknown critical extension": {ca.issue(with(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}, "example.org")), "unhandled critical extension"},
		"SRV-ID and XmppAddr only (C-22)": {ca.issue(with(func(c *x509.Certificate) {
			srv, addr := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7}, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}
			san := sequence(otherName(srv, "_xmpp-client.example.org", "ia5"), otherName(addr, "example.org", "utf8"))
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}}
		})), "is for no host name"},
		"SHA-1": {ca.issue(with(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }, "example.org")), "not trusted here"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := xmpp.Options{JID: mustJID("romeo@example.org"), Password: password, Server: "server.example:5223", RootCAs: ca.pool()}
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
				if len(clear) > 0 || strings.Contains(err.Error(), "\n") {
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

// C-20: the name asked for is the domain's A-label without a dot; an address is verified
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
			o := xmpp.Options{JID: mustJID("romeo@" + domain), Server: "server.example:5223", RootCAs: ca.pool()}
			cs, clear, err := dialTLS(t, o, &tls.Config{Certificates: []tls.Certificate{test.cert}})
			if cs.ServerName != test.sni || len(clear) == 0 {
				t.Errorf("%s: asked for %q, %v", domain, cs.ServerName, err)
			}
		})
	}
}

// C-23: TLS 1.2 at least. C-24: ALPN on direct TLS, which the server may ignore.
func TestTLSVersionAndALPN(t *testing.T) {
	ca, cert := handmade()
	o := xmpp.Options{JID: mustJID("romeo@localhost"), Server: "server.example:5223", RootCAs: ca.pool()}
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
	x509.SetFallbackRoots(a.pool())
	return a
})

// C-25: RootCAs replace the system's roots, and are not added to them.
func TestRootCAs(t *testing.T) {
	system, own := systemAuthority(), newAuthority(nil, nil)
	cert := system.issue(template("localhost"))
	bubble(t, func(t *testing.T) {
		o := xmpp.Options{JID: mustJID("romeo@localhost"), Server: "server.example:5223"}
		for _, test := range []struct {
			roots *x509.CertPool
			ok    bool
		}{{nil, true}, {system.pool(), true}, {own.pool(), false}, {x509.NewCertPool(), false}} {
			o.RootCAs = test.roots
			_, clear, err := dialTLS(t, o, &tls.Config{Certificates: []tls.Certificate{cert}})
			if (len(clear) > 0) != test.ok {
				t.Errorf("want %v: %v", test.ok, err)
			}
		}
	})
}

// C-26: a pin accepts exactly the leaf with this key, whoever signed it, and no other
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
		"backup":              {[]string{xmpp.Pin(ca.cert), good}, leaf, true},
		"another certificate": {[]string{good}, renewed, true},
		"intermediate":        {[]string{xmpp.Pin(middle.cert)}, leaf, false},
		"authority":           {[]string{xmpp.Pin(ca.cert)}, leaf, false},
		"mismatch":            {[]string{good}, ca.issue(template("localhost")), false},
		"empty":               {[]string{""}, leaf, false},
		"prefix":              {[]string{good[:len(good)-1]}, leaf, false},
	} {
		for _, roots := range []*x509.CertPool{ca.pool(), nil} { // a pin replaces the roots
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

// C-26: the pin alone is enough to log in at a server with a self-signed certificate.
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

// C-28, C-33: a login that was refused is not tried again, here or elsewhere.
func TestOneAttempt(t *testing.T) {
	for _, mode := range []string{"5222", "5223"} {
		for _, failure := range []string{"", "sasl-failure=temporary-auth-failure", "sasl-failure=account-disabled", "stream-error@success=host-unknown",
			"stream-error@challenge=policy-violation", "bind-error=not-allowed", "sasl-failure=not-authorized", "wrong-signature", "close@success", "stream-error@restart=not-authorized",
			"stream-error@secure-header=see-other-host:127.0.0.1:99999", "stream-error@success=see-other-host:a b"} {
			t.Run(mode+failure, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					var c xmpptest.Config
					if failure != "" {
						c.Faults = []xmpptest.Fault{xmpptest.Fault(failure)}
					}
					w := newWorld(t, c)
					o := w.Options
					o.Server = "server.example:" + mode
					if failure == "" {
						o.Password = "wrong"
					}
					if _, err := xmpp.Dial(t.Context(), o); err == nil {
						t.Fatal("a session")
					}
					attempts := 1
					if strings.Contains(failure, "secure-header") {
						attempts = 0
					}
					if w.Attempts() != attempts || w.connections() != 1 {
						t.Errorf("%d attempts on %d connections", w.Attempts(), w.connections())
					}
				})
			})
		}
	}
}

// C-33: a server can send us elsewhere, inside TLS and twice. The certificate is still to
// be that of the domain, and what comes before TLS is not from the server.
func TestSeeOtherHost(t *testing.T) {
	for name, test := range map[string]struct {
		faults []xmpptest.Fault
		dialed []string
		err    string // "" is a session
	}{
		"once":       {[]xmpptest.Fault{"stream-error@secure-header=see-other-host:[::1]:5223", "first=1"}, []string{"server.example:5223", "[::1]:5223"}, ""},
		"its port":   {[]xmpptest.Fault{"stream-error@success=see-other-host:other.example", "first=1"}, []string{"server.example:5223", "other.example:5222"}, ""},
		"twice":      {[]xmpptest.Fault{"stream-error@restart=see-other-host:127.0.0.1:5222", "first=2"}, []string{"server.example:5223", "127.0.0.1:5222", "127.0.0.1:5222"}, ""},
		"for ever":   {[]xmpptest.Fault{"stream-error@bind=see-other-host:127.0.0.1:5223"}, []string{"server.example:5223", "127.0.0.1:5223", "127.0.0.1:5223"}, "stream error see-other-host (127.0.0.1:5223)"},
		"before TLS": {[]xmpptest.Fault{"stream-error@header=see-other-host:127.0.0.1:5223"}, []string{"server.example:5222"}, "stream error see-other-host (127.0.0.1:5223)"},
		"no host":    {[]xmpptest.Fault{"stream-error@restart=see-other-host:a b"}, []string{"server.example:5223"}, "stream error see-other-host (a b)"},
		"impostor":   {[]xmpptest.Fault{"stream-error@secure-header=see-other-host:127.0.0.1:5223", "wrong-cert"}, []string{"server.example:5223"}, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{Faults: test.faults})
				o := w.Options
				o.Server = test.dialed[0]
				var dialed []string
				o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					dialed = append(dialed, addr)
					return w.dial(ctx, network, addr)
				}
				s, err := xmpp.Dial(t.Context(), o)
				if err == nil {
					s.Close()
				}
				if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
					t.Errorf("%v", err)
				}
				if !slices.Equal(dialed, test.dialed) {
					t.Errorf("dialed %q", dialed)
				}
			})
		})
	}
}

// T-05: a secret, and whatever holds one, does not show it.
func TestSecret(t *testing.T) {
	const canary = "hunter2"
	check := func(t *testing.T, x any) {
		t.Helper()
		for _, verb := range "vsqxXdTbcoUeEfFgGt" { // not %p and %w, which no type can help and vet refuses
			for _, flag := range []string{"", "+", "#", "-20", "020", " ", ".3"} {
				got := fmt.Sprintf("%"+flag+string(verb), x)
				for _, leak := range []string{canary, hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary))), "hun", "104 117", "0x68, 0x75", "U+0068"} {
					if strings.Contains(got, leak) {
						t.Errorf("%%%s%c of %T shows %s", flag, verb, x, leak)
					}
				}
			}
		}
		for _, got := range []string{fmt.Sprint(x), fmt.Sprintln(x)} {
			if strings.Contains(got, canary) {
				t.Errorf("fmt.Print of %T shows it", x)
			}
		}
		if b, _ := json.Marshal(x); strings.Contains(string(b), canary) {
			t.Errorf("JSON of %T: %s", x, b)
		}
	}
	secret := xmpp.Secret(canary)
	check(t, secret)
	check(t, &secret)
	check(t, []xmpp.Secret{secret})
	check(t, map[string]xmpp.Secret{"password": secret})
	check(t, struct{ O xmpp.Options }{xmpp.Options{Password: secret}})
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Accounts: map[string]string{"romeo": canary}})
		o := w.Options
		o.Password = secret
		s := w.login(t, o)
		s.Close()
		synctest.Wait()
		if got := fmt.Sprintf("%+v", s); strings.Contains(got, canary) {
			t.Error("a session shows it")
		}
	})
	bubble(t, func(t *testing.T) { // nor does an error
		w := newWorld(t, xmpptest.Config{Accounts: map[string]string{"romeo": "other"}})
		o := w.Options
		o.Password = secret
		_, err := xmpp.Dial(t.Context(), o)
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), canary) {
			t.Error("an error shows it")
		}
		o.Password = canary + "\x07"
		_, err = xmpp.Dial(t.Context(), o)
		if !errors.Is(err, sasl.ErrPassword) || strings.Contains(fmt.Sprintf("%v %+v", err, err), canary) {
			t.Errorf("%v", err)
		}
	})
}

// a server as ejabberd 23.01 offers -PLUS on TLS 1.3 without naming its types, and
// accepts tls-unique only: one reconnection on TLS 1.2, which is remembered.
func TestLegacyBinding(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Legacy: true})
		o := w.Options
		o.Memory = new(xmpp.Memory)
		var steps []string
		o.Trace = func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }
		w.login(t, o)
		if w.Attempts() != 2 || w.connections() != 2 || *o.Memory != (xmpp.Memory{NoPlain: true, TLSUnique: true}) {
			t.Errorf("%d attempts, %d connections, %+v", w.Attempts(), w.connections(), *o.Memory)
		}
		if log := strings.Join(steps, "\n"); !strings.Contains(log, "logged in by SCRAM-SHA-1-PLUS (tls-unique)") {
			t.Error(log)
		}
		w.login(t, o)
		if w.Attempts() != 3 || w.connections() != 3 || !o.Memory.TLSUnique {
			t.Errorf("the next login: %d attempts, %d connections", w.Attempts(), w.connections())
		}
		o.Password = "wrong"
		var a *xmpp.AuthError
		if _, err := xmpp.Dial(t.Context(), o); !errors.As(err, &a) || a.Condition != xmpp.NotAuthorized || w.Attempts() != 4 {
			t.Errorf("wrong password: %v, %d attempts", err, w.Attempts())
		}
	})
	// A wrong password is refused for the binding first. Two attempts, and no third.
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Legacy: true})
		o := w.Options
		o.Password, o.Memory = "wrong", new(xmpp.Memory)
		var a *xmpp.AuthError
		if _, err := xmpp.Dial(t.Context(), o); !errors.As(err, &a) || a.Condition != xmpp.NotAuthorized || w.Attempts() != 2 || *o.Memory != (xmpp.Memory{}) {
			t.Errorf("%v, %d attempts, %+v", err, w.Attempts(), *o.Memory)
		}
	})
	// A refusal that is about the password is not about the binding.
	for text, want := range map[string]int{"": 2, "Invalid channel binding": 2, "Invalid username or password": 1} {
		bubble(t, func(t *testing.T) {
			attempts := 0
			o := scripted(t, func(p *peer) {
				p.handshake()
				p.open()
				p.write(streamTag + "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism></mechanisms></stream:features>")
				if p.next() != nil {
					attempts++
				}
				p.write("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text>" + text + "</text></failure>")
				p.next()
			})
			if _, err := xmpp.Dial(t.Context(), o); err == nil {
				t.Fatal("a session")
			}
			if synctest.Wait(); attempts != want {
				t.Errorf("%q: %d attempts, want %d", text, attempts, want)
			}
		})
	}
	// The server has been updated since: TLS 1.3 again, without a failed login.
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{})
		o := w.Options
		o.Memory = &xmpp.Memory{TLSUnique: true}
		w.login(t, o)
		if w.Attempts() != 1 || w.connections() != 1 || o.Memory.TLSUnique {
			t.Errorf("%d attempts, %d connections, %+v", w.Attempts(), w.connections(), *o.Memory)
		}
	})
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{MinTLS: tls.VersionTLS13})
		o := w.Options
		o.Memory = &xmpp.Memory{TLSUnique: true}
		w.login(t, o)
		if w.Attempts() != 1 || w.connections() != 2 || o.Memory.TLSUnique {
			t.Errorf("%d attempts, %d connections, %+v", w.Attempts(), w.connections(), *o.Memory)
		}
	})
}

// C-28: what is remembered does not multiply attempts. A connection that is lost in the TLS
// handshake may be one that wants TLS 1.3; one that is lost later has cost an attempt.
func TestLegacyLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Legacy: true, Faults: []xmpptest.Fault{"close@success"}})
		o := w.Options
		o.Memory = &xmpp.Memory{TLSUnique: true}
		if _, err := xmpp.Dial(t.Context(), o); !errors.Is(err, xmpp.ErrLost) || w.Attempts() != 1 || w.connections() != 1 {
			t.Errorf("%v, %d attempts on %d connections", err, w.Attempts(), w.connections())
		}
	})
	for name, first := range map[string]func(p *peer){
		"closes":    func(p *peer) { p.conn.Read(make([]byte, 1000)) },
		"is silent": func(p *peer) { io.Copy(io.Discard, p.conn) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var connections atomic.Int32
				o := scripted(t, func(p *peer) {
					if connections.Add(1) == 1 {
						first(p)
						return
					}
					p.bind(p.authenticate(""), "romeo@localhost/r")
					p.next()
				})
				o.Memory = &xmpp.Memory{TLSUnique: true}
				s, err := xmpp.Dial(t.Context(), o)
				if err != nil || o.Memory.TLSUnique || connections.Load() != 2 {
					t.Fatalf("%v on %d connections, %+v", err, connections.Load(), *o.Memory)
				}
				s.Close()
			})
		})
	}
}

// between puts somebody with a certificate that the client trusts between it and the
// server, who changes what the server says.
func between(w *world, change func(string) string) xmpp.Options {
	ca, cert := handmade()
	roots := ca.pool()
	roots.AppendCertsFromPEM(w.CA())
	o := w.Options
	o.RootCAs = roots
	o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		server, _ := w.dial(ctx, network, addr)
		there, here := newLink(0)
		go func() {
			out := tls.Client(server, &tls.Config{InsecureSkipVerify: true})
			in := tls.Server(there, &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true})
			go func() {
				io.Copy(out, in)
				server.Close()
			}()
			b := make([]byte, 64<<10)
			for {
				n, err := out.Read(b)
				if n > 0 {
					_, err = io.WriteString(in, change(string(b[:n])))
				}
				if err != nil {
					there.Close()
					return
				}
			}
		}()
		return here, nil
	}
	return o
}

// somebody in between whom the client's roots vouch for gets no login,
// whatever he takes out of the server's offer.
func TestManInTheMiddle(t *testing.T) {
	cut := func(s, from, to string) string {
		head, rest, ok := strings.Cut(s, from)
		_, tail, ok2 := strings.Cut(rest, to)
		if !ok || !ok2 {
			return s
		}
		return head + tail
	}
	types := func(s string) string { return cut(s, "<sasl-channel-binding", "</sasl-channel-binding>") }
	plus := func(s string) string {
		for _, m := range []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"} {
			s = strings.Replace(s, "<mechanism>"+m+"</mechanism>", "", 1)
		}
		return s
	}
	for name, test := range map[string]struct {
		change   func(string) string
		attempts int
	}{
		"nothing":        {func(s string) string { return s }, 1},
		"types":          {types, 2},
		"plus":           {plus, 0},
		"plus and types": {func(s string) string { return plus(types(s)) }, 1},
		"all but PLAIN": {func(s string) string {
			if head, _, ok := strings.Cut(types(s), "<mechanism>"); ok {
				return head + "<mechanism>PLAIN</mechanism></mechanisms></stream:features>"
			}
			return s
		}, 0},
		"all but endpoint": {func(s string) string {
			s = strings.Replace(s, "tls-exporter", "x", 1)
			return strings.Replace(s, "tls-unique", "x", 1)
		}, 1},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t, xmpptest.Config{MaxTLS: version})
					o := between(w, test.change)
					o.Memory = new(xmpp.Memory)
					if _, err := xmpp.Dial(t.Context(), o); err == nil {
						t.Fatal("logged in")
					}
					if w.Attempts() > test.attempts || *o.Memory != (xmpp.Memory{}) {
						t.Errorf("%d attempts, %+v", w.Attempts(), *o.Memory)
					}
					w.mu.Lock()
					defer w.mu.Unlock()
					if all := strings.Join(w.sent, ""); strings.Contains(all, "<success") {
						t.Error("the server accepted it")
					}
				})
			})
		}
	}
	bubble(t, func(t *testing.T) { // the one in between is one that works
		w := newWorld(t, xmpptest.Config{Mechanisms: []string{"SCRAM-SHA-256"}})
		o := between(w, func(s string) string { return s })
		w.login(t, o)
	})
}
