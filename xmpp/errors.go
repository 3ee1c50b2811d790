package xmpp

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"xmppkit/xmpp/internal/wire"
)

// A Condition is the name of a defined error condition of a stanza (RFC 6120,
// section 8.3.3), a stream (section 4.9.3) or a login (section 6.5).
type Condition string

// The conditions that this program sends or checks.
const (
	BadRequest             Condition = "bad-request"
	Conflict               Condition = "conflict"
	FeatureNotImplemented  Condition = "feature-not-implemented"
	ServiceUnavailable     Condition = "service-unavailable"
	NotAuthorized          Condition = "not-authorized"
	InvalidFrom            Condition = "invalid-from"
	InvalidNamespace       Condition = "invalid-namespace"
	PolicyViolation        Condition = "policy-violation"
	UnsupportedStanzaType  Condition = "unsupported-stanza-type"
	UnsupportedVersion     Condition = "unsupported-version"
	UndefinedCondition     Condition = "undefined-condition"
	TemporaryAuthFailure   Condition = "temporary-auth-failure"
	RemoteServerNotFound   Condition = "remote-server-not-found"
	RemoteServerTimeout    Condition = "remote-server-timeout"
	ItemNotFound           Condition = "item-not-found"
	Gone                   Condition = "gone"
	Redirect               Condition = "redirect"
	InternalServerError    Condition = "internal-server-error"
	ResourceConstraint     Condition = "resource-constraint"
	SeeOtherHost           Condition = "see-other-host"
	RemoteConnectionFailed Condition = "remote-connection-failed"
	RecipientUnavailable   Condition = "recipient-unavailable"
)

// ErrLost says that the connection ended without a stream error. Unconfirmed stanzas
// may or may not have arrived.
var ErrLost = errors.New("connection lost")

// ErrNotXMPP says that the peer is not an XMPP server for clients.
var ErrNotXMPP = errors.New("it does not speak XMPP with clients")

// ErrDirectTLS and ErrStartTLS say that TLS begins differently on that port.
var (
	ErrDirectTLS = errors.New("the port is for direct TLS")
	ErrStartTLS  = errors.New("the port is for STARTTLS")
)

// ErrUseless says, together with ErrLost, that the server resumed a session and then did not
// answer in it. Only a new session helps.
var ErrUseless = errors.New("the resumed session does not work")

// ErrTooLarge says that a stanza was not sent, because it is larger than the server
// accepts.
var ErrTooLarge = errors.New("stanza too large")

// ErrNotSent says, together with the reason, that nothing was sent.
var ErrNotSent = errors.New("not sent")

type notSent struct{ error }

func (e notSent) Unwrap() error        { return e.error }
func (e notSent) Is(target error) bool { return target == ErrNotSent }

// A LimitError says that a stanza exceeds a limit of ours, or has names that XML namespaces
// do not allow. Its author is to blame, not the server that relayed it, so the stream
// continues.
type LimitError struct {
	Reason string // such as "nested too deeply (more than 32 levels)"
}

func (e *LimitError) Error() string { return e.Reason }

// A StanzaError is the answer of type error to a stanza (RFC 6120, section 8.3).
type StanzaError struct {
	Condition Condition
	Type      string // auth, cancel, continue, modify or wait
	Text      string // the other side's explanation; untrusted
	By        string // the entity that raised it, if the error names it
	Address   string // of gone and redirect: the new address or URI, if there is one
}

func (e *StanzaError) Error() string {
	s := string(e.Condition)
	if e.Address != "" {
		s += ", new address " + Clip(e.Address, shown)
	}
	return withText(s, e.Text)
}

// A StreamError ended the stream (RFC 6120, section 4.9).
type StreamError struct {
	Condition Condition
	Text      string // the explanation of the peer, or of the local check
	Sent      bool   // raised by this side, about what the peer sent
	Host      string // of see-other-host inside TLS: HOST[:PORT] to connect to

	specific *Element // the application's own condition, to be sent
}

func (e *StreamError) Error() string {
	switch {
	case e.Sent && e.Condition == PolicyViolation: // a limit of ours, which is in no protocol
		return withText("refused what the server sent, "+string(e.Condition), e.Text)
	case e.Sent:
		return withText("protocol violation by the server, "+string(e.Condition), e.Text)
	}
	return withText("stream error "+string(e.Condition), e.Text)
}

// An AuthError is a login that the server refused, or that this side aborted.
type AuthError struct {
	Mechanism string
	Condition Condition // the server's answer (RFC 6120, section 6.5); "" if this side aborted
	Text      string
	Err       error // why this side aborted: see package sasl

	guessed bool // the reason may be a channel binding that had to be guessed
}

func (e *AuthError) Error() string {
	if e.Err != nil {
		return "login: " + Clip(oneLine(e.Err.Error()), 2*shown)
	}
	return withText("login by "+e.Mechanism+" refused: "+string(e.Condition), e.Text)
}

func (e *AuthError) Unwrap() error { return e.Err }

// A DialError is the failure of a connection, of its TLS layer or of its first stream.
type DialError struct {
	Op   string // "dns", "connect", "tls" or "stream"
	Addr string // host:port that was tried, with the address in parentheses if the host was looked up; or the name that was looked up
	Pin  string // for a certificate that did not verify: the pin that accepts it
	Err  error
}

