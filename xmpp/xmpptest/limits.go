package xmpptest

import "xmppkit/xmpp"

// limits implements XEP-0478.
func limits() feature {
	return feature{
		offer: func(c *conn) []*xmpp.Element {
			most, ok := c.faults.value("max-bytes")
			if !ok {
				return nil
			}
			limit := xmpp.NewText(xmpp.NSLimits, "max-bytes", most)
			return []*xmpp.Element{xmpp.Add(xmpp.NewElement(xmpp.NSLimits, "limits"), limit)}
		},
		faults: []kind{
			{"max-bytes", "", "N", "announces a limit of N bytes for stanzas (XEP-0478), but accepts larger ones"},
			{"rate-limit", "", "N", "messages of a session beyond N in a second bounce with policy-violation"},
		},
	}
}
