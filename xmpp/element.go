package xmpp

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/beevik/etree"

	"xmppkit/xmpp/internal/wire"
)

// Element is an XML element. Elements that a Session delivers are canonical:
// without prefixes, with an xmlns attribute where the namespace differs from the
// parent's, and always on a stanza, so that one can be kept, compared, printed
// and parsed again out of its stream.
//
// Look children up with Child, Children and Text. The lookups of etree compare
// prefixes, not namespaces, and are not used here.
type Element = etree.Element

// The namespaces that the core speaks.
const (
	NSClient  = "jabber:client"
	NSStream  = "http://etherx.jabber.org/streams"
	NSStreams = "urn:ietf:params:xml:ns:xmpp-streams"
	NSStanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
	NSTLS     = "urn:ietf:params:xml:ns:xmpp-tls"
	NSSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	NSBinding = "urn:xmpp:sasl-cb:0" // XEP-0440
	NSBind    = "urn:ietf:params:xml:ns:xmpp-bind"
	NSSession = "urn:ietf:params:xml:ns:xmpp-session"
	NSLimits  = "urn:xmpp:stream-limits:0" // XEP-0478
	NSPing    = "urn:xmpp:ping"            // XEP-0199
	NSRoster  = "jabber:iq:roster"
)

// NewElement makes an element of a namespace with attributes given as name, value,
// name, value. It panics on an odd number of those, as strings.NewReplacer does: that
// is a bug in the program, not in its input.
func NewElement(ns, name string, attrs ...string) *Element {
	if len(attrs)%2 != 0 {
		panic("xmpp.NewElement: odd attribute count")
	}
	e := etree.NewElement(name)
	e.CreateAttr("xmlns", ns)
	for i := 0; i < len(attrs); i += 2 {
		e.CreateAttr(attrs[i], attrs[i+1])
	}
	return e
}

// Add appends children to e and returns e. A child in the namespace of e loses its own
// declaration of that.
func Add(e *Element, children ...*Element) *Element {
	ns := Namespace(e)
	for _, c := range children {
		if Namespace(c) == ns {
			c.RemoveAttr("xmlns")
		}
		e.AddChild(c)
	}
	return e
}

// NewText makes an element that holds text.
func NewText(ns, name, text string) *Element {
	e := NewElement(ns, name)
	e.SetText(text)
	return e
}

// Namespace returns the namespace of e.
func Namespace(e *Element) string {
	for ; e != nil; e = e.Parent() {
		for i := range e.Attr {
			if a := &e.Attr[i]; a.Space == "" && a.Key == "xmlns" {
				return a.Value
			}
		}
	}
	return ""
}

// Is reports whether e is the element name of the namespace ns.
func Is(e *Element, ns, name string) bool {
	return e != nil && e.Tag == name && e.Space == "" && Namespace(e) == ns
}

// Child returns the first child of e with that name and namespace, or nil.
func Child(e *Element, ns, name string) *Element {
	for c := range Elements(e) {
		if Is(c, ns, name) {
			return c
		}
	}
	return nil
}

// Children returns the children of e with that name and namespace.
func Children(e *Element, ns, name string) []*Element {
	var found []*Element
	for c := range Elements(e) {
		if Is(c, ns, name) {
			found = append(found, c)
		}
	}
	return found
}

// Elements yields the child elements of e.
func Elements(e *Element) iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		if e == nil {
			return
		}
		for _, t := range e.Child {
			if c, ok := t.(*Element); ok && !yield(c) {
				return
			}
		}
	}
}

// Text returns the text of the first child with that name and namespace, and
// whether there is such a child: an empty body is not the same as none.
func Text(e *Element, ns, name string) (string, bool) {
	c := Child(e, ns, name)
	if c == nil {
		return "", false
	}
	return TextOf(c), true
}

// TextOf returns all the text directly in e.
func TextOf(e *Element) string {
	if len(e.Child) == 1 {
		if c, ok := e.Child[0].(*etree.CharData); ok {
			return c.Data
		}
	}
	var b strings.Builder
	for _, t := range e.Child {
		if c, ok := t.(*etree.CharData); ok {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// Attr returns the value of e's attribute that has no namespace, or "".
func Attr(e *Element, name string) string {
	value, _ := lookUpAttr(e, name)
	return value
}

func lookUpAttr(e *Element, name string) (value string, ok bool) {
	for i := range e.Attr {
		if a := &e.Attr[i]; a.Space == "" && a.Key == name {
			return a.Value, true
		}
	}
	return "", false
}

// Lang returns the xml:lang of e: its own, or the nearest parent's
// (RFC 6120, section 8.1.5).
func Lang(e *Element) string {
	for ; e != nil; e = e.Parent() {
		for i := range e.Attr {
			if a := &e.Attr[i]; a.Space == "xml" && a.Key == "lang" {
				return a.Value
			}
		}
	}
	return ""
}

// InLang returns, of the children of e with that name and namespace, the one in the
// language of e, or else one in a kind of it (en-GB of en), or else the first (RFC 6121,
// section 5.2.3). Languages compare without case (RFC 4647, section 3.3.1).
func InLang(e *Element, ns, name string) *Element {
	all, lang := Children(e, ns, name), Lang(e)
	for _, c := range all {
		if strings.EqualFold(Lang(c), lang) {
			return c
		}
	}
	for _, c := range all {
		if l := Lang(c); lang != "" && len(l) > len(lang) && l[len(lang)] == '-' && strings.EqualFold(l[:len(lang)], lang) {
			return c
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// XML returns e as it is written to a stream. It fails on characters and names that XML
// cannot carry.
func XML(e *Element) ([]byte, error) { return wire.Append(nil, e) }

// ownXML is XML for elements that this package has made, which cannot fail.
func ownXML(elements []*Element) []byte {
	var b []byte
	for _, e := range elements {
		b, _ = wire.Append(b, e)
	}
	return b
}

// Parse parses text that holds one element and, around it, nothing but white space. It
// reads the element as if it stood in a client stream: without an xmlns attribute it is
// in NSClient. The element is canonical, like those that a Session delivers.
//
// Parse is for XML that somebody has written by hand. It accepts the XML of RFC 6120,
// section 11, within the limits of a session, and repairs nothing. An error names the
// line and the column, in characters.
func Parse(b []byte) (*Element, error) {
	e, err := wire.Parse(b, NSClient, sessionLimits)
	if wrong, ok := errors.AsType[*wire.SyntaxError](err); ok {
		before := b[:wrong.Offset]
		line := bytes.Count(before, []byte("\n")) + 1
		column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
		return nil, fmt.Errorf("line %d, column %d: %s", line, column, wrong.Reason)
	}
	return e, err
}

// CheckText tells whether XML can carry s: valid UTF-8, and no control characters
// but tab and line breaks (XML 1.0, section 2.2).
func CheckText(s string) error { return wire.ValidText(s) }

// NewID returns a stanza id of 130 random bits (RFC 6120, section 8.1.3, asks that
// ids cannot be guessed).
func NewID() string { return rand.Text() }

// Weight is roughly the memory that an element takes when it is kept as a record.
func Weight(e *Element) int {
	n := 512 + len(TextOf(e))
	for i := range e.Attr {
		n += len(e.Attr[i].Value)
	}
	for c := range Elements(e) {
		n += Weight(c)
	}
	return n
}
