package xmpptest

import "xmppkit/xmpp"

// pings is XEP-0199.
func pings() feature {
	return feature{
		info: func(*conn, *account) []string { return []string{xmpp.NSPing} },
		requests: []handler{{"get", xmpp.NSPing, "ping", false, func(*conn, request) (*xmpp.Element, string) {
			return &xmpp.Element{}, ""
		}}},
	}
}
