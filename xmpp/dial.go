package xmpp

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Budgets of the parts of a connection attempt where there is another address to try;
// the context bounds the whole.
const (
	tcpBudget = 5 * time.Second
	tlsBudget = 10 * time.Second
)

// A Secret does not show itself when it is formatted.
type Secret string

func (Secret) String() string               { return "***" }
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Format also hides it from the verbs that are wrong for a string.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "***") }

// TLSMode is how TLS begins.
type TLSMode string

// The modes. There is none without TLS.
const (
	TLSAuto     TLSMode = "auto"     // both, as DNS has them; with Server direct on the ports 5223 and 443, else STARTTLS
	TLSDirect   TLSMode = "direct"   // XEP-0368
	TLSStartTLS TLSMode = "starttls" // RFC 6120, section 5
)

// Options tell Dial who logs in and where. JID and either Password or Certificate
// are required.
type Options struct {
	JID      JID // the account; a resource in it is asked for
	Password Secret

	// OwnResource says that the resource in JID is to be bound, and none instead: where
	// the server says that it is taken, Dial fails. Else the server's choice does.
	OwnResource bool

	Server string  // HOST[:PORT] to connect to instead of asking DNS; the certificate must still name the JID's domain
	TLS    TLSMode // "" is TLSAuto

	RootCAs     *x509.CertPool   // roots to trust instead of the system's
	Pins        []string         // "sha256:HEX" of a SubjectPublicKeyInfo: accept these certificates and no others
	Certificate *tls.Certificate // client certificate for SASL EXTERNAL (XEP-0178)
	AllowPlain  bool             // use SASL PLAIN where the server offers nothing better

	// HandleIQ answers an incoming request: by Result, by Refusal, or nil for
	// service-unavailable. It runs on one of a few goroutines, which Close waits
	// for. Pings from the own server and account are answered without it.
	HandleIQ func(context.Context, *Element) *Element

	// Take chooses what Stanzas yields; nil takes everything. The rest is let go
	// as it arrives.
	Take func(*Element) bool

	// Manage counts stanzas by stream management (XEP-0198) where the server offers
	// it: what Stanzas yields is the server's until Acknowledge.
	Manage bool
	// Resumable is how long the server is asked to keep a managed session whose
	// connection is lost; 0 for not at all. Some servers keep it longer.
	Resumable time.Duration
	// Resume is a session to go on with. Where the server refuses that, a new one is
	// bound: see Session.Resumed. Dial brings it up to date where it fails.
	Resume *Resumption

	// Acknowledging is told what the session can be resumed from each time that the
	// server asks for an acknowledgement, before it gets that. It is called by a
	// goroutine of its own, which Close waits for.
	Acknowledging func(*Resumption)

	// Pause makes the reader wait for room where more arrives than is read, instead of
	// losing the session. It is for who keeps taking Stanzas. Where such a session is
	// resumed, the proof that it is of use waits with the rest, and the session ends by
	// ErrUseless if there is none.
	Pause bool

	// KeepAlive is how long a dead peer can go unnoticed; 0 for ever.
	KeepAlive time.Duration

	// Memory carries from one login to the next what makes that one safer and
	// shorter. Dial reads and updates it.
	Memory *Memory

	// Trace is told each step of the connection.
	Trace func(format string, args ...any)
	// TraceXML is shown what is sent (out) and received, element by element, with
	// *** for what is secret in it. It is called by several goroutines.
	TraceXML func(out bool, xml string)

	// Resolver asks DNS; nil is net.DefaultResolver.
	Resolver *net.Resolver

	// DialContext opens TCP connections; nil is a net.Dialer. It gets IP addresses,
	// and the host of Server as it is.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// another says that there is another way to try where this one is too slow.
	another bool
}

// Memory is what is worth knowing of an account's earlier logins. It holds no
// secret.
type Memory struct {
	// NoPlain: the account has logged in by something better than PLAIN, so a
	// server that offers only PLAIN is not the one it was (XEP-0474).
	NoPlain bool `json:"no_plain"`
	// TLSUnique: the server offers channel binding by names that only say
	// tls-unique, which TLS 1.3 does not have.
	TLSUnique bool `json:"tls_unique"`
}

