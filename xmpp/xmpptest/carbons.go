package xmpptest

import (
	"slices"

	"xmppkit/xmpp"
)

const nsCarbons = "urn:xmpp:carbons:2" // XEP-0280

// carbons turns copies for c on or off, and reports false for another request.
func (c *conn) carbons(request *xmpp.Element) bool {
	on := xmpp.Is(request, nsCarbons, "enable")
	if !on && !xmpp.Is(request, nsCarbons, "disable") || c.faults.has("no-carbons") {
		return false
	}
	c.bound.carbons = on
	return true
}

// copies sends a message that the account has received, or sent, to those of its other
// sessions that want copies (XEP-0280). As with Prosody these need
// not be available.
func (c *conn) copies(user *account, kind string, e *xmpp.Element, others ...*session) {
	chat := xmpp.Attr(e, "type") == "chat" || isChat(e) && xmpp.Child(e, xmpp.NSClient, "body") != nil
	if !chat || xmpp.Child(e, nsCarbons, "private") != nil || xmpp.Child(e, nsHints, "no-copy") != nil {
		return
	}
	for _, there := range user.sessions {
		if !there.carbons || slices.Contains(others, there) {
			continue
		}
		carbon := xmpp.NewElement(xmpp.NSClient, "message", "from", user.jid.String(), "to", there.jid.String())
		if t := xmpp.Attr(e, "type"); t != "" {
			carbon.CreateAttr("type", t)
		}
		forwarded := xmpp.Add(xmpp.NewElement(nsForward, "forwarded"), e.Copy())
		c.deliver(there, xmpp.Add(carbon, xmpp.Add(xmpp.NewElement(nsCarbons, kind), forwarded)))
	}
}
