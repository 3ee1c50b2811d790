package xep

import "xmppkit/xmpp"

// NSForward is the namespace of stanzas in other ones (XEP-0297).
const NSForward = "urn:xmpp:forward:0"

// forwarded returns the message in the <forwarded/> of e as a separate stanza. It returns
// nil unless there is exactly one, with a sender, that is not itself a carbon copy.
func forwarded(e *xmpp.Element) *xmpp.Element {
	envelopes := xmpp.Children(e, NSForward, "forwarded")
	if len(envelopes) != 1 {
		return nil
	}
	messages := xmpp.Children(envelopes[0], xmpp.NSClient, "message")
	if len(messages) != 1 || IsCarbon(messages[0]) {
		return nil
	}
	m := messages[0].Copy() // canonical, so it has its own xmlns
	if xmpp.Attr(m, "from") == "" {
		return nil
	}
	if xmpp.Attr(m, "to") == "" { // it is to the account of its sender (RFC 6120, section 10.3.3)
		m.CreateAttr("to", xmpp.AddressIn(m, "from").Bare().String())
	}
	return m
}
