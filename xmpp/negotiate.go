package xmpp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/beevik/etree"

	"xmppkit/xmpp/internal/wire"
	"xmppkit/xmpp/sasl"
)

// Limits of what a server may send (RFC 6120, section 13.12, leaves them to us).
var (
	loginLimits   = wire.Limits{Stanza: 64 << 10, Total: 256 << 10}
	sessionLimits = wire.Limits{Stanza: 10 << 20, End: 64 << 20, Nodes: 1 << 20}
)

// A negotiation takes a connection to a bound session. Each of its flights is one
// Write:
//
//	header + <starttls/>         (not with direct TLS)
//	header                       after TLS
//	<auth/>, then <response/>s
//	header + bind                after <success/>
type negotiation struct {
	ctx    context.Context
	o      Options
	addr   string
	raw    net.Conn    // TCP; closing it ends every wait
	conn   net.Conn    // raw, or TLS over it
	in     *connReader // of conn
	r      *wire.Reader
	doing  string // what the negotiation is waiting for, for errors
	opened bool   // our stream header has been sent, so a stream error can follow
	chosen bool   // the server has chosen the account, by a certificate

	hurried bool // there is another address to try, so TLS gets no more than tlsBudget
}

// NewSession logs in over an open connection, with STARTTLS unless o.TLS is TLSDirect.
// It owns the connection from then on, and closes it on failure. ctx bounds the login,
// not the session. The errors are those of Dial.
func NewSession(ctx context.Context, c net.Conn, o Options) (*Session, error) {
	s, err := newNegotiation(ctx, c, o, c.RemoteAddr().String()).start()
	if err == nil {
		s.resend()
	}
	return s, err
}

func newNegotiation(ctx context.Context, c net.Conn, o Options, addr string) *negotiation {
	if o.Memory == nil {
		o.Memory = new(Memory)
	}
	return &negotiation{ctx: ctx, o: o, addr: addr, raw: c, conn: c}
}

func (n *negotiation) start() (s *Session, err error) {
	err = n.bounded(func() (err error) { s, err = n.run(); return err })
	if err != nil {
		n.close(err)
		return nil, err
	}
	go s.read()
	if n.o.KeepAlive > 0 {
		go s.keepAlive(n.o.KeepAlive)
	}
	return s, nil
}

// bounded runs a part of the negotiation, and aborts it when ctx ends.
func (n *negotiation) bounded(part func() error) error {
	stop := context.AfterFunc(n.ctx, func() { n.raw.Close() })
	err := part()
	if !stop() && n.ctx.Err() != nil {
		// The connection is closed, even if the part has completed.
		err = fmt.Errorf("%s with %s: %w", n.doing, n.addr, context.Cause(n.ctx))
	}
	return err
}

// secured reports whether TLS is up, with a certificate that is the domain's.
func (n *negotiation) secured() bool { return n.conn != n.raw }

// secure begins TLS and opens the stream inside it, which names the account unless
// that is zero.
func (n *negotiation) secure(account JID) (features *Element, err error) {
	if n.o.TLS != TLSDirect {
		if err := n.startTLS(); err != nil {
			return nil, err
		}
	}
	if err := n.handshake(); err != nil {
		return nil, err
	}
	return n.open("waiting for the stream features", account)
}

func (n *negotiation) run() (*Session, error) {
	features, err := n.secure(n.o.JID.Bare())
	if err != nil {
		return nil, err
	}
	if err := n.login(features); err != nil {
		return nil, err
	}
	if n.o.Resume != nil {
		return n.resume(n.o.Resume)
	}
	request := n.bindRequest(n.o.JID.Resource)
	if features, err = n.restart("binding a resource", request); err != nil {
		return nil, err
	}
	return n.bind(features, request)
}

// restart opens the stream after the login (RFC 6120, section 6.4.6), and sends a first
// element in the same flight.
func (n *negotiation) restart(doing string, first *Element) (features *Element, err error) {
	if features, err = n.open(doing, n.o.JID.Bare(), first); err == nil {
		n.r.SetLimits(sessionLimits)
	}
	return features, err
}

// header is a stream header. It names the account only inside TLS (RFC 6120,
// section 4.7.1).
func (n *negotiation) header(from JID) string {
	e := etree.NewElement("stream:stream")
	if !from.IsZero() {
		e.CreateAttr("from", from.String())
	}
	e.CreateAttr("to", n.o.JID.Domain)
	e.CreateAttr("version", "1.0")
	e.CreateAttr("xml:lang", "en")
	e.CreateAttr("xmlns", NSClient)
	e.CreateAttr("xmlns:stream", NSStream)
	tag, _ := startTag(e) // XML can carry every parsed JID
	return tag
}

