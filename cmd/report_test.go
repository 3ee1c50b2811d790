package cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
)

// The stream errors of RFC 6120, section 4.9.3.
func TestStreamCodes(t *testing.T) {
	conditions := map[xmpp.Condition]int{
		"bad-format": 76, "bad-namespace-prefix": 76, "conflict": 75, "connection-timeout": 75, "host-gone": 68, "host-unknown": 68,
		"improper-addressing": 76, "internal-server-error": 75, "invalid-from": 76, "invalid-namespace": 76, "invalid-xml": 76,
		"not-authorized": 77, "not-well-formed": 76, "policy-violation": 77, "remote-connection-failed": 75, "reset": 75,
		"resource-constraint": 75, "restricted-xml": 76, "see-other-host": 76, "system-shutdown": 75, "undefined-condition": 76,
		"unsupported-encoding": 76, "unsupported-feature": 76, "unsupported-stanza-type": 76, "unsupported-version": 76,
	}
	if len(conditions) != 25 {
		t.Fatalf("%d conditions", len(conditions))
	}
	conditions["not-defined"] = 76
	for condition, want := range conditions {
		for _, sent := range []bool{false, true} {
			if sent {
				want = 76 // what the server got wrong stays wrong
			}
			o := fails(t, fmt.Errorf("in between: %w", &xmpp.StreamError{Condition: condition, Text: "why", Sent: sent}))
			if o.ExitCode != want || o.Class != "stream" || o.Retryable != (want == 75) || !strings.Contains(o.Message, string(condition)+" (why)") {
				t.Errorf("%s, sent %v: %+v, want %d", condition, sent, o, want)
			}
		}
	}
}

// The stanza errors of RFC 6120, section 8.3.3, of each type.
func TestStanzaCodes(t *testing.T) {
	types := []string{"auth", "cancel", "continue", "modify", "wait", ""}
	refused, forbidden := [6]int{69, 69, 69, 69, 75, 69}, [6]int{77, 77, 77, 77, 75, 77}
	other := [6]int{77, 69, 69, 69, 75, 69}
	conditions := map[xmpp.Condition][6]int{
		"item-not-found":          {67, 67, 67, 67, 67, 67},
		"remote-server-not-found": {75, 75, 75, 75, 75, 75},
		"resource-constraint":     {75, 75, 75, 75, 75, 75},
		"conflict":                {75, 75, 75, 75, 75, 75}, // over the server's choice of a resource
		"feature-not-implemented": refused, "gone": refused, "service-unavailable": refused,
		"forbidden": forbidden, "not-allowed": forbidden, "not-authorized": forbidden, "policy-violation": forbidden,
		"registration-required": forbidden, "subscription-required": forbidden,
		"bad-request": other, "internal-server-error": other, "jid-malformed": other, "not-acceptable": other, "recipient-unavailable": other,
		"redirect": other, "remote-server-timeout": other, "undefined-condition": other, "unexpected-request": other,
	}
	if len(conditions) != 22 {
		t.Fatalf("%d conditions", len(conditions))
	}
	conditions["not-defined"] = other
	for condition, codes := range conditions {
		for i, typ := range types {
			o := fails(t, fmt.Errorf("bind a resource: %w", &xmpp.StanzaError{Condition: condition, Type: typ, Text: "why"}))
			if o.ExitCode != codes[i] || o.Class != "stanza" || o.Retryable != (codes[i] == 75) {
				t.Errorf("%s %s: %+v, want %d", typ, condition, o, codes[i])
			}
			if o.Error == nil || o.Error.Condition != string(condition) || o.Error.Type != typ || o.Error.Text != "why" {
				t.Errorf("%s %s: %+v", typ, condition, o.Error)
			}
		}
	}
}

