package cmd

import "xmppkit/xmpp"

const (
	nsCarbons = "urn:xmpp:carbons:2" // XEP-0280
	nsForward = "urn:xmpp:forward:0" // XEP-0297
)

// enableCarbons asks for copies of what other sessions of the account send and
// receive.
func enableCarbons() *xmpp.Element {
	return xmpp.NewIQ("set", xmpp.JID{}, xmpp.NewElement(nsCarbons, "enable"))
}

// copiesIn returns the children of a message that make it a carbon copy, or are meant
// to look so.
func copiesIn(message *xmpp.Element) []*xmpp.Element {
	return append(xmpp.Children(message, nsCarbons, "sent"), xmpp.Children(message, nsCarbons, "received")...)
}

// openCarbon returns the message in a carbon copy, and whether the account has sent or
// received it. Of what the own server cannot have made it returns nil, as nothing in a
// forgery is to be shown (XEP-0280, section 11), nor anything that was not asked for;
// and of what the account has sent to itself, as that is received as well.
func openCarbon(own xmpp.JID, outer *xmpp.Element, enabled bool) (message *xmpp.Element, direction string) {
	copies := copiesIn(outer)
	if !enabled || len(copies) != 1 || addressIn(outer, "from") != own.Bare() || xmpp.Attr(outer, "type") == "error" {
		return nil, ""
	}
	if message = forwarded(copies[0]); message == nil {
		return nil, ""
	}
	sent, received := isAccount(own, message, "from"), isAccount(own, message, "to")
	switch direction = copies[0].Tag; {
	case direction == "sent" && sent && !received, direction == "received" && received:
		adoptDelays(own, message, xmpp.Child(copies[0], nsForward, "forwarded"))
		adoptDelays(own, message, outer) // of one that waited for the session to come back
		return message, direction
	}
	return nil, ""
}

// forwarded returns the message in the <forwarded/> of e (XEP-0297) as a stanza of its
// own. It returns nil unless there is exactly one, from somebody, and where that is a
// carbon copy again.
func forwarded(e *xmpp.Element) *xmpp.Element {
	envelopes := xmpp.Children(e, nsForward, "forwarded")
	if len(envelopes) != 1 {
		return nil
	}
	messages := xmpp.Children(envelopes[0], xmpp.NSClient, "message")
	if len(messages) != 1 || len(copiesIn(messages[0])) > 0 {
		return nil
	}
	m := messages[0].Copy() // canonical, and so with an xmlns of its own
	if xmpp.Attr(m, "from") == "" {
		return nil
	}
	if xmpp.Attr(m, "to") == "" { // it is to the account of its sender (RFC 6120, section 10.3.3)
		m.CreateAttr("to", addressIn(m, "from").Bare().String())
	}
	return m
}

// addressIn returns the JID in an attribute, the zero one where there is none.
func addressIn(e *xmpp.Element, attr string) xmpp.JID {
	jid, _ := xmpp.SplitJID(xmpp.Attr(e, attr))
	return jid
}

// isAccount reports whether an address in a message is that of the account, as somebody may
// have written it: ejabberd 23.01 relays it so.
func isAccount(own xmpp.JID, e *xmpp.Element, attr string) bool {
	return addressIn(e, attr).Bare().Alike(own.Bare())
}

// fromAccount reports whether a stanza that came to own is of its account, in whose name
// the server speaks.
func fromAccount(own xmpp.JID, e *xmpp.Element) bool {
	from, err := xmpp.Sender(e, own)
	return err == nil && from == own.Bare()
}
