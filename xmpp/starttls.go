package xmpp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// startTLSBudget limits the wait for <proceed/> from a server that neither offers nor
// refuses STARTTLS.
const startTLSBudget = 2 * time.Second

// startTLS asks for TLS whether the server offers it or not, and fails without it
// (RFC 7590, section 3.1).
func (n *negotiation) startTLS() error {
	var late atomic.Bool
	timer := time.AfterFunc(tlsBudget, func() { late.Store(true); n.raw.Close() })
	defer timer.Stop()
	if !n.hurried {
		timer.Stop()
	}
	features, err := n.open("waiting for the answer to STARTTLS", JID{}, NewElement(NSTLS, "starttls"))
	lost := errors.Is(err, ErrLost) && n.ctx.Err() == nil
	switch {
	case lost && late.Load():
		return n.silent()
	case lost && !n.in.active.Load():
		return mute{fmt.Errorf("%w (a port for direct TLS does that)", err)}
	case err != nil:
		return err
	}
	offered := Child(features, NSTLS, "starttls") != nil
	if !offered {
		timer.Reset(startTLSBudget)
	}
	e, err := n.next()
	switch {
	case err != nil && !offered && n.ctx.Err() == nil:
		return &DialError{Op: "tls", Addr: n.addr, Err: errors.New("the server does not offer STARTTLS")}
	case err != nil && late.Load() && n.ctx.Err() == nil:
		return n.silent()
	case err != nil:
		return err
	case Is(e, NSTLS, "failure"):
		return &DialError{Op: "tls", Addr: n.addr, Err: errors.New("the server refused STARTTLS")}
	case !Is(e, NSTLS, "proceed"):
		return unexpected(e, "instead of the answer to STARTTLS")
	}
	// RFC 6120, section 5.4.2.3: what follows <proceed/> is TLS. What was read ahead came
	// in the clear, and anybody may have sent it.
	if n.r.Buffered() > 0 {
		return &DialError{Op: "tls", Addr: n.addr, Err: errors.New("the server sent data before TLS was established")}
	}
	return nil
}

// mute is the error of a connection that was lost before the server sent anything: the
// port may be for direct TLS, or the server may be shutting down.
type mute struct{ error }

func (e mute) Unwrap() error { return e.error }

// handshakeLost is the error of a connection that was lost before the login.
type handshakeLost struct{ error }

func (e handshakeLost) Unwrap() error { return e.error }

func (n *negotiation) handshake() error {
	n.doing, n.opened = "TLS handshake", false
	started := time.Now()
	c := tls.Client(n.raw, n.o.tlsConfig())
	budget := time.Duration(0)
	if n.hurried {
		budget = tlsBudget
	}
	ctx, cancel := WithTimeout(n.ctx, budget)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			return handshakeLost{n.silent()}
		}
		if isLost(err) {
			return handshakeLost{n.lost(err)}
		}
		return tlsError(n.addr, n.o.JID, err)
	}
	cs := c.ConnectionState()
	n.o.trace("%s with %s, certificate for %s until %s, in %s", tls.VersionName(cs.Version), n.addr,
		certNames(cs.PeerCertificates[0]), cs.PeerCertificates[0].NotAfter.Format(time.DateOnly), ms(started))
	n.conn = c
	return nil
}

// isTLS reports whether bytes are the beginning of a TLS record (RFC 8446, section 5.1).
// No text begins like that.
func isTLS(b []byte) bool { return len(b) > 0 && b[0] >= 0x14 && b[0] <= 0x17 }
