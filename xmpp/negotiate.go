package xmpp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
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

// startTLSBudget bounds the wait for <proceed/> from a server that offers no
// STARTTLS and does not refuse it either.
const startTLSBudget = 2 * time.Second

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
	raw    net.Conn // TCP; closing it ends whatever waits
	conn   net.Conn // raw, or TLS over it
	in     *arrival // of conn
	r      *wire.Reader
	doing  string // what is being waited for, for errors
	opened bool   // our stream header is out, so an error can be sent
	chosen bool   // the server has chosen the account, by a certificate

	hurried bool // there is another address to try: TLS gets no more than tlsBudget
}

// NewSession logs in over an open connection: by STARTTLS, or by direct TLS where
// o.TLS says so. It takes the connection over, and closes it if it fails. ctx
// bounds the login, not the session. The errors are those of Dial.
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

func (n *negotiation) start() (*Session, error) {
	stop := context.AfterFunc(n.ctx, func() { n.raw.Close() })
	s, err := n.run()
	if !stop() && n.ctx.Err() != nil {
		// The connection is closed under the session, if there is one at all.
		err = fmt.Errorf("%s with %s: %w", n.doing, n.addr, context.Cause(n.ctx))
	}
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

// secured reports whether TLS is up, with a certificate that is the domain's.
func (n *negotiation) secured() bool { return n.conn != n.raw }

func (n *negotiation) run() (*Session, error) {
	if n.o.TLS != TLSDirect {
		if err := n.startTLS(); err != nil {
			return nil, err
		}
	}
	if err := n.handshake(); err != nil {
		return nil, err
	}
	features, err := n.open("waiting for the stream features", n.o.JID.Bare())
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

// restart opens the stream after the login, with a first element behind it in the same
// flight (RFC 6120, section 6.4.6).
func (n *negotiation) restart(doing string, first *Element) (features *Element, err error) {
	if features, err = n.open(doing, n.o.JID.Bare(), first); err == nil {
		n.r.SetLimits(sessionLimits)
	}
	return features, err
}

// resume goes on with a session (XEP-0198, section 5), or binds a resource where the
// server does not have it any more.
func (n *negotiation) resume(r *Resumption) (*Session, error) {
	e := NewElement(NSManage, "resume", "previd", r.ID, "h", strconv.FormatUint(uint64(r.Handled), 10))
	features, err := n.restart("resuming a session", e)
	var answer *Element
	if err == nil {
		answer, err = n.next()
	}
	if errors.Is(err, errEnded) || errors.Is(err, io.ErrUnexpectedEOF) { // so does Prosody 0.12 where it disagrees about h
		return nil, resumeRefused{err}
	}
	if err != nil {
		return nil, err
	}
	if Is(answer, NSManage, "resumed") {
		h, err := r.resumedBy(answer, n.o.JID)
		if err != nil {
			return nil, resumeRefused{err}
		}
		s := newSession(n, r.JID, features)
		s.resumeFrom(r, h)
		n.o.trace("resumed %s: the server has %d stanzas of those sent", r.JID, h)
		return s, nil
	}
	if !Is(answer, NSManage, "failed") {
		return nil, resumeRefused{unexpected(answer, "instead of the answer to the resumption")}
	}
	condition, text := conditionOf(answer, NSStanzas)
	n.o.trace("the session cannot be resumed: %s", withText(string(condition), text))
	n.doing = "binding a resource"
	request := n.bindRequest(r.resource(n.o.JID))
	if err := n.write(nil, request); err != nil {
		return nil, resumeRefused{err}
	}
	s, err := n.bind(features, request)
	if err != nil {
		return nil, resumeRefused{err}
	}
	return s, nil
}

// resumedBy checks that a <resumed/> is of this session, and returns how many stanzas
// the server says it has got. What it cannot have got is no confirmation of anything.
func (r *Resumption) resumedBy(e *Element, account JID) (uint32, error) {
	h, err := strconv.ParseUint(Attr(e, "h"), 10, 32)
	switch {
	case Attr(e, "previd") != r.ID || r.JID.Domain != account.Domain:
		return 0, &StreamError{Condition: UndefinedCondition, Text: "the server resumed another session", Sent: true}
	case err != nil:
		return 0, &StreamError{Condition: UndefinedCondition, Text: "the server resumed the session without a count", Sent: true}
	case r.counted:
		if err := checkCount(uint32(h), r.acked, r.sent); err != nil {
			return 0, err
		}
	}
	return uint32(h), nil
}

// resumeRefused says that only a new session is of use. Prosody 0.12 ends the stream
// where it has forgotten a part of the old one.
type resumeRefused struct{ error }

func (e resumeRefused) Unwrap() error { return e.error }

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
	tag, _ := startTag(e) // a JID that was parsed holds nothing that XML cannot carry
	return tag
}

// startTLS asks for TLS whether it is offered or not, and goes on with nothing
// else (RFC 7590, section 3.1).
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
	case lost && !n.in.heard.Load():
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
	// RFC 6120, section 5.4.2.3: what follows <proceed/> is TLS. Anything that was
	// read ahead came in the clear, from whomever.
	if n.r.Buffered() > 0 {
		return &DialError{Op: "tls", Addr: n.addr, Err: errors.New("the server sent data before TLS was established")}
	}
	return nil
}

