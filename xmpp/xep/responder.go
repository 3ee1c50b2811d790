package xep

import (
	"context"
	"time"

	"xmppkit/xmpp"
)

const nsVersion = "jabber:iq:version" // XEP-0092

// A Responder answers what a client is asked: what it can (XEP-0030), a ping (XEP-0199), its
// version (XEP-0092) and its time (XEP-0202).
type Responder struct {
	Name, Version string
	Features      []string // besides those
}

func (r Responder) all() []string {
	return append([]string{NSDiscoInfo, xmpp.NSPing, nsVersion, NSTime}, r.Features...)
}

// Answer is for xmpp.Options.HandleIQ. Whatever else is asked, and of whomever, is refused
// alike.
func (r Responder) Answer(_ context.Context, iq *xmpp.Element) *xmpp.Element {
	if xmpp.Attr(iq, "type") != "get" {
		return nil
	}
	for payload := range xmpp.Elements(iq) {
		switch {
		case xmpp.Is(payload, xmpp.NSPing, "ping"):
			return xmpp.Result(iq)
		case xmpp.Is(payload, NSDiscoInfo, "query") && xmpp.Attr(payload, "node") == "":
			info := xmpp.NewElement(NSDiscoInfo, "query")
			xmpp.Add(info, xmpp.NewElement(NSDiscoInfo, "identity", "category", "client", "type", "bot", "name", r.Name))
			for _, feature := range r.all() {
				xmpp.Add(info, xmpp.NewElement(NSDiscoInfo, "feature", "var", feature))
			}
			return xmpp.Result(iq, info)
		case xmpp.Is(payload, nsVersion, "query"):
			return xmpp.Result(iq, xmpp.Add(xmpp.NewElement(nsVersion, "query"),
				xmpp.NewText(nsVersion, "name", r.Name), xmpp.NewText(nsVersion, "version", r.Version)))
		case xmpp.Is(payload, NSTime, "time"):
			return xmpp.Result(iq, xmpp.Add(xmpp.NewElement(NSTime, "time"),
				xmpp.NewText(NSTime, "tzo", "+00:00"), xmpp.NewText(NSTime, "utc", time.Now().UTC().Format(time.RFC3339))))
		}
	}
	return nil
}
