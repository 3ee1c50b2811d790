package xep

import (
	"strconv"

	"xmppkit/xmpp"
)

// NSPages is the namespace of result sets (XEP-0059).
const NSPages = "http://jabber.org/protocol/rsm"

// A Page is a request for a part of a long list.
type Page struct {
	Max    int    // how many items
	After  string // only items after the one with this id, if it is not ""
	Before string // only items before the one with this id; implies Last
	Last   bool   // the end of the list, instead of the beginning
}

// Set makes the payload of the request.
func (p Page) Set() *xmpp.Element {
	set := xmpp.Add(xmpp.NewElement(NSPages, "set"), xmpp.NewText(NSPages, "max", strconv.Itoa(p.Max)))
	if p.After != "" {
		xmpp.Add(set, xmpp.NewText(NSPages, "after", p.After))
	}
	switch {
	case p.Before != "":
		xmpp.Add(set, xmpp.NewText(NSPages, "before", p.Before))
	case p.Last:
		xmpp.Add(set, xmpp.NewElement(NSPages, "before"))
	}
	return set
}

// A ResultSet is what an answer says about its page.
type ResultSet struct {
	First string // the id of the first item, to continue before; "" if the server names none
	Last  string // the id of the last item, to continue after; "" if the server names none
	Count int    // number of all items, which may be an estimate (section 2.7); -1 if unknown
}

// ResultSetOf reads the result set in an answer.
func ResultSetOf(answer *xmpp.Element) ResultSet {
	set := xmpp.Child(answer, NSPages, "set")
	r := ResultSet{Count: -1}
	r.First, _ = xmpp.Text(set, NSPages, "first")
	r.Last, _ = xmpp.Text(set, NSPages, "last")
	text, _ := xmpp.Text(set, NSPages, "count")
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		r.Count = int(n)
	}
	return r
}