// Dial connects, logs in and binds a resource. ctx bounds Dial, not the session. An
// address that is slow gets all the time of ctx, unless there is another one to try.
//
// Its errors are *DialError, *StreamError, *AuthError, *StanzaError (of the
// resource binding), ErrLost, or the context's, wrapped with what was waited for.
// Where several addresses have failed it is the most serious of their errors, and
// its text has them all.
func Dial(ctx context.Context, o Options) (*Session, error) {
	if o.Memory == nil {
		o.Memory = new(Memory)
	}
	if o.RootCAs == nil && len(o.Pins) == 0 {
		// It takes up to 40 ms, and TLS wants it only after DNS and TCP.
		go x509.SystemCertPool()
	}
	if o.Resume != nil {
		s, err := resume(ctx, o)
		if _, refused := errors.AsType[resumeRefused](err); !refused || ctx.Err() != nil {
			return s, err
		}
		o.trace("%v; opening a new one", err)
		o.JID.Resource, o.Resume = o.Resume.resource(o.JID), nil
	}
	return dial(ctx, o)
}

// resumedBudget is how long nothing may come before the first answer in a session that
// was resumed.
const resumedBudget = 5 * time.Second

// resume is Dial for a session to go on with. It does not stop at the word of the server:
// where the old connection was cut inside of a stanza, Prosody 0.12 takes what comes on
// the new one for the rest of that.
func resume(ctx context.Context, o Options) (s *Session, err error) {
	tried := false
	if there := o; isServer(o.Resume.Location) {
		there.Server, there.another = o.Resume.Location, true
		s, err = dial(ctx, there)
		_, elsewhere := errors.AsType[*DialError](err)
		tried = !elsewhere && !errors.Is(err, errSlow) || ctx.Err() != nil
	}
	if !tried {
		s, err = dial(ctx, o)
	}
	if err != nil || !s.Resumed() {
		return s, err
	}
	if o.Pause {
		go func() {
			if err := s.proof(s.ctx); err != nil {
				s.fail(fmt.Errorf("%w: %w", ErrUseless, err))
				return
			}
			s.resend()
		}()
		return s, nil
	}
	if err = s.proof(ctx); err == nil {
		s.resend()
		return s, nil
	}
	s.fail(err)
	<-s.done
	s.serving.Wait() // or it is told of this one after the next
	if r := s.Resumption(); r != nil {
		*o.Resume = *r // the ping has been counted
	}
	if ctx.Err() != nil || errors.Is(err, ErrLost) {
		return nil, err
	}
	return nil, resumeRefused{fmt.Errorf("the resumed session does not work: %w", err)}
}

// proof returns once the server has answered in a resumed session, or why it will not: all
// that it sends again comes before the answer, so this is the time that nothing comes.
func (s *Session) proof(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer := s.Ask(ctx, NewIQ("get", s.Server(), NewElement(NSPing, "ping")))
	ticker := time.NewTicker(resumedBudget)
	defer ticker.Stop()
	for reads := s.in.reads.Load(); ; {
		select {
		case a := <-answer:
			if _, refused := errors.AsType[*StanzaError](a.Err); refused {
				return nil
			}
			return a.Err
		case <-ticker.C:
			now := s.in.reads.Load()
			if now == reads && !s.isPaused() {
				return fmt.Errorf("nothing came for %s", resumedBudget)
			}
			reads = now
		}
	}
}

func isServer(s string) bool {
	_, _, err := SplitServer(s)
	return err == nil
}

// maxRedirections bounds the see-other-host errors that are followed, which come with
// the certificate of the domain (RFC 6120, section 4.9.3.19).
const maxRedirections = 2

