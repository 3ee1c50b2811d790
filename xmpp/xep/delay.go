package xep

import (
	"time"

	"xmppkit/xmpp"
)

const (
	NSDelay    = "urn:xmpp:delay" // XEP-0203
	NSOldDelay = "jabber:x:delay" // XEP-0091
)

// SentAt returns whether a stanza was delayed, and when it was sent, or zero if that is
// unknown. A stamp is only the claim of whoever added it (XEP-0203, section 5). SentAt
// prefers the stamp of your server or account, and of several of those the last, because a
// server adds its own after any that the sender made up.
func SentAt(own xmpp.JID, e *xmpp.Element) (when time.Time, delayed bool) {
	for _, d := range delaysOf(e) {
		delayed = true
		if stamp := ParseTime(xmpp.Attr(d, "stamp")); !stamp.IsZero() && (when.IsZero() || isOfServer(own, d)) {
			when = stamp
		}
	}
	return when, delayed
}

// StoredAt returns whether your server, or account, has stored a message, and when.
func StoredAt(own xmpp.JID, message *xmpp.Element) (when time.Time, stored bool) {
	for _, d := range delaysOf(message) {
		if isOfServer(own, d) {
			when, stored = ParseTime(xmpp.Attr(d, "stamp")), true
		}
	}
	return when, stored
}

// isOfServer reports whether a delay claims to come from the server of own, or from its
// account.
func isOfServer(own xmpp.JID, delay *xmpp.Element) bool {
	from := xmpp.AddressIn(delay, "from")
	return from == own.Bare() || from == (xmpp.JID{Domain: own.Domain})
}

// delaysOf returns the delay elements of e.
func delaysOf(e *xmpp.Element) []*xmpp.Element {
	return append(xmpp.Children(e, NSOldDelay, "x"), xmpp.Children(e, NSDelay, "delay")...)
}

// adoptDelays copies the delays of the enclosing stanza of your server to a message.
func adoptDelays(own xmpp.JID, message, in *xmpp.Element) {
	for _, d := range delaysOf(in) {
		xmpp.Add(message, xmpp.NewElement(NSDelay, "delay", "from", own.Bare().String(), "stamp", xmpp.Attr(d, "stamp")))
	}
}
