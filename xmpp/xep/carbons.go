// Package xep makes and reads the payloads of extensions that more than one command or
// engine uses, one file a XEP. It sends nothing and waits for nothing. A payload of one
// user is with that user.
package xep

import "xmppkit/xmpp"

// NSCarbons is the namespace of carbon copies (XEP-0280).
const NSCarbons = "urn:xmpp:carbons:2"

// EnableCarbons asks for copies of what other sessions of the account send and receive.
func EnableCarbons() *xmpp.Element {
	return xmpp.NewIQ("set", xmpp.JID{}, xmpp.NewElement(NSCarbons, "enable"))
}

// copiesIn returns the children of a message that make it a carbon copy, or are meant
// to look so.
func copiesIn(message *xmpp.Element) []*xmpp.Element {
	return append(xmpp.Children(message, NSCarbons, "sent"), xmpp.Children(message, NSCarbons, "received")...)
}

// IsCarbon reports whether a message is a carbon copy, or is meant to look so.
func IsCarbon(message *xmpp.Element) bool { return len(copiesIn(message)) > 0 }

// OpenCarbon returns the message in a carbon copy, and whether the account has sent or
// received it. Of what your server cannot have made it returns nil, as nothing in a
// forgery is to be shown (section 11), nor anything that was not asked for; and of what
// the account has sent to itself, as that is received as well.
func OpenCarbon(own xmpp.JID, outer *xmpp.Element, enabled bool) (message *xmpp.Element, direction string) {
	copies := copiesIn(outer)
	if !enabled || len(copies) != 1 || xmpp.AddressIn(outer, "from") != own.Bare() || xmpp.Attr(outer, "type") == "error" {
		return nil, ""
	}
	if message = forwarded(copies[0]); message == nil {
		return nil, ""
	}
	sent, received := isAccount(own, message, "from"), isAccount(own, message, "to")
	switch direction = copies[0].Tag; {
	case direction == "sent" && sent && !received, direction == "received" && received:
		adoptDelays(own, message, xmpp.Child(copies[0], NSForward, "forwarded"))
		adoptDelays(own, message, outer) // of one that waited for the session to come back
		return message, direction
	}
	return nil, ""
}

// isAccount reports whether an address in a message is that of the account, as somebody may
// have written it: ejabberd 23.01 relays it so.
func isAccount(own xmpp.JID, e *xmpp.Element, attr string) bool {
	return xmpp.AddressIn(e, attr).Bare().Alike(own.Bare())
}
