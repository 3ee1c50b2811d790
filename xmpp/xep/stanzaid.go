package xep

import "xmppkit/xmpp"

// NSStanzaID is the namespace of ids that are unique and stable (XEP-0359).
const NSStanzaID = "urn:xmpp:sid:0"

// StanzaID returns the id that the archive of your account has given a message, or "". It is
// true only where the account announces NSStanzaID: the server then removes those that others
// give in its name. Prosody 0.12 leaves them, but puts its own after them.
func StanzaID(own xmpp.JID, message *xmpp.Element) (id string) {
	for _, e := range xmpp.Children(message, NSStanzaID, "stanza-id") {
		if xmpp.AddressIn(e, "by") == own.Bare() {
			id = xmpp.Attr(e, "id")
		}
	}
	return id
}
