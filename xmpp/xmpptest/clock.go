package xmpptest

import (
	"time"

	"xmppkit/xmpp"
)

const nsTime = "urn:xmpp:time"

// clocks is XEP-0202.
func clocks() feature {
	return feature{
		info:     ofServer(nsTime),
		requests: []handler{{"get", nsTime, "time", false, tellTime}},
	}
}

func tellTime(*conn, request) (*xmpp.Element, string) {
	return xmpp.Add(xmpp.NewElement(nsTime, "time"), xmpp.NewText(nsTime, "tzo", "+00:00"),
		xmpp.NewText(nsTime, "utc", time.Now().UTC().Format(time.RFC3339))), ""
}