// Everything else that can end a command.
func TestCodes(t *testing.T) {
	notFound := &net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}
	busy := &net.DNSError{Err: "server misbehaving", Name: "h", IsTemporary: true}
	unverified := func(err error) error {
		return &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{{}}, Err: err}
	}
	dial := func(op string, err error) error { return &xmpp.DialError{Op: op, Addr: "h:5222", Err: err} }
	for name, test := range map[string]struct {
		err       error
		code      int
		class     string
		retryable bool
		hint      string
	}{
		"no such host":    {dial("dns", &net.OpError{Op: "dial", Err: notFound}), 68, "dns", false, "check the domain"},
		"not offered":     {dial("dns", &net.DNSError{Err: "the domain offers no XMPP client service", Name: "h", IsNotFound: true}), 68, "dns", false, "check the domain"},
		"at an address":   {&xmpp.DialError{Op: "connect", Addr: "h:5222 (192.0.2.1)", Err: syscall.ECONNREFUSED}, 75, "connect", true, "is the server up?"},
		"DNS fails":       {dial("dns", busy), 75, "dns", true, "try again"},
		"DNS is slow":     {dial("dns", errors.New("no answer within 5s")), 75, "dns", true, "try again"},
		"refused":         {dial("connect", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}), 75, "connect", true, "is the server up?"},
		"connect is slow": {dial("connect", errors.New("no answer within 5s")), 75, "connect", true, "is the server up?"},
		"no TLS":          {dial("tls", errors.New("the server does not offer STARTTLS")), 76, "tls", false, "requires TLS"},
		"direct TLS":      {dial("tls", xmpp.ErrDirectTLS), 76, "tls", false, "--tls direct"},
		"STARTTLS":        {dial("tls", xmpp.ErrStartTLS), 76, "tls", false, "--tls starttls"},
		"no XMPP":         {dial("stream", fmt.Errorf("%w: x", xmpp.ErrNotXMPP)), 76, "stream", false, "not an XMPP server?"},
		"a wrong stream":  {dial("stream", &xmpp.StreamError{Condition: "invalid-from", Sent: true}), 76, "stream", false, ""},
		"wrong name": {&xmpp.DialError{Op: "tls", Addr: "h:5222", Pin: "sha256:aa", Err: unverified(x509.HostnameError{Certificate: new(x509.Certificate), Host: "h"})}, 76, "tls", false,
			"if you have verified in another way that this is the right server: --tls-pin sha256:aa"},
		"unknown authority": {&xmpp.DialError{Op: "tls", Addr: "h:5222", Pin: "sha256:aa", Err: unverified(x509.UnknownAuthorityError{})}, 76, "tls", false, "pass the CA certificate with --ca-file; or, if you have verified in another way that this is the right server: --tls-pin sha256:aa"},

		"wrong password":      {&xmpp.AuthError{Mechanism: "PLAIN", Condition: "not-authorized"}, 77, "auth", false, "check the account and its password"},
		"disabled":            {&xmpp.AuthError{Mechanism: "PLAIN", Condition: "account-disabled"}, 77, "auth", false, ""},
		"expired":             {&xmpp.AuthError{Mechanism: "PLAIN", Condition: "credentials-expired"}, 77, "auth", false, ""},
		"unknown condition":   {&xmpp.AuthError{Mechanism: "PLAIN", Condition: "another-one"}, 77, "auth", false, ""},
		"temporary":           {&xmpp.AuthError{Mechanism: "PLAIN", Condition: "temporary-auth-failure"}, 75, "auth", true, "try again"},
		"forged":              {&xmpp.AuthError{Mechanism: "SCRAM-SHA-1", Err: fmt.Errorf("%w: x", sasl.ErrServer)}, 76, "auth", false, "do not log in until you know why: someone may be intercepting the connection"},
		"unusable password":   {&xmpp.AuthError{Mechanism: "PLAIN", Err: fmt.Errorf("%w: x", sasl.ErrPassword)}, 78, "config", false, ""},
		"nothing usable":      {&xmpp.AuthError{Err: &sasl.OfferError{Reason: "none is known", Hint: "ask somebody"}}, 77, "auth", false, "ask somebody"},
		"PLAIN only":          {&xmpp.AuthError{Err: &sasl.OfferError{Reason: "x", Hint: "y", PlainOnly: true}}, 77, "auth", false, "--allow-plain sends the password itself to the server, inside TLS"},
		"login, then the end": {&xmpp.AuthError{Mechanism: "SCRAM-SHA-1", Err: errTimeout(time.Second)}, 124, "timeout", true, "raise --timeout"},

		"lost":       {fmt.Errorf("%w: h: %w", xmpp.ErrLost, io.EOF), 75, "connect", true, "try again"},
		"late":       {fmt.Errorf("connect to h: %w", errTimeout(30*time.Second)), 124, "timeout", true, "raise --timeout"},
		"deadline":   {context.DeadlineExceeded, 124, "timeout", true, "raise --timeout"},
		"anything":   {errStop, 70, "bug", false, "report it"},
		"cancelled?": {context.Canceled, 70, "bug", false, "report it"}, // by nobody
	} {
		t.Run(name, func(t *testing.T) {
			o := fails(t, test.err)
			if o.ExitCode != test.code || o.Class != test.class || o.Retryable != test.retryable {
				t.Errorf("%+v, want %d, %s, retryable %v", o, test.code, test.class, test.retryable)
			}
			if !strings.Contains(o.Hint, test.hint) || (o.Hint == "") != (test.hint == "") {
				t.Errorf("hint %q, want %q", o.Hint, test.hint)
			}
			if o.Message != "romeo@example.org: "+test.err.Error() || o.JID != "" && o.JID != "romeo@example.org" {
				t.Errorf("%+v", o)
			}
			if d := new(*xmpp.DialError); errors.As(test.err, d) != (o.Host == "h:5222") {
				t.Errorf("host %q", o.Host)
			}
			// The same as text is one line, with the hint in it.
			w := failing(test.err)
			w.run(t.Context(), "ping", "--no-cache", "--quiet")
			line := "xmppkit: " + o.Message
			if o.Hint != "" {
				line += " (hint: " + o.Hint + ")"
			}
			if w.code != test.code || w.err != line+"\n" {
				t.Errorf("%q, want %q", w.err, line)
			}
		})
	}
}

// A server's words cannot drive the terminal, nor forge a line.
func TestErrorText(t *testing.T) {
	const text = "a\nxmppkit: b\r\n\x1b[2J\u202e\u009b"
	for _, err := range []error{
		&xmpp.StreamError{Condition: "undefined-condition", Text: text},
		&xmpp.StanzaError{Condition: "undefined-condition", Type: "cancel", Text: text},
		&xmpp.AuthError{Mechanism: "PLAIN", Condition: "not-authorized", Text: text},
	} {
		w := failing(err)
		w.run(t.Context(), "ping", "--no-cache")
		if strings.ContainsAny(w.err, "\x1b\u202e\u009b\r") || strings.Count(w.err, "\n") != 1 {
			t.Errorf("%q", w.err)
		}
	}
}

func TestErrTimeout(t *testing.T) {
	if err := errTimeout(90 * time.Second); err.Error() != "no answer within 1m30s" || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
