package xep

import (
	"time"

	"xmppkit/xmpp"
)

const (
	NSDelay    = "urn:xmpp:delay" // XEP-0203
	NSOldDelay = "jabber:x:delay" // XEP-0091
)

// SentAt returns whether a stanza was delayed and, unless it is zero, when it was sent. A
// stamp is the claim of whoever put it there (XEP-0203, section 5): that of your server or
// account is preferred, and of several of those the last, as a server adds its own to what
// the sender may have made up.
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

// isOfServer reports whether a delay says that it is of the server of own, or of its account.
func isOfServer(own xmpp.JID, delay *xmpp.Element) bool {
	from := xmpp.AddressIn(delay, "from")
	return from == own.Bare() || from == (xmpp.JID{Domain: own.Domain})
}

// delaysOf returns what says in e that it was delayed.
func delaysOf(e *xmpp.Element) []*xmpp.Element {
	return append(xmpp.Children(e, NSOldDelay, "x"), xmpp.Children(e, NSDelay, "delay")...)
}

// adoptDelays gives a message the delays of what your server has put it into.
func adoptDelays(own xmpp.JID, message, in *xmpp.Element) {
	for _, d := range delaysOf(in) {
		xmpp.Add(message, xmpp.NewElement(NSDelay, "delay", "from", own.Bare().String(), "stamp", xmpp.Attr(d, "stamp")))
	}
}
