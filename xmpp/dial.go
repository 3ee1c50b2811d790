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
	// Watch, if it is not nil, is told each message and presence when it is read, and so
	// before the answer to a request that the server has answered after it. It is for what
	// must be known by then, and must not wait: it is the reader that calls it.
	Watch func(*Element)

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

// prepare makes what all attempts to connect share.
func (o *Options) prepare() {
	if o.Memory == nil {
		o.Memory = new(Memory)
	}
	if o.RootCAs == nil && len(o.Pins) == 0 {
		// It takes up to 40 ms, and TLS wants it only after DNS and TCP.
		go x509.SystemCertPool()
	}
}

// dial logs in to where the options say, and on to where the server there says.
func dial(ctx context.Context, o Options) (s *Session, err error) {
	err = reach(ctx, o, func(n *negotiation) (err error) { s, err = n.start(); return err })
	return s, err
}

// maxRedirections bounds the see-other-host errors that are followed, which come with
// the certificate of the domain (RFC 6120, section 4.9.3.19).
const maxRedirections = 2

// reach connects to where the options say, and on to where the server there says.
func reach(ctx context.Context, o Options, t talk) error {
	err := reachServer(ctx, o, t)
	for range maxRedirections {
		redirect, ok := errors.AsType[*StreamError](err)
		if !ok || redirect.Host == "" {
			break
		}
		o.trace("%v: following it", err)
		o.Server = redirect.Host
		err = reachServer(ctx, o, t)
	}
	return err
}

// reachServer connects to where the options say.
func reachServer(ctx context.Context, o Options, t talk) error {
	targets, failed := resolve(ctx, o)
	first := o
	first.another = o.another || o.Memory.TLSUnique
	err := connect(ctx, first, targets, failed, t)
	_, lost := errors.AsType[handshakeLost](err)
	if d, ok := errors.AsType[*DialError](err); o.Memory.TLSUnique && ctx.Err() == nil && (lost || ok && d.Op == "tls" && d.Pin == "") {
		o.Memory.TLSUnique = false // TLS 1.2 may be gone
		err = connect(ctx, o, targets, failed, t)
	}
	if a, ok := errors.AsType[*AuthError](err); ok && a.guessed {
		o.trace("the server refused channel binding by tls-exporter; once more on TLS 1.2 with tls-unique")
		o.Memory.TLSUnique = true
		err = connect(ctx, o, targets, failed, t)
		o.Memory.TLSUnique = o.Memory.TLSUnique && err == nil
	}
	return err
}
