package cmd

import (
	"context"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

const nsVersion = "jabber:iq:version" // XEP-0092

// answerRequest answers the requests that a listener answers; whatever else is
// asked, and of whomever, is refused alike.
func answerRequest(_ context.Context, iq *xmpp.Element) *xmpp.Element {
	return answerAs(iq, xep.NSDiscoInfo, xmpp.NSPing, nsVersion, xep.NSTime)
}

// answerReceiver is answerRequest of a listener that sends receipts.
func answerReceiver(_ context.Context, iq *xmpp.Element) *xmpp.Element {
	return answerAs(iq, xep.NSDiscoInfo, xmpp.NSPing, nsVersion, xep.NSTime, xep.NSReceipts)
}

// answerAs answers as one that has these features.
func answerAs(iq *xmpp.Element, features ...string) *xmpp.Element {
	if xmpp.Attr(iq, "type") != "get" {
		return nil
	}
	for payload := range xmpp.Elements(iq) {
		switch {
		case xmpp.Is(payload, xmpp.NSPing, "ping"):
			return xmpp.Result(iq)
		case xmpp.Is(payload, xep.NSDiscoInfo, "query") && xmpp.Attr(payload, "node") == "":
			info := xmpp.NewElement(xep.NSDiscoInfo, "query")
			xmpp.Add(info, xmpp.NewElement(xep.NSDiscoInfo, "identity", "category", "client", "type", "bot", "name", "xmppkit"))
			for _, feature := range features {
				xmpp.Add(info, xmpp.NewElement(xep.NSDiscoInfo, "feature", "var", feature))
			}
			return xmpp.Result(iq, info)
		case xmpp.Is(payload, nsVersion, "query"):
			return xmpp.Result(iq, xmpp.Add(xmpp.NewElement(nsVersion, "query"),
				xmpp.NewText(nsVersion, "name", "xmppkit"), xmpp.NewText(nsVersion, "version", programVersion())))
		case xmpp.Is(payload, xep.NSTime, "time"):
			return xmpp.Result(iq, xmpp.Add(xmpp.NewElement(xep.NSTime, "time"),
				xmpp.NewText(xep.NSTime, "tzo", "+00:00"), xmpp.NewText(xep.NSTime, "utc", time.Now().UTC().Format(time.RFC3339))))
		}
	}
	return nil
}
