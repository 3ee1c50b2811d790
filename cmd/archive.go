package cmd

import (
	"strconv"
	"strings"
	"time"

	"xmppkit/xmpp"
)

const (
	nsArchive = "urn:xmpp:mam:2"                 // XEP-0313
	nsForm    = "jabber:x:data"                  // XEP-0004
	nsPages   = "http://jabber.org/protocol/rsm" // XEP-0059
)

// An archivePage is a part of the archive of the own account.
type archivePage struct {
	start time.Time // nothing from before that, unless it is zero
	after string    // only what is behind the message of this id, if it is not ""
	last  bool      // the end of all that, instead of the beginning
	max   int       // how many messages
}

// query makes the request for a page. Its results have the id, until the answer to the
// request ends them (XEP-0313, section 4).
func (p archivePage) query() (iq *xmpp.Element, id string) {
	id = xmpp.NewID()
	field := func(name, value string) *xmpp.Element {
		return xmpp.Add(xmpp.NewElement(nsForm, "field", "var", name), xmpp.NewText(nsForm, "value", value))
	}
	form := xmpp.NewElement(nsForm, "x", "type", "submit")
	kind := field("FORM_TYPE", nsArchive)
	kind.CreateAttr("type", "hidden")
	if xmpp.Add(form, kind); !p.start.IsZero() {
		xmpp.Add(form, field("start", p.start.UTC().Format("2006-01-02T15:04:05.000Z")))
	}
	set := xmpp.Add(xmpp.NewElement(nsPages, "set"), xmpp.NewText(nsPages, "max", strconv.Itoa(p.max)))
	if p.after != "" {
		xmpp.Add(set, xmpp.NewText(nsPages, "after", p.after))
	}
	if p.last {
		xmpp.Add(set, xmpp.NewElement(nsPages, "before"))
	}
	return xmpp.NewIQ("set", xmpp.JID{}, xmpp.Add(xmpp.NewElement(nsArchive, "query", "queryid", id), form, set)), id
}

// archived is a message out of the archive.
type archived struct {
	id      string
	message *xmpp.Element // a stanza of its own, with the stamp of the archive
}

// archiveResult reads a result of the open query, "" for none. It takes only the own
// account's word (XEP-0313, section 8), and an id to go on from has to be in it.
func archiveResult(own xmpp.JID, query string, e *xmpp.Element) (archived, bool) {
	results := xmpp.Children(e, nsArchive, "result")
	account := xmpp.Attr(e, "from") == "" || addressIn(e, "from") == own.Bare()
	if !account || len(results) != 1 || query == "" || xmpp.Attr(results[0], "queryid") != query || xmpp.Attr(e, "type") == "error" {
		return archived{}, false
	}
	a := archived{id: xmpp.Attr(results[0], "id"), message: forwarded(results[0])}
	if a.id == "" || a.message == nil {
		return archived{}, false
	}
	delay := xmpp.Child(xmpp.Child(results[0], nsForward, "forwarded"), nsDelay, "delay")
	if delay != nil {
		stamp := xmpp.NewElement(nsDelay, "delay", "from", own.Bare().String(), "stamp", xmpp.Attr(delay, "stamp"))
		xmpp.Add(a.message, stamp)
	}
	return a, true
}

// missed reports whether a listener would have got the message, and as which carbon
// copy, if any: what the own account has sent to others comes only as one. A message
// to any session of the account counts, as the server hands it to another where that
// one is gone (RFC 6121, section 8.5.3.2.1).
func (a archived) missed(own xmpp.JID, carbons bool) (carbon string, ok bool) {
	switch from, to := addressIn(a.message, "from"), addressIn(a.message, "to"); {
	case to.Bare() == own.Bare():
		return "", true
	case from.Bare() == own.Bare():
		return "sent", carbons && from != own
	}
	return "", false
}

// archiveEnd is what the answer to a query says of its page.
type archiveEnd struct {
	complete bool   // nothing is behind it
	last     string // the id of its last message, to go on after; "" where it is empty
	count    int    // of the messages on all pages; -1 where the server does not say
}

// endOfArchive reads the <fin/> in the answer to a query. An empty page has nothing
// behind it, whatever the server says, as there is nothing to go on after.
func endOfArchive(answer *xmpp.Element) (end archiveEnd, ok bool) {
	fin := xmpp.Child(answer, nsArchive, "fin")
	if fin == nil {
		return archiveEnd{}, false
	}
	set := xmpp.Child(fin, nsPages, "set")
	end.last, _ = xmpp.Text(set, nsPages, "last")
	complete := xmpp.Attr(fin, "complete")
	end.complete = complete == "true" || complete == "1" || end.last == ""
	text, _ := xmpp.Text(set, nsPages, "count")
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31)
	if end.count = int(n); err != nil {
		end.count = -1
	}
	return end, true
}
