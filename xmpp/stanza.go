package xmpp

import (
	"slices"

	"github.com/beevik/etree"
)

// IsStanza reports whether e is a message, presence or iq of a client stream. An
// element of that name in another namespace is not (RFC 6120, section 4.8.4).
func IsStanza(e *Element) bool {
	switch e.Tag {
	case "message", "presence", "iq":
		return Namespace(e) == NSClient
	}
	return false
}

// NewIQ makes a request of type get or set with a fresh id. If to is the zero JID, the
// request is for the account itself.
func NewIQ(typ string, to JID, payload *Element) *Element {
	iq := NewElement(NSClient, "iq", "type", typ, "id", NewID())
	if !to.IsZero() {
		iq.CreateAttr("to", to.String())
	}
	return Add(iq, payload)
}

// Result answers a request with payloads, or with none.
func Result(request *Element, payload ...*Element) *Element {
	return Add(answer(request, "result"), payload...)
}

// Refusal answers a request, or bounces a message, with an error.
func Refusal(request *Element, typ string, condition Condition) *Element {
	e := NewElement(NSClient, "error", "type", typ)
	return Add(answer(request, "error"), Add(e, NewElement(NSStanzas, string(condition))))
}

func answer(request *Element, typ string) *Element {
	a := NewElement(NSClient, request.Tag, "type", typ)
	if id := Attr(request, "id"); id != "" {
		a.CreateAttr("id", id)
	}
	if from := Attr(request, "from"); from != "" {
		a.CreateAttr("to", from)
	}
	return a
}

// fromServer reports whether a stanza comes from the account's server, in its own name or
// in the account's.
func fromServer(e *Element, account JID) bool {
	from, err := Sender(e, account)
	return err == nil && (from == JID{Domain: account.Domain} || from == account.Bare())
}

// Sender returns the sender of a stanza that an account has received: the account itself if
// the stanza has no from (RFC 6120, section 8.1.2.1). An empty from is an error.
func Sender(stanza *Element, account JID) (JID, error) {
	from, ok := lookUpAttr(stanza, "from")
	if !ok {
		return account.Bare(), nil
	}
	return SplitJID(from)
}

// AddressIn returns the JID in an attribute, or the zero JID if there is none.
func AddressIn(e *Element, attr string) JID {
	jid, _ := SplitJID(Attr(e, attr))
	return jid
}

const (
	nsForward = "urn:xmpp:forward:0" // XEP-0297

	// keptChildren is how many children of an incomplete element are kept from its
	// beginning, and again from its end, where servers add theirs.
	keptChildren = 64
	// prunedCost is about how much memory those take.
	prunedCost = 64 << 10
)

// prune reduces an incomplete stanza to what identifies it: the start tags of its
// children, and those in its error and in a stanza that it forwards.
func prune(e *Element) {
	for _, c := range keepTags(e) {
		switch {
		case Is(e, nsForward, "forwarded"), Is(c, nsForward, "forwarded"), Child(c, nsForward, "forwarded") != nil:
			prune(c)
		case Is(c, NSClient, "error"):
			for _, part := range keepTags(c) {
				part.Child = nil
			}
		default:
			c.Child = nil
		}
	}
}

// keepTags drops text and surplus children, and returns the others.
func keepTags(e *Element) []*Element {
	children := slices.Collect(Elements(e))
	if n := len(children); n > 2*keptChildren {
		children = slices.Concat(children[:keptChildren], children[n-keptChildren:])
	}
	e.Child = make([]etree.Token, 0, len(children))
	for _, c := range children {
		e.AddChild(c)
	}
	return children
}
