package xmpp

import (
	"errors"
	"fmt"
)

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

// refusesResource reports whether the server refuses to bind the resource itself: it is in
// use, or the server considers it malformed (RFC 6120, section 7.7.2). Ejabberd 23.01
// refuses an Arabic resource that ends in a Latin letter.
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

// boundJID reads the address that the server bound. The address is valid (RFC 6120,
// section 4.3.6) if the domain is right. If a certificate chose the account, the account
// must be right too. After a login by name it is, in whatever spelling.
func (n *negotiation) boundJID(result *Element) (JID, error) {
	account := n.o.JID.Bare()
	text, _ := Text(Child(result, NSBind, "bind"), NSBind, "jid")
	j, err := SplitJID(text)
	if err != nil || j.Local == "" || j.Resource == "" || j.Domain != account.Domain || n.chosen && !j.Bare().Alike(account) {
		return JID{}, &StreamError{Condition: UndefinedCondition, Text: fmt.Sprintf("the server bound %q to %s", text, account), Sent: true}
	}
	return j, nil
}

// legacySession establishes a session as in RFC 3921, which RFC 6121 has dropped, unless
// the server calls that optional.
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

// answerTo waits for the server's answer to a request, and skips everything else.
func (n *negotiation) answerTo(request *Element) (*Element, error) {
	for {
		e, err := n.next()
		if err != nil {
			return nil, err
		}
		if !Is(e, NSClient, "iq") || Attr(e, "id") != Attr(request, "id") || !fromServer(e, n.o.JID) {
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