func (e *DialError) Error() string {
	switch e.Op {
	case "dns":
		return fmt.Sprintf("look up %s: %s", e.Addr, lookupReason(e.Err))
	case "tls":
		return fmt.Sprintf("TLS with %s: %s", Clip(e.Addr, shown), Clip(oneLine(e.Err.Error()), 2*shown)) // it may contain names from a certificate
	case "stream":
		return fmt.Sprintf("stream with %s: %s", Clip(e.Addr, shown), Clip(oneLine(e.Err.Error()), 2*shown))
	}
	return fmt.Sprintf("connect to %s: %v", e.Addr, e.Err)
}

func (e *DialError) Unwrap() error { return e.Err }

// withText adds the other side's explanation.
func withText(s, text string) string {
	s = Clip(s, 2*shown) // the other side has chosen the condition
	if text = oneLine(text); text == "" {
		return s
	}
	return s + " (" + Clip(text, shown) + ")"
}

// shown is how many bytes of a peer's words an error shows.
const shown = 200

// Clip cuts s to about max bytes, between characters. An ellipsis says so.
func Clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max] + "…"
}

// oneLine keeps text from a peer from looking like a separate error.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// ErrorOf returns the error that a stanza of type error carries.
func ErrorOf(stanza *Element) *StanzaError {
	e := Child(stanza, Namespace(stanza), "error")
	if e == nil {
		return &StanzaError{Condition: UndefinedCondition, Type: "cancel"}
	}
	condition, text := conditionOf(e, NSStanzas)
	typ := Attr(e, "type")
	switch typ {
	case "auth", "cancel", "continue", "modify", "wait":
	default:
		typ = "cancel"
	}
	if !slices.Contains(stanzaConditions(), condition) {
		condition = UndefinedCondition
	}
	return &StanzaError{Condition: condition, Type: typ, Text: text, By: Attr(e, "by"), Address: newAddress(e, condition)}
}

// maxReason is how much of the text of an error is kept, in bytes.
const maxReason = 4 << 10

// KeptErrorOf is ErrorOf for an error that outlives its stanza: long texts are cut.
func KeptErrorOf(stanza *Element) *StanzaError {
	err := ErrorOf(stanza)
	for _, s := range []*string{&err.Text, &err.By, &err.Address} {
		*s = strings.Clone(Clip(*s, maxReason))
	}
	return err
}

// newAddress returns the new address of an entity (RFC 6120, sections 8.3.3.5 and
// 8.3.3.14), if it is a JID or a URI.
func newAddress(e *Element, condition Condition) string {
	if condition != Gone && condition != Redirect {
		return ""
	}
	text, _ := Text(e, NSStanzas, string(condition))
	text = strings.TrimSpace(text)
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return ""
	}
	if u, err := url.Parse(text); err == nil && u.Scheme != "" && u.Opaque+u.Host+u.Path != "" {
		return text
	}
	if _, err := ParseJID(text); err != nil {
		return ""
	}
	return text
}

// stanzaConditions are those of RFC 6120, section 8.3.3, and those that it took over from
// XEP-0086.
func stanzaConditions() []Condition {
	return []Condition{
		BadRequest, Conflict, FeatureNotImplemented, "forbidden", Gone, InternalServerError, ItemNotFound,
		"jid-malformed", "not-acceptable", "not-allowed", NotAuthorized, "payment-required", PolicyViolation,
		RecipientUnavailable, Redirect, "registration-required", RemoteServerNotFound, RemoteServerTimeout,
		ResourceConstraint, ServiceUnavailable, "subscription-required", UndefinedCondition, "unexpected-request",
	}
}

// conditionOf reads the condition and text of an error element, whose defined
// condition is its only other child in the namespace ns.
func conditionOf(e *Element, ns string) (Condition, string) {
	condition, specific := UndefinedCondition, ""
	for c := range Elements(e) {
		switch {
		case Namespace(c) != ns:
			specific = c.Tag // the application's own name for it
		case c.Tag != "text" && condition == UndefinedCondition:
			condition = Condition(c.Tag)
		}
	}
	text := ""
	if t := InLang(e, ns, "text"); t != nil {
		text = TextOf(t)
	}
	return condition, cmp.Or(text, specific)
}

// wireError translates an error of the wire reader.
func wireError(err error, lost func(error) error) error {
	syntax := (*wire.SyntaxError)(nil)
	switch {
	case errors.As(err, &syntax):
		return &StreamError{Condition: Condition(syntax.Condition), Text: syntax.Reason, Sent: true}
	case err == io.EOF:
		return lost(errEnded)
	}
	return lost(err)
}

// isLost reports whether err is the end of a connection, not its refusal.
func isLost(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &op) && (op.Op == "read" || op.Op == "write")
}

// streamErrorOf reads a stream error. Before TLS anybody can send one, so it cannot
// redirect (RFC 6120, section 4.9.3.19).
func streamErrorOf(e *Element, secured bool) error {
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
		specific = string(ownXML([]*Element{e.specific}))
	}
	return fmt.Sprintf("<stream:error><%s xmlns='%s'/>%s</stream:error>%s", e.Condition, NSStreams, specific, endOfStream)
}

func unexpected(e *Element, when string) *StreamError {
	return &StreamError{Condition: UnsupportedStanzaType, Text: fmt.Sprintf("<%s/> %s", e.Tag, when), Sent: true}
}

// worded is an error of a library, in words for users.
type worded struct {
	error
	words string
}

func (e worded) Error() string { return e.words }
func (e worded) Unwrap() error { return e.error }

// plainly drops the operation and the addresses from an error of package net, because the
// text around it already has them.
func plainly(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return worded{err, "the server closed the connection"}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "read" || op.Op == "write") {
		var number syscall.Errno
		if errors.As(op.Err, &number) {
			return worded{err, number.Error()}
		}
	}
	return err
}