// dial connects to where the options say, and on to where the server there says.
func dial(ctx context.Context, o Options) (*Session, error) {
	s, err := dialServer(ctx, o)
	for range maxRedirections {
		elsewhere, ok := errors.AsType[*StreamError](err)
		if !ok || elsewhere.Host == "" {
			break
		}
		o.trace("%v: following it", err)
		o.Server = elsewhere.Host
		s, err = dialServer(ctx, o)
	}
	return s, err
}

// dialServer connects to where the options say.
func dialServer(ctx context.Context, o Options) (*Session, error) {
	targets, failed := resolve(ctx, o)
	first := o
	first.another = o.another || o.Memory.TLSUnique
	s, err := connect(ctx, first, targets, failed)
	_, lost := errors.AsType[handshakeLost](err)
	if d, ok := errors.AsType[*DialError](err); o.Memory.TLSUnique && ctx.Err() == nil && (lost || ok && d.Op == "tls" && d.Pin == "") {
		o.Memory.TLSUnique = false // TLS 1.2 may be gone
		s, err = connect(ctx, o, targets, failed)
	}
	if a, ok := errors.AsType[*AuthError](err); ok && a.guessed {
		o.trace("the server refused channel binding by tls-exporter; once more on TLS 1.2 with tls-unique")
		o.Memory.TLSUnique = true
		s, err = connect(ctx, o, targets, failed)
		o.Memory.TLSUnique = o.Memory.TLSUnique && err == nil
	}
	return s, err
}

// SplitServer splits HOST[:PORT]; an IPv6 address with a port is in brackets, and an
// internationalized name becomes its A-labels (RFC 5890, section 2.3.2.1), as DNS has it.
func SplitServer(s string) (host, port string, err error) {
	host = s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String(), "", nil
	}
	if strings.Contains(s, ":") {
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", "", fmt.Errorf("malformed server %q: want HOST or HOST:PORT", s)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", "", fmt.Errorf("malformed server %q: port %q is not between 1 and 65535", s, port)
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host, port, nil
	}
	if host == "" || strings.ContainsAny(host, " \t\r\n/@[]") {
		return "", "", fmt.Errorf("malformed server %q: want HOST or HOST:PORT", s)
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) {
		name, err := toUnicode(host)
		if err != nil {
			return "", "", fmt.Errorf("malformed server %q: %w", s, err)
		}
		host = JID{Domain: name}.asciiDomain()
	}
	return host, port, nil
}

// tlsConfig is the one place that makes a client's TLS configuration. The name to
// verify is the JID's domain, whatever was connected to (RFC 6120, section 13.7.2.1).
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
		// A pin replaces the chain of trust. VerifyConnection also runs where a
		// session is resumed, VerifyPeerCertificate does not.
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

// tlsError says what is wrong with the peer's TLS in terms of whom it belongs to.
func tlsError(addr string, domain JID, err error) error {
	d := &DialError{Op: "tls", Addr: addr, Err: err}
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		d.Err = noRecord(string(header.RecordHeader[:]))
	}
	verification := (*tls.CertificateVerificationError)(nil)
	if !errors.As(err, &verification) || len(verification.UnverifiedCertificates) == 0 {
		return d
	}
	leaf := verification.UnverifiedCertificates[0]
	d.Pin = Pin(leaf)
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &name):
		d.Err = fmt.Errorf("its certificate is for %s, not %q: %w", certNames(leaf), domain.Domain, verification)
	case errors.As(err, &unknown):
		d.Err = fmt.Errorf("its certificate for %s is from an authority that is not trusted here: %w", certNames(leaf), verification)
	default:
		d.Err = verification
	}
	return d
}

// noRecord is the error of what is no TLS. It begins with that.
func noRecord(b string) error {
	if b == "<?xml" || b == "<stre" {
		return ErrStartTLS
	}
	return fmt.Errorf("it does not speak TLS: what it sent begins with %q", b)
}

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

func (o *Options) trace(format string, args ...any) {
	if o.Trace != nil {
		o.Trace(format, args...)
	}
}

func ms(since time.Time) string { return time.Since(since).Round(100 * time.Microsecond).String() }
