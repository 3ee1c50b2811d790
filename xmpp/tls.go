package xmpp

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// TLSMode is how TLS begins.
type TLSMode string

// The modes. There is none without TLS.
const (
	TLSAuto     TLSMode = "auto"     // both, in the order of DNS; with Server direct on ports 5223 and 443, otherwise STARTTLS
	TLSDirect   TLSMode = "direct"   // XEP-0368
	TLSStartTLS TLSMode = "starttls" // RFC 6120, section 5
)

// ParseTLSMode parses the name of a mode.
func ParseTLSMode(s string) (TLSMode, error) {
	switch mode := TLSMode(s); mode {
	case TLSAuto, TLSDirect, TLSStartTLS:
		return mode, nil
	}
	return "", fmt.Errorf("%q: want auto, direct or starttls", s)
}

// tlsConfig is the one place that makes a client's TLS configuration. The name to
// verify is the JID's domain, whatever host was dialed (RFC 6120, section 13.7.2.1).
func (o *Options) tlsConfig() *tls.Config {
	c := &tls.Config{
		ServerName: o.JID.asciiDomain(),
		MinVersion: tls.VersionTLS12, // RFC 7590, section 3
		RootCAs:    o.RootCAs,
		// A flight is one record, and so one write.
		DynamicRecordSizingDisabled: true,
	}
	if o.TLS == TLSDirect {
		c.NextProtos = []string{"xmpp-client"} // XEP-0368, section 3
	}
	if o.Memory.TLSUnique {
		c.MaxVersion = tls.VersionTLS12
	}
	if o.Certificate != nil {
		c.Certificates = []tls.Certificate{*o.Certificate}
	}
	if len(o.Pins) > 0 {
		// A pin replaces the chain of trust. VerifyConnection also runs when a TLS
		// session is resumed; VerifyPeerCertificate does not.
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(cs tls.ConnectionState) error { return verifyPins(cs, o.Pins) }
	}
	return c
}

// Pin returns "sha256:HEX" of the certificate's SubjectPublicKeyInfo.
func Pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ParsePin checks a pin and returns it as Pin does.
func ParsePin(s string) (string, error) {
	h, ok := strings.CutPrefix(strings.ToLower(s), "sha256:")
	if b, err := hex.DecodeString(h); !ok || err != nil || len(b) != sha256.Size {
		return "", fmt.Errorf("malformed pin %q: want sha256: and 64 hexadecimal digits", s)
	}
	return "sha256:" + h, nil
}

var errPin = errors.New("the certificate is not the pinned one")

func verifyPins(cs tls.ConnectionState, pins []string) error {
	got := Pin(cs.PeerCertificates[0])
	for _, pin := range pins {
		if subtle.ConstantTimeCompare([]byte(pin), []byte(got)) == 1 {
			return nil
		}
	}
	return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: errPin}
}

// tlsError explains why TLS with a peer failed, with the names in its certificate.
func tlsError(addr string, domain JID, err error) error {
	d := &DialError{Op: "tls", Addr: addr, Err: err}
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		d.Err = noRecord(string(header.RecordHeader[:]))
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" { // an alert (RFC 8446, section 6)
		d.Err = worded{err, "the server refused the handshake: " + strings.TrimPrefix(op.Err.Error(), "tls: ")}
	}
	verification := (*tls.CertificateVerificationError)(nil)
	if !errors.As(err, &verification) || len(verification.UnverifiedCertificates) == 0 {
		return d
	}
	leaf := verification.UnverifiedCertificates[0]
	d.Pin = Pin(leaf)
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	words := ""
	switch {
	case errors.As(err, &name):
		words = fmt.Sprintf("its certificate is for %s, not %q", certNames(leaf), domain.Domain)
	case errors.As(err, &unknown):
		words = fmt.Sprintf("its certificate for %s is from an authority that is not trusted here", certNames(leaf))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		words = fmt.Sprintf("its certificate for %s expired at %s", certNames(leaf), invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
		if from := invalid.Cert.NotBefore; time.Now().Before(from) {
			words = fmt.Sprintf("its certificate for %s is not yet valid: it begins at %s", certNames(leaf), from.UTC().Format(time.RFC3339))
		}
	case errors.Is(err, errPin):
		words = errPin.Error()
	default:
		words = fmt.Sprintf("its certificate for %s is not valid: %s", certNames(leaf), strings.ReplaceAll(verification.Err.Error(), "x509: ", ""))
	}
	d.Err = worded{verification, words}
	return d
}

// noRecord is the error of a peer that does not speak TLS. b is the beginning of what it
// sent.
func noRecord(b string) error {
	if b == "<?xml" || b == "<stre" {
		return ErrStartTLS
	}
	return fmt.Errorf("it does not speak TLS: what it sent begins with %q", b)
}

// certNames returns the host names of a certificate, for an error.
func certNames(c *x509.Certificate) string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	switch {
	case len(names) == 0:
		return "no host name"
	case len(names) > 3:
		return strconv.Quote(Clip(strings.Join(names[:3], ", "), shown)) + " and others"
	}
	return strconv.Quote(Clip(strings.Join(names, ", "), shown))
}