// mute is a connection that was lost before the server had said anything: it may be for
// direct TLS, or be a server that is just going.
type mute struct{ error }

func (e mute) Unwrap() error { return e.error }

// handshakeLost is a connection that was lost before anything of a login was sent.
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
	ctx, cancel := within(n.ctx, budget)
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

// open writes a stream header, with elements behind it in the same flight, and
// returns the features that answer it. Every stream has a parser of its own, so
// nothing that came before it is left (RFC 6120, section 5.4.3.3).
func (n *negotiation) open(doing string, from JID, behind ...*Element) (*Element, error) {
	n.doing = doing
	n.in = &arrival{Reader: n.conn}
	n.r = wire.NewReader(n.in, loginLimits)
	tag := n.header(from)
	n.o.traceTag(true, tag)
	if err := n.write([]byte("<?xml version='1.0'?>"+tag), behind...); err != nil {
		return nil, err
	}
	n.opened = true
	header, err := n.r.Header()
	if err != nil {
		return nil, n.noHeader(n.readError(err))
	}
	n.o.traceStart(header)
	switch ns, v := n.r.ContentNS(), Attr(header, "version"); {
	case !Is(header, NSStream, "stream"):
		return nil, n.stranger(fmt.Sprintf("it sent <%s/>", header.FullTag()), &StreamError{Condition: InvalidNamespace, Sent: true})
	case ns != NSClient:
		return nil, n.stranger(fmt.Sprintf("its stream is of %q, not of %q", ns, NSClient), &StreamError{Condition: InvalidNamespace, Sent: true})
	case !strings.HasPrefix(v, "1."):
		return nil, n.violation(&StreamError{Condition: UnsupportedVersion, Text: fmt.Sprintf("stream version %q", v), Sent: true})
	}
	// A server that does not know the domain may answer in another name, and
	// then say so: hear it out before judging the name.
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

// violation says whose stream it is that is wrong from its beginning.
func (n *negotiation) violation(err *StreamError) error {
	return &DialError{Op: "stream", Addr: n.addr, Err: err}
}

// A strange error is that of a peer that is no XMPP server.
type strange struct {
	said string // what tells
	err  *StreamError
}

func (e strange) Error() string   { return ErrNotXMPP.Error() + ": " + e.said }
func (e strange) Unwrap() []error { return []error{ErrNotXMPP, e.err} }

func (n *negotiation) stranger(said string, err *StreamError) error {
	return &DialError{Op: "stream", Addr: n.addr, Err: strange{said, err}}
}

// noHeader is the error of what is not XML where the header of a stream has to be.
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

// isTLS reports whether something is the beginning of a record of TLS (RFC 8446, section
// 5.1): no text begins so.
func isTLS(b []byte) bool { return len(b) > 0 && b[0] >= 0x14 && b[0] <= 0x17 }

func firstLine(b []byte) []byte {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.TrimSpace(line)
}

// An arrival reads from a connection, and calls wait before it may have to.
type arrival struct {
	io.Reader
	wait  func()
	heard atomic.Bool  // something has come
	reads atomic.Int64 // how often something has
	first []byte       // of that, some bytes; belongs to the reader
}

// firstBytes is how much of what came first is kept, for an error.
const firstBytes = 80

func (a *arrival) Read(b []byte) (int, error) {
	if a.wait != nil {
		a.wait()
	}
	n, err := a.Reader.Read(b)
	if n > 0 {
		a.heard.Store(true)
		a.first = append(a.first, b[:min(n, firstBytes-len(a.first))]...)

		a.reads.Add(1)
	}
	return n, err
}

// login authenticates by SASL (RFC 6120, section 6): one attempt with one mechanism.
func (n *negotiation) login(features *Element) error {
	offer := offerOf(features)
	cs := n.conn.(*tls.Conn).ConnectionState()
	client, err := sasl.Choose(offer, sasl.Credentials{
		Username: n.o.JID.Local, Password: string(n.o.Password),
		AllowPlain: n.o.AllowPlain, PlainForbidden: n.o.Memory.NoPlain,
		External: n.o.Certificate != nil,
	}, cs.Version, sasl.Bindings(&cs))
	if err != nil {
		return &AuthError{Err: err}
	}
	n.doing, n.chosen = "login by "+client.Mechanism, client.Mechanism == "EXTERNAL"
	if err := n.exchange(client); err != nil {
		if a, ok := errors.AsType[*AuthError](err); ok {
			a.guessed = client.Guessed && namesBinding(a)
		}
		return err
	}
	if n.r.Buffered() > 0 {
		return &StreamError{Condition: PolicyViolation, Text: "data after the success of the login", Sent: true}
	}
	binding := client.Binding
	if binding == "" {
		binding = "no channel binding"
	}
	n.o.trace("logged in by %s (%s)", client.Mechanism, binding)
	n.o.Memory.NoPlain = n.o.Memory.NoPlain || client.Mechanism != "PLAIN"
	n.o.Memory.TLSUnique = n.o.Memory.TLSUnique && offer.BindingTypes == nil && client.Binding == "tls-unique"
	return nil
}

// namesBinding reports whether a refusal can be about the channel binding. Where
// the server says that it is about the password, another attempt only counts
// against the account.
func namesBinding(a *AuthError) bool {
	return a.Condition == NotAuthorized && (a.Text == "" || strings.Contains(strings.ToLower(a.Text), "binding"))
}

func offerOf(features *Element) sasl.Offer {
	var o sasl.Offer
	for _, m := range Children(Child(features, NSSASL, "mechanisms"), NSSASL, "mechanism") {
		o.Mechanisms = append(o.Mechanisms, strings.TrimSpace(TextOf(m)))
	}
	if cb := Child(features, NSBinding, "sasl-channel-binding"); cb != nil {
		o.BindingTypes = []string{}
		for _, t := range Children(cb, NSBinding, "channel-binding") {
			o.BindingTypes = append(o.BindingTypes, Attr(t, "type"))
		}
	}
	return o
}

func (n *negotiation) exchange(client *sasl.Client) error {
	broke := func(err error) error { return &AuthError{Mechanism: client.Mechanism, Err: err} }
	initial, err := client.Start()
	if err != nil {
		return broke(err)
	}
	auth := NewText(NSSASL, "auth", sasl.Encode(initial))
	auth.CreateAttr("mechanism", client.Mechanism)
	for answer := auth; ; {
		if err := n.write(nil, answer); err != nil {
			return err
		}
		e, err := n.next()
		switch {
		case err != nil:
			return err
		case Is(e, NSSASL, "success"):
			data, err := sasl.Decode(TextOf(e))
			if err == nil {
				err = client.Finish(data)
			}
			if err != nil {
				return broke(err)
			}
			return nil
		case Is(e, NSSASL, "failure"):
			condition, text := conditionOf(e, NSSASL)
			return &AuthError{Mechanism: client.Mechanism, Condition: condition, Text: text}
		case !Is(e, NSSASL, "challenge"):
			return unexpected(e, "during the login")
		}
		response, err := n.compute(client, e)
		if err != nil {
			return broke(err)
		}
		answer = NewElement(NSSASL, "response")
		if response != nil {
			answer.SetText(sasl.Encode(response))
		}
	}
}

// compute runs the key derivation, which a server can make take seconds, aside, so
// that the context still ends the login.
func (n *negotiation) compute(client *sasl.Client, challenge *Element) ([]byte, error) {
	data, err := sasl.Decode(TextOf(challenge))
	if err != nil {
		return nil, err
	}
	type result struct {
		response []byte
		err      error
	}
	done := make(chan result, 1)
	go func() {
		response, err := client.Next(data)
		done <- result{response, err}
	}()
	select {
	case r := <-done:
		return r.response, r.err
	case <-n.ctx.Done():
		return nil, context.Cause(n.ctx)
	}
}

// bind waits for the answer to a request to bind a resource (RFC 6120, section 7).
func (n *negotiation) bind(features, request *Element) (*Session, error) {
	result, err := n.answerTo(request)
	if e, ok := errors.AsType[*StanzaError](err); ok && n.o.JID.Resource != "" && !n.o.OwnResource && refusesResource(e.Condition) {
		request = n.bindRequest("")
		if err = n.write(nil, request); err == nil {
			result, err = n.answerTo(request)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("bind a resource: %w", err)
	}
	bound, err := n.boundJID(result)
	if err != nil {
		return nil, err
	}
	if err := n.legacySession(features); err != nil {
		return nil, err
	}
	n.o.trace("bound %s", bound)
	return newSession(n, bound, features), nil
}

// refusesResource reports whether an answer to a request to bind is about the resource: it
// is taken or, by the rules of the server, none (RFC 6120, section 7.7.2). Ejabberd 23.01
// takes no Arabic one that ends in a letter of ours.
func refusesResource(c Condition) bool {
	return c == Conflict || c == BadRequest || c == "not-acceptable" || c == "jid-malformed"
}

func (n *negotiation) bindRequest(resource string) *Element {
	b := NewElement(NSBind, "bind")
	if resource != "" {
		Add(b, NewText(NSBind, "resource", resource))
	}
	return NewIQ("set", JID{}, b)
}

// boundJID reads the address that the server gave, which is the truth (RFC 6120,
// section 4.3.6) as long as it is of the domain, and the account the one that was asked
// for: whoever has logged in by its name, however the server spells that.
func (n *negotiation) boundJID(result *Element) (JID, error) {
	account := n.o.JID.Bare()
	text, _ := Text(Child(result, NSBind, "bind"), NSBind, "jid")
	j, err := SplitJID(text)
	if err != nil || j.Local == "" || j.Resource == "" || j.Domain != account.Domain || n.chosen && !j.Bare().Alike(account) {
		return JID{}, &StreamError{Condition: UndefinedCondition, Text: fmt.Sprintf("the server bound %q to %s", text, account), Sent: true}
	}
	return j, nil
}

// legacySession establishes the session that RFC 3921 had and RFC 6121 dropped,
// where the server does not call it optional.
func (n *negotiation) legacySession(features *Element) error {
	session := Child(features, NSSession, "session")
	if session == nil || Child(session, NSSession, "optional") != nil {
		return nil
	}
	request := NewIQ("set", JID{}, NewElement(NSSession, "session"))
	if err := n.write(nil, request); err != nil {
		return err
	}
	if _, err := n.answerTo(request); err != nil {
		return fmt.Errorf("establish a session: %w", err)
	}
	return nil
}

// answerTo waits for the server's answer to a request; nothing else matters yet.
func (n *negotiation) answerTo(request *Element) (*Element, error) {
	for {
		e, err := n.next()
		if err != nil {
			return nil, err
		}
		if !Is(e, NSClient, "iq") || Attr(e, "id") != Attr(request, "id") || !fromOwnServer(e, n.o.JID) {
			continue
		}
		switch Attr(e, "type") {
		case "result":
			return e, nil
		case "error":
			return nil, ErrorOf(e)
		}
	}
}

// next returns the next element; a stream error is an error.
func (n *negotiation) next() (*Element, error) {
	e, _, err := n.o.receive(n.r)
	if err != nil {
		return nil, n.readError(err)
	}
	switch flaw := n.r.Flaw(); {
	case Is(e, NSStream, "error"):
		return nil, streamError(e, n.secured())
	case flaw != "": // so far the server says all of this itself
		return nil, &StreamError{Condition: PolicyViolation, Text: flaw, Sent: true}
	}
	return e, nil
}

// write writes elements, behind what has to come first, in one flight.
func (n *negotiation) write(flight []byte, elements ...*Element) error {
	for _, e := range elements {
		var err error
		if flight, err = wire.Append(flight, e); err != nil {
			return err
		}
		n.o.traceElement(true, e)
	}
	if err := put(n.conn, flight, writeBudget); err != nil {
		return n.lost(err)
	}
	return nil
}

func (n *negotiation) readError(err error) error {
	return readError(err, n.lost)
}

func (n *negotiation) lost(err error) error {
	return fmt.Errorf("%w: %s with %s: %w", ErrLost, n.doing, n.addr, err)
}

// silent is the error of a server that takes longer than tlsBudget.
func (n *negotiation) silent() error { return n.lost(errSlow) }

var errSlow = fmt.Errorf("no answer within %s", tlsBudget)

// close ends a stream that came to nothing. The server is told what is wrong with
// what it sent, except one that may not be the server at all.
func (n *negotiation) close(err error) {
	defer time.AfterFunc(closeBudget, func() { n.raw.Close() }).Stop()
	stream, violated := errors.AsType[*StreamError](err)
	switch {
	case !n.opened || n.ctx.Err() != nil || errors.Is(err, ErrLost) || errors.Is(err, sasl.ErrServer):
		n.raw.Close()
	case violated && stream.Sent:
		_ = n.o.end(n.conn, streamErrorXML(stream))
	case n.secured(): // in the clear nothing more is said
		_ = n.o.end(n.conn, endOfStream)
	}
	n.conn.Close()
}

// readError translates an error of the wire reader.
func readError(err error, lost func(error) error) error {
	syntax := (*wire.SyntaxError)(nil)
	switch {
	case errors.As(err, &syntax):
		return &StreamError{Condition: Condition(syntax.Condition), Text: syntax.Reason, Sent: true}
	case err == io.EOF:
		return lost(errEnded)
	}
	return lost(err)
}

var errEnded = errors.New("the server closed the stream")

// isLost reports whether err is the end of a connection, not its refusal.
func isLost(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &op) && (op.Op == "read" || op.Op == "write")
}

// streamError reads a stream error. One that comes before TLS is from whoever is
// there, so it cannot send us elsewhere (RFC 6120, section 4.9.3.19).
func streamError(e *Element, secured bool) error {
	condition, text := conditionOf(e, NSStreams)
	err := &StreamError{Condition: condition, Text: text}
	if host, ok := Text(e, NSStreams, string(SeeOtherHost)); ok && condition == SeeOtherHost {
		err.Text = withText(host, text)
		if secured && isServer(host) {
			err.Host = host
		}
	}
	return err
}

func streamErrorXML(e *StreamError) string {
	specific := ""
	if e.specific != nil {
		specific = string(xmlOf([]*Element{e.specific}))
	}
	return fmt.Sprintf("<stream:error><%s xmlns='%s'/>%s</stream:error>%s", e.Condition, NSStreams, specific, endOfStream)
}

func unexpected(e *Element, when string) *StreamError {
	return &StreamError{Condition: UnsupportedStanzaType, Text: fmt.Sprintf("<%s/> %s", e.Tag, when), Sent: true}
}
