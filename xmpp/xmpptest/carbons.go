package xmpptest

import (
	"slices"

	"xmppkit/xmpp"
)

const nsCarbons = "urn:xmpp:carbons:2" // XEP-0280

// carbons is XEP-0280.
func carbons() feature {
	return feature{
		info: ofServer(nsCarbons),
		requests: []handler{
			{"set", nsCarbons, "enable", true, switchCarbons},
			{"set", nsCarbons, "disable", true, switchCarbons},
		},
		passing: copies,
		faults: []kind{
			{"no-carbons", "", "", "refuses to send carbon copies (XEP-0280)"},
		},
	}
}

// switchCarbons turns carbon copies for c on or off.
func switchCarbons(c *conn, r request) (*xmpp.Element, string) {
	if c.faults.has("no-carbons") {
		return nil, ""
	}
	c.bound.carbons = r.payload.Tag == "enable"
	return &xmpp.Element{}, ""
}

// copies sends carbon copies of a message to the other sessions of the account that
// want them (XEP-0280). As with Prosody, these need not be available.
func copies(c *conn, m passing) {
	user, e := m.user, m.e
	private := xmpp.Children(e, nsCarbons, "private")
	if m.kind == "received" { // as Prosody does
		defer func() {
			for _, p := range private {
				e.RemoveChild(p)
			}
		}()
	}
	chat := xmpp.Attr(e, "type") == "chat" || isChat(e) && xmpp.Child(e, xmpp.NSClient, "body") != nil
	if !chat || len(private) > 0 || xmpp.Child(e, nsHints, "no-copy") != nil {
		return
	}
	for _, there := range user.sessions {
		if !there.carbons || slices.Contains(m.sessions, there) {
			continue
		}
		carbon := xmpp.NewElement(xmpp.NSClient, "message", "from", user.jid.String(), "to", there.jid.String())
		if t := xmpp.Attr(e, "type"); t != "" {
			carbon.CreateAttr("type", t)
		}
		forwarded := xmpp.Add(xmpp.NewElement(nsForward, "forwarded"), e.Copy())
		c.deliver(there, xmpp.Add(carbon, xmpp.Add(xmpp.NewElement(nsCarbons, m.kind), forwarded)))
	}
}
