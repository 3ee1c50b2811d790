package xep

import (
	"strings"

	"xmppkit/xmpp"
)

func jid(s string) xmpp.JID {
	j, err := xmpp.ParseJID(s)
	if err != nil {
		panic(err)
	}
	return j
}

// element is a stanza as a session delivers it, written with short names for the
// addresses of the account romeo@example.org, and for the namespaces that it leaves out.
func element(xml string) *xmpp.Element {
	xml = strings.NewReplacer(
		"<message xmlns", "<message xmlns", "<sent xmlns", "<sent xmlns", "<received xmlns", "<received xmlns",
		"<forwarded xmlns", "<forwarded xmlns", "<delay xmlns", "<delay xmlns", "<result xmlns", "<result xmlns",
		"<message", "<message xmlns='jabber:client'", "<sent", "<sent xmlns='urn:xmpp:carbons:2'", "<received", "<received xmlns='urn:xmpp:carbons:2'",
		"<foreign", "<message xmlns='jabber:server'", "/foreign", "/message", "<older", "<result xmlns='urn:xmpp:mam:1'", "/older", "/result",
		"<forwarded", "<forwarded xmlns='urn:xmpp:forward:0'", "<delay", "<delay xmlns='urn:xmpp:delay'", "<result", "<result xmlns='urn:xmpp:mam:2'",
		"OWN", "romeo@example.org", "JULIET", "juliet@example.net",
	).Replace(xml)
	e, err := xmpp.Parse([]byte(xml))
	if err != nil {
		panic(err)
	}
	return e
}
