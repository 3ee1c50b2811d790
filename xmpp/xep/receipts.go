package xep

import "xmppkit/xmpp"

// NSReceipts is the namespace of delivery receipts (XEP-0184).
const NSReceipts = "urn:xmpp:receipts"

// Receipt makes the receipt for a message with an id and a type, for its sender.
func Receipt(to, typ, id string) *xmpp.Element {
	receipt := xmpp.NewElement(xmpp.NSClient, "message", "to", to, "type", typ, "id", id)
	return xmpp.Add(receipt, xmpp.NewElement(NSReceipts, "received", "id", id))
}