// open writes a stream header, with elements after it in the same flight, and returns
// the features that answer it. Every stream has a parser of its own, so nothing from
// before it is left (RFC 6120, section 5.4.3.3).
func (n *negotiation) open(doing string, from JID, after ...*Element) (*Element, error) {
	n.doing = doing
	n.in = &connReader{Reader: n.conn}
	n.r = wire.NewReader(n.in, loginLimits)
	tag := n.header(from)
	n.o.traceTag(true, tag)
	if err := n.write([]byte("<?xml version='1.0'?>"+tag), after...); err != nil {
		return nil, err
	}
	n.opened = true
	header, err := n.r.Header()
	if err != nil {
		return nil, n.noHeader(wireError(err, n.lost))
	}
	n.o.traceStart(header)
	switch ns, v := n.r.ContentNS(), Attr(header, "version"); {
	case !Is(header, NSStream, "stream"):
		return nil, n.stranger(fmt.Sprintf("it sent <%s/>", header.FullTag()), &StreamError{Condition: InvalidNamespace, Sent: true})
	case ns != NSClient:
		return nil, n.stranger(fmt.Sprintf("its stream is in the namespace %q, not %q", ns, NSClient), &StreamError{Condition: InvalidNamespace, Sent: true})
	case !strings.HasPrefix(v, "1."):
		return nil, n.violation(&StreamError{Condition: UnsupportedVersion, Text: fmt.Sprintf("stream version %q", v), Sent: true})
	}
	// A server that does not know the domain may answer with another name, followed by
	// an error that explains it. So read that error before checking the name.
	features, err := n.next()
	if err != nil {
		return nil, err
	}
	if from := Attr(header, "from"); from != "" {
		if j, err := SplitJID(from); err != nil || j != (JID{Domain: n.o.JID.Domain}) {
			return nil, n.violation(&StreamError{Condition: InvalidFrom, Text: fmt.Sprintf("the stream is from %q", from), Sent: true})
		}
	}
	if Attr(header, "id") == "" {
		return nil, n.violation(&StreamError{Condition: "bad-format", Text: "the stream has no id", Sent: true})
	}
	if !Is(features, NSStream, "features") {
		return nil, n.violation(unexpected(features, "instead of the stream features"))
	}
	return features, nil
}

// violation adds the server to the error of a bad stream header.
func (n *negotiation) violation(err *StreamError) error {
	return &DialError{Op: "stream", Addr: n.addr, Err: err}
}

// An unusual error reports a peer that is not an XMPP server.
type strange struct {
	sign string // that it is not
	err  *StreamError
}

func (e strange) Error() string   { return ErrNotXMPP.Error() + ": " + e.sign }
func (e strange) Unwrap() []error { return []error{ErrNotXMPP, e.err} }

func (n *negotiation) stranger(sign string, err *StreamError) error {
	return &DialError{Op: "stream", Addr: n.addr, Err: strange{sign, err}}
}

// noHeader is the error of a peer that did not send a stream header.
func (n *negotiation) noHeader(err error) error {
	violation, ok := errors.AsType[*StreamError](err)
	switch {
	case !ok:
		return err
	case !n.secured() && isTLS(n.in.first):
		return &DialError{Op: "tls", Addr: n.addr, Err: ErrDirectTLS}
	}
	return n.stranger(fmt.Sprintf("it sent %q", firstLine(n.in.first)), violation)
}

func firstLine(b []byte) []byte {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.TrimSpace(line)
}

// next returns the next element; a stream error is an error.
func (n *negotiation) next() (*Element, error) {
	e, _, err := n.o.receive(n.r)
	if err != nil {
		return nil, wireError(err, n.lost)
	}
	switch flaw := n.r.Flaw(); {
	case Is(e, NSStream, "error"):
		return nil, streamErrorOf(e, n.secured())
	case flaw != "": // before the login nothing is relayed: this comes from the server itself
		return nil, &StreamError{Condition: PolicyViolation, Text: flaw, Sent: true}
	}
	return e, nil
}

// write appends elements to a flight and writes it with one Write.
func (n *negotiation) write(flight []byte, elements ...*Element) error {
	for _, e := range elements {
		var err error
		if flight, err = wire.Append(flight, e); err != nil {
			return err
		}
		n.o.traceElement(true, e)
	}
	if err := writeWithin(n.conn, flight, writeBudget); err != nil {
		return n.lost(err)
	}
	return nil
}

func (n *negotiation) lost(err error) error {
	return fmt.Errorf("%w: %s with %s: %w", ErrLost, n.doing, n.addr, plainly(err))
}

// silent is the error of a server that takes longer than tlsBudget.
func (n *negotiation) silent() error { return n.lost(errSlow) }

var errSlow = fmt.Errorf("no answer within %s", tlsBudget)

// close ends a stream without a session. It tells the server what was wrong with its
// XML, unless the peer may not be the server at all.
func (n *negotiation) close(err error) {
	defer time.AfterFunc(closeBudget, func() { n.raw.Close() }).Stop()
	stream, violated := errors.AsType[*StreamError](err)
	switch {
	case !n.opened || n.ctx.Err() != nil || errors.Is(err, ErrLost) || errors.Is(err, sasl.ErrServer):
		n.raw.Close()
	case violated && stream.Sent:
		_ = n.o.end(n.conn, streamErrorXML(stream))
	case n.secured(): // before TLS nothing more is sent
		_ = n.o.end(n.conn, endOfStream)
	}
	n.conn.Close()
}

var errEnded = errors.New("the server closed the stream")
