package cmd

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"xmppkit/cmd/exit"
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

// resultOf returns the result of the open query that a stanza is, or nil; query is "" for
// none. It takes only the own account's word (XEP-0313, section 8).
func resultOf(own xmpp.JID, query string, e *xmpp.Element) *xmpp.Element {
	results := xmpp.Children(e, nsArchive, "result")
	if !fromAccount(own, e) || len(results) != 1 || query == "" || xmpp.Attr(results[0], "queryid") != query || xmpp.Attr(e, "type") == "error" {
		return nil
	}
	return results[0]
}

// archiveResult reads a result of the open query. An id to go on from has to be in it.
func archiveResult(own xmpp.JID, query string, e *xmpp.Element) (archived, bool) {
	result := resultOf(own, query, e)
	if result == nil {
		return archived{}, false
	}
	a := archived{id: xmpp.Attr(result, "id"), message: forwarded(result)}
	if a.id == "" || a.message == nil {
		return archived{}, false
	}
	adoptDelays(own, a.message, xmpp.Child(result, nsForward, "forwarded"))
	return a, true
}

// missed reports whether a listener would have got the message, and as which carbon
// copy, if any: what the own account has sent to others comes only as one. A message
// to any session of the account counts, as the server hands it to another where that
// one is gone (RFC 6121, section 8.5.3.2.1).
func (a archived) missed(own xmpp.JID, carbons bool) (carbon string, ok bool) {
	switch {
	case isAccount(own, a.message, "to"):
		return "", true
	case isAccount(own, a.message, "from"):
		return "sent", carbons && addressIn(a.message, "from") != own
	}
	return "", false
}

// archiveEnd is what the answer to a query says of its page.
type archiveEnd struct {
	complete bool   // there is nothing after it
	last     string // the id of its last message, to go on after; "" where the server names none
}

// endOfArchive reads the <fin/> in the answer to a query. How many messages there are is
// not asked of it: a server may estimate that (XEP-0059, section 2.7).
func endOfArchive(answer *xmpp.Element) (end archiveEnd, ok bool) {
	fin := xmpp.Child(answer, nsArchive, "fin")
	if fin == nil {
		return archiveEnd{}, false
	}
	end.last, _ = xmpp.Text(xmpp.Child(fin, nsPages, "set"), nsPages, "last")
	complete := xmpp.Attr(fin, "complete")
	end.complete = complete == "true" || complete == "1"
	return end, true
}

// archiveError is the failure to read the archive. That an item is not found says nothing
// of a recipient here.
func archiveError(err error) error {
	err = fmt.Errorf("read the archive: %w", err)
	if e, ok := errors.AsType[*xmpp.StanzaError](err); ok && e.Condition == xmpp.ItemNotFound {
		return &exit.Error{
			Code: exit.Unavailable, Class: "stanza", Err: err,
			Hint: "the server announces an archive and cannot find it: ask its administrator",
		}
	}
	return err
}

// errCircle says that the pages of the archive have no end.
func errCircle() error {
	return &exit.Error{
		Code: exit.Protocol, Class: "stanza", Err: errors.New("read the archive: its pages come again and again"),
		Hint: "the archive of the server is broken: tell its administrator",
	}
}

// A circle notices pages that come again. It remembers one page, and then one after twice
// as many (Brent's algorithm): so it needs little memory, and notices a circle after at
// most three times as many pages as are in it and before it.
type circle struct {
	pages        int
	last, lastID string
}

// closed reports whether a page ends where the remembered one did: in what the server
// says of it, or in what is on it.
func (c *circle) closed(last, lastID string) bool {
	if last != "" && last == c.last || lastID != "" && lastID == c.lastID {
		return true
	}
	if c.pages++; c.pages&(c.pages-1) == 0 {
		c.last, c.lastID = last, lastID
	}
	return false
}
