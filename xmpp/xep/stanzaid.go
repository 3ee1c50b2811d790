package xep

import "xmppkit/xmpp"

// NSStanzaID is the namespace of unique and stable ids (XEP-0359).
const NSStanzaID = "urn:xmpp:sid:0"

// StanzaID returns the id that the archive of your account assigned to a message, or "". It
// can be trusted only if the account announces NSStanzaID: the server then removes ids that
// others forge in its name. Prosody 0.12 leaves them, but puts its own after them.
func StanzaID(own xmpp.JID, message *xmpp.Element) (id string) {
	for _, e := range xmpp.Children(message, NSStanzaID, "stanza-id") {
		if xmpp.AddressIn(e, "by") == own.Bare() {
			id = xmpp.Attr(e, "id")
		}
	}
	return id
}
