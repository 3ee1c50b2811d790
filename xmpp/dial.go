package xmpp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Time limits for the parts of a connection attempt if there is another address to try;
// the context limits the whole.
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

// Options configure Dial. JID and either Password or Certificate are required.
type Options struct {
	JID      JID // the account, with the resource to bind if it has one
	Password Secret

	// OwnResource makes Dial fail if the server refuses the resource in JID, because it is
	// in use for example. Otherwise Dial accepts one that the server chooses.
	OwnResource bool

	Server string  // HOST[:PORT] to connect to instead of asking DNS; the certificate must still name the JID's domain
	TLS    TLSMode // "" is TLSAuto

	RootCAs     *x509.CertPool   // roots to trust instead of the system's
	Pins        []string         // "sha256:HEX" of a SubjectPublicKeyInfo: accept these certificates and no others
	Certificate *tls.Certificate // client certificate for SASL EXTERNAL (XEP-0178)
	AllowPlain  bool             // use SASL PLAIN if the server offers nothing better

	// HandleIQ answers an incoming request: by Result, by Refusal, or nil for
	// service-unavailable. It runs on one of a few goroutines, which Close waits
	// for. The session itself answers pings from the account and its server.
	HandleIQ func(context.Context, *Element) *Element

	// Take chooses what Stanzas yields; nil chooses everything. The rest is dropped as it
	// arrives.
	Take func(*Element) bool
	// Watch, if it is not nil, is called with each message and presence when it is read,
	// so before any answer that the server sent after it. The reader calls it, so it must
	// not block.
	Watch func(*Element)

	// Manage counts stanzas by stream management (XEP-0198) if the server offers it. The
	// server keeps what Stanzas yields until Acknowledge.
	Manage bool
	// Resumable asks the server to keep a managed session for so long after its connection
	// is lost; 0 is not at all. Some servers keep it longer.
	Resumable time.Duration
	// Resume is a session to resume. If the server refuses, Dial opens a new one: see
	// Session.Resumed. If Dial fails, it brings Resume up to date.
	Resume *Resumption

	// Acknowledging is called before each acknowledgement that the server asks for, with
	// what the session can be resumed from. It runs on a goroutine of its own, which Close
	// waits for.
	Acknowledging func(*Resumption)

	// Pause makes the reader wait for room if more arrives than is read; without it the
	// session is lost. It is for programs that keep ranging over Stanzas. In a resumed
	// session, the answer that proves that the session works waits in the same queue;
	// without it the session ends with ErrUseless.
	Pause bool

	// KeepAlive is how long a dead peer can go unnoticed; 0 means for ever.
	KeepAlive time.Duration

	// Memory makes later logins safer and shorter. Dial reads and updates it.
	Memory *Memory

	// Trace reports each step of the connection.
	Trace func(format string, args ...any)
	// TraceXML shows what is sent (out) and received, element by element, with *** for
	// secrets. Several goroutines call it.
	TraceXML func(out bool, xml string)

	// Resolver asks DNS; nil is net.DefaultResolver.
	Resolver *net.Resolver

	// DialContext opens TCP connections; nil is a net.Dialer. It gets IP addresses,
	// and the host of Server as it is.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// another is set if there is another address to try when this one is too slow.
	another bool
}

// Memory is what earlier logins of an account have revealed. It contains no secrets.
type Memory struct {
	// NoPlain: the account has logged in with something better than PLAIN. A server
	// that then offers only PLAIN may not be the same one (XEP-0474).
	NoPlain bool `json:"no_plain"`
	// TLSUnique: the server supports channel binding, but only tls-unique, which TLS 1.3
	// does not have.
	TLSUnique bool `json:"tls_unique"`
}

// Dial connects, logs in and binds a resource. ctx bounds Dial, not the session. An
// address that is slow gets all the time of ctx, unless there is another one to try.
//
// Its errors are *DialError, *StreamError, *AuthError, *StanzaError (of the
// resource binding), ErrLost, or the context's, wrapped with what Dial was waiting for.
// If several addresses have failed, the error is the most serious one, and its text names
// them all.
func Dial(ctx context.Context, o Options) (*Session, error) {
	o.prepare()
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

// prepare builds what all connection attempts share.
func (o *Options) prepare() {
	if o.Memory == nil {
		o.Memory = new(Memory)
	}
	if o.RootCAs == nil && len(o.Pins) == 0 {
		// It takes up to 40 ms, and TLS needs it only after DNS and TCP.
		go x509.SystemCertPool()
	}
}

// dial logs in at the server that the options name, and follows its redirects.
func dial(ctx context.Context, o Options) (s *Session, err error) {
	err = reach(ctx, o, func(n *negotiation) (err error) { s, err = n.start(); return err })
	return s, err
}

// maxRedirections is how many redirects are followed. Only a see-other-host error from a
// server with the domain's certificate is one (RFC 6120, section 4.9.3.19).
const maxRedirections = 2

// reach connects to the server that the options name, and follows its redirects.
func reach(ctx context.Context, o Options, t talk) error {
	err := reachServer(ctx, o, t)
	for range maxRedirections {
		redirect, ok := errors.AsType[*StreamError](err)
		if !ok || redirect.Host == "" {
			break
		}
		o.trace("%v: following the redirect", err)
		o.Server = redirect.Host
		err = reachServer(ctx, o, t)
	}
	return err
}

// reachServer connects to the server that the options name.
func reachServer(ctx context.Context, o Options, t talk) error {
	targets, failed := resolve(ctx, o)
	first := o
	first.another = o.another || o.Memory.TLSUnique
	err := connect(ctx, first, targets, failed, t)
	_, lost := errors.AsType[handshakeLost](err)
	if d, ok := errors.AsType[*DialError](err); o.Memory.TLSUnique && ctx.Err() == nil && (lost || ok && d.Op == "tls" && d.Pin == "") {
		o.Memory.TLSUnique = false // the server may no longer accept TLS 1.2
		err = connect(ctx, o, targets, failed, t)
	}
	if a, ok := errors.AsType[*AuthError](err); ok && a.guessed {
		o.trace("the server refused channel binding by tls-exporter; retrying on TLS 1.2 with tls-unique")
		o.Memory.TLSUnique = true
		err = connect(ctx, o, targets, failed, t)
		o.Memory.TLSUnique = o.Memory.TLSUnique && err == nil
	}
	return err
}
