// Package xep makes and reads the payloads of extensions that more than one command or
// engine uses, one file per XEP. Only Walk, ReadPage and History send something: they ask in
// a session of the caller. A payload with a single user is in that user's package.
package xep

import "xmppkit/xmpp"

// NSCarbons is the namespace of carbon copies (XEP-0280).
const NSCarbons = "urn:xmpp:carbons:2"

// EnableCarbons asks for copies of what other sessions of the account send and receive.
func EnableCarbons() *xmpp.Element {
	return xmpp.NewIQ("set", xmpp.JID{}, xmpp.NewElement(NSCarbons, "enable"))
}

// copiesIn returns the children of a message that make it a carbon copy, or imitate
// one.
func copiesIn(message *xmpp.Element) []*xmpp.Element {
	return append(xmpp.Children(message, NSCarbons, "sent"), xmpp.Children(message, NSCarbons, "received")...)
}

// IsCarbon reports whether a message is a carbon copy, or imitates one.
func IsCarbon(message *xmpp.Element) bool { return len(copiesIn(message)) > 0 }

// OpenCarbon returns the message in a carbon copy, and whether the account has sent or
// received it. It returns nil for a copy that your server cannot have made, because a
// forgery must not be shown (section 11), and for a copy that was not requested. It
// also returns nil for a sent message to the account itself, which is received as well.
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
		adoptDelays(own, message, outer) // from a copy that waited for the session to resume
		return message, direction
	}
	return nil, ""
}

// isAccount reports whether an address in a message is the account, in any spelling:
// ejabberd 23.01 relays addresses as senders spell them.
func isAccount(own xmpp.JID, e *xmpp.Element, attr string) bool {
	return xmpp.AddressIn(e, attr).Bare().Alike(own.Bare())
}
