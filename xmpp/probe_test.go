package xmpp_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// A probe reads what the server offers inside TLS, and leaves without a word on any
// account: no name in the header, no login, and the stream is closed.
func TestProbe(t *testing.T) {
	for name, test := range map[string]struct {
		server string
		mode   xmpp.TLSMode
		alpn   string
	}{
		"STARTTLS":   {"server.example:5222", xmpp.TLSStartTLS, ""},
		"direct TLS": {"server.example:5223", xmpp.TLSDirect, "xmpp-client"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{})
				o := w.Options
				o.Server, o.Password = test.server, ""
				p, err := xmpp.Probe(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if p.Addr != test.server || p.Mode != test.mode || p.TLS.NegotiatedProtocol != test.alpn {
					t.Errorf("%s, %s, ALPN %q", p.Addr, p.Mode, p.TLS.NegotiatedProtocol)
				}
				if err := p.TLS.PeerCertificates[0].VerifyHostname(w.Domain); err != nil {
					t.Error(err)
				}
				if xmpp.Child(p.Features, xmpp.NSSASL, "mechanisms") == nil {
					t.Errorf("no mechanisms in %s", text(p.Features))
				}
				synctest.Wait()
				in := w.in()
				if strings.Contains(in, "romeo") || strings.Contains(in, "<auth") || !strings.HasSuffix(in, "</stream:stream>") {
					t.Errorf("the server read %s", in)
				}
			})
		})
	}
}

// A probe follows a redirect, as a login does, and fails as a login does.
func TestProbeFails(t *testing.T) {
	dial := func(o xmpp.Options) error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		p, err := xmpp.Probe(ctx, o)
		if (p == nil) != (err != nil) {
			t.Errorf("%v, and %v", p, err)
		}
		return err
	}
	for name, test := range map[string]struct {
		fault xmpptest.Fault
		want  string // "" is a result
	}{
		"redirect":    {"stream-error@secure-header=see-other-host:127.0.0.1:5223", ""},
		"certificate": {"wrong-cert", "its certificate is for"},
		"error":       {"stream-error@secure-header=host-unknown", "stream error host-unknown"},
		"silence":     {"silence@secure-header", "waiting for the stream features with server.example:5223: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{Faults: []xmpptest.Fault{test.fault, "first=1"}})
				err := dial(w.Options)
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("%v, want %s", err, test.want)
				}
			})
		})
	}
	refused := xmpp.Options{JID: mustJID("example.org"), Server: "h", RootCAs: x509.NewCertPool(), DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, errRefused
	}}
	if err := dial(refused); !errors.Is(err, errRefused) {
		t.Error(err)
	}
}
