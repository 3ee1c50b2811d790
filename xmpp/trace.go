package xmpp

import (
	"io"
	"strings"
	"time"

	"xmppkit/xmpp/internal/wire"
)

const (
	nsSASL2     = "urn:xmpp:sasl:2" // XEP-0388
	nsData      = "jabber:x:data"   // XEP-0004
	endOfStream = "</stream:stream>"
)

// hidden replaces a secret in a trace.
const hidden = "***"

func (o *Options) traceElement(out bool, e *Element) {
	if o.TraceXML == nil {
		return
	}
	c := e.Copy()
	hideSecrets(c)
	if b, err := XML(c); err == nil { // otherwise it is not written either
		o.TraceXML(out, string(b))
	}
}

// traceTag shows the tags of the stream, which are not whole elements.
func (o *Options) traceTag(out bool, tag string) {
	if o.TraceXML != nil {
		o.TraceXML(out, tag)
	}
}

// traceStart shows the header of the server's stream.
func (o *Options) traceStart(header *Element) {
	if o.TraceXML == nil {
		return
	}
	if tag, err := startTag(header); err == nil {
		o.TraceXML(false, tag)
	}
}

// startTag returns the start tag of an element that has no end yet: the stream.
func startTag(e *Element) (string, error) {
	b, err := wire.Append(nil, e)
	return strings.TrimSuffix(string(b), "/>") + ">", err
}

// receive reads the next element of a stream.
func (o *Options) receive(r *wire.Reader) (*Element, int64, error) {
	e, size, err := r.Next()
	switch err {
	case nil:
		o.traceElement(false, e)
	case io.EOF:
		o.traceTag(false, endOfStream)
	}
	return e, size, err
}

// hideSecrets replaces what would let a reader of the trace log in, take the session
// over, or guess the password offline, for which a challenge and its response are enough.
// It works on elements before they are formatted, so no encoding or spelling of a secret
// slips through.
func hideSecrets(e *Element) {
	if holdsSecret(e) && len(e.Child) > 0 {
		e.Child = nil
		e.SetText(hidden)
	}
	for i := range e.Attr {
		if a := &e.Attr[i]; a.Value != "" && isSecretAttr(e, a.Key) {
			a.Value = hidden
		}
	}
	for c := range Elements(e) {
		hideSecrets(c)
	}
}

// holdsSecret looks at the name alone if the name is clear: XEP-0077, XEP-0078 and XEP-0045
// have passwords, and others will.
func holdsSecret(e *Element) bool {
	switch e.Tag {
	case "password", "secret", "digest", "key", "token":
		return true
	case "auth", "challenge", "response", "success":
		return Namespace(e) == NSSASL || Namespace(e) == nsSASL2 && e.Tag != "success" // its parts are handled one by one
	case "initial-response", "additional-data":
		return Namespace(e) == nsSASL2
	case "field":
		name := strings.ToLower(Attr(e, "var"))
		return Namespace(e) == nsData && (Attr(e, "type") == "text-private" || strings.Contains(name, "password") || strings.Contains(name, "secret"))
	}
	return false
}

func isSecretAttr(e *Element, name string) bool {
	switch name {
	case "password", "token":
		return true
	case "id", "previd": // with which a session is resumed
		return Namespace(e) == NSManage || e.Tag == "user-agent" && Namespace(e) == nsSASL2
	}
	return false
}

func (o *Options) trace(format string, args ...any) {
	if o.Trace != nil {
		o.Trace(format, args...)
	}
}

func ms(since time.Time) string { return time.Since(since).Round(100 * time.Microsecond).String() }
