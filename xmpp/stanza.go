package xmpp

// IsStanza reports whether e is a message, presence or iq of a client stream. An
// element of that name in another namespace is not (RFC 6120, section 4.8.4).
func IsStanza(e *Element) bool {
	switch e.Tag {
	case "message", "presence", "iq":
		return Namespace(e) == NSClient
	}
	return false
}

// NewIQ makes a request of type get or set with a fresh id. The zero JID as to
// addresses the own account.
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
