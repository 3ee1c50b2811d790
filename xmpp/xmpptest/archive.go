package xmpptest

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"xmppkit/xmpp"
)

const (
	nsMAM     = "urn:xmpp:mam:2"     // XEP-0313
	nsSID     = "urn:xmpp:sid:0"     // XEP-0359
	nsForward = "urn:xmpp:forward:0" // XEP-0297
	nsHints   = "urn:xmpp:hints"     // XEP-0334
)

const (
	maxArchive = 100_000 // messages in an archive; then the older half of them is deleted
	maxPage    = 50      // messages in one answer, as with Prosody
)

// The id of an archived message is the time when it arrived, in microseconds, as with
// ejabberd.
type archived struct {
	id   int64
	with xmpp.JID
	e    *xmpp.Element // with its stanza-id
}

// A history is what an archive holds, the oldest first.
type history []archived

// add puts a message into an archive, and its id there into the message (XEP-0359).
func (h *history) add(with xmpp.JID, e *xmpp.Element, by xmpp.JID) {
	m := archived{time.Now().UnixMicro(), with, e}
	if n := len(*h); n > 0 {
		m.id = max(m.id, (*h)[n-1].id+1)
	}
	xmpp.Add(e, xmpp.NewElement(nsSID, "stanza-id", "by", by.String(), "id", m.name()))
	if len(*h) == maxArchive {
		*h = slices.Delete(*h, 0, maxArchive/2)
	}
	*h = append(*h, m)
}

func (m archived) name() string { return strconv.FormatInt(m.id, 10) }

// archives implements XEP-0313, with the ids of XEP-0359.
func archives() feature {
	return feature{
		info: func(c *conn, user *account) []string {
			if user == nil || c.faults.has("no-archive") {
				return nil
			}
			return []string{nsMAM, nsSID}
		},
		requests: []handler{{"set", nsMAM, "query", true, query}},
		passing:  archive,
		faults: []kind{
			{"no-archive", "", "", "has no archive (XEP-0313), and neither sets nor removes stanza-ids (XEP-0359)"},
			{"archive", "", "circle|stuck|fake|endless|bare|not-found|forgetful|expires|vanishes|foreign|cut|wait|silence", "pages of the archive go in a circle of two, end where the one before did, come again under other ends, or never end though they are empty; they name no last message; or a query without an id to go on after is refused so, or left unanswered; or (forgetful) nothing comes after an id that is not in it; the message that a page is to follow and the next three are deleted first, which is an error (expires) or an empty page (vanishes); forged results and a live message precede each page (foreign); or the connection ends in the middle of each page but the first (cut)"},
		},
	}
}

// archive returns a message as the account sees it: without forged stanza-ids, and with
// the real one if the message belongs in the archive (XEP-0359, section 5). The archive
// stores the original message.
func archive(c *conn, p passing) {
	user, e := p.user, p.e
	if c.faults.has("no-archive") {
		return
	}
	unsign(e, user.jid)
	if !isChat(e) || xmpp.Child(e, xmpp.NSClient, "body") == nil || xmpp.Child(e, nsHints, "no-store") != nil {
		return
	}
	user.archive.add(p.with.Bare(), e, user.jid)
}

// isChat reports whether a message is of a type that is stored: chat or normal.
func isChat(e *xmpp.Element) bool {
	kind := xmpp.Attr(e, "type")
	return kind == "" || kind == "normal" || kind == "chat"
}

// unsign removes the stanza-ids of an account from e.
func unsign(e *xmpp.Element, by xmpp.JID) {
	for _, id := range xmpp.Children(e, nsSID, "stanza-id") {
		if jid, err := xmpp.ParseJID(xmpp.Attr(id, "by")); err == nil && jid == by {
			e.RemoveChild(id)
		}
	}
}

// A filter is what a query selects, and the page of it (XEP-0059).
type filter struct {
	start, end    int64
	with          xmpp.JID // zero for anybody
	after, before string   // ids
	backwards     bool     // the page is at the end of what is wanted
	max           int
}

func parseFilter(query *xmpp.Element) (filter, error) {
	set := xmpp.Child(query, nsRSM, "set")
	f := filter{end: math.MaxInt64, max: maxPage}
	f.after, _ = xmpp.Text(set, nsRSM, "after")
	f.before, f.backwards = xmpp.Text(set, nsRSM, "before")
	var errs [4]error
	if limit, ok := xmpp.Text(set, nsRSM, "max"); ok {
		var n uint64
		n, errs[0] = strconv.ParseUint(limit, 10, 31)
		f.max = min(int(n), maxPage)
	}
	moment := func(text string) (int64, error) {
		t, err := time.Parse(time.RFC3339, text)
		return t.UnixMicro(), err
	}
	for _, field := range xmpp.Children(xmpp.Child(query, nsData, "x"), nsData, "field") {
		switch value, _ := xmpp.Text(field, nsData, "value"); xmpp.Attr(field, "var") {
		case "start":
			f.start, errs[1] = moment(value)
		case "end":
			f.end, errs[2] = moment(value)
		case "with":
			f.with, errs[3] = xmpp.ParseJID(value)
			f.with = f.with.Bare()
		}
	}
	return f, errors.Join(errs[:]...)
}

// page returns the messages of a page, the number of messages on all pages, and whether
// it is the last page in its direction. It fails if an id in f belongs to no message.
func (h history) page(f filter) (page []archived, count int, complete, ok bool) {
	after, found := h.find(f.after, 0)
	before, foundToo := h.find(f.before, math.MaxInt64)
	if !found || !foundToo {
		return nil, 0, false, false
	}
	n := 0
	for _, m := range h {
		if m.id < f.start || m.id > f.end || !f.with.IsZero() && m.with != f.with {
			continue
		}
		count++
		if m.id <= after || m.id >= before {
			continue
		}
		n++
		if f.backwards && len(page) == 2*f.max+1 {
			page = append(page[:0], page[f.max+1:]...)
		}
		if f.backwards || len(page) < f.max {
			page = append(page, m)
		}
	}
	return page[max(0, len(page)-f.max):], count, n <= f.max, true
}

// find returns the index of an id, or otherwise if the id is "".
func (h history) find(id string, otherwise int64) (int64, bool) {
	if id == "" {
		return otherwise, true
	}
	n, err := strconv.ParseInt(id, 10, 64)
	_, ok := slices.BinarySearchFunc(h, n, func(m archived, n int64) int { return cmp.Compare(m.id, n) })
	return n, ok && err == nil
}

// query answers a query of c to the archive of its account (XEP-0313, section 4).
func query(c *conn, r request) (*xmpp.Element, string) {
	if c.faults.has("no-archive") {
		return nil, ""
	}
	return c.user.archive.answer(c, r, c.user.jid, "")
}

// answer answers a query to the archive of owner, in the name of from.
func (h *history) answer(c *conn, r request, owner xmpp.JID, from string) (*xmpp.Element, string) {
	f, err := parseFilter(r.payload)
	if err != nil {
		c.bounce(r.iq, "modify", "bad-request")
		return nil, silence
	}
	fault, _ := c.faults.value("archive")
	goesOn := f.after+f.before != "" && f.max > 1
	if f.after != "" && f.max > 1 && (fault == "expires" || fault == "vanishes") {
		h.expire(f.after)
	}
	page, count, complete, ok := h.page(f)
	switch {
	case fault == "silence" || fault == "wait":
		return nil, fault
	case fault == "circle" || fault == "stuck" || fault == "fake" || fault == "endless" || fault == "bare":
		page, complete = h.badPage(f, fault), false
	case !ok && (fault == "forgetful" || fault == "vanishes"): // as Prosody 13.0.1
		complete = true
	case !ok || fault == "not-found" && f.after == "":
		return nil, "item-not-found"
	}
	fin := xmpp.NewElement(nsMAM, "fin")
	if complete {
		fin.CreateAttr("complete", "true")
	}
	if fault == "foreign" {
		c.respondForeign(owner, xmpp.Attr(r.payload, "queryid"))
	}
	var first, last string
	for i, m := range page {
		if fault == "cut" && goesOn && i == (len(page)+1)/2 {
			c.out.end(nil)
		}
		if last = m.name(); i == 0 {
			first = last
		}
		c.respond(found(c, m, owner, xmpp.Attr(r.payload, "queryid")))
	}
	if fault == "fake" || fault == "endless" {
		last = xmpp.NewID()
	}
	if fault != "bare" {
		xmpp.Add(fin, resultSet(first, last, strconv.Itoa(count)))
	}
	c.respond(result(r.iq, from, fin))
	return nil, silence
}

// badPage is a page of an archive that misbehaves: it has two messages, or none.
func (h history) badPage(f filter, fault string) (page []archived) {
	f.max = min(f.max, 2)
	switch fault {
	case "endless":
		return nil
	case "stuck", "fake":
		f.after = ""
	}
	page, _, _, _ = h.page(f)
	if len(page) == 0 && fault == "circle" {
		f.after = ""
		page, _, _, _ = h.page(f)
	}
	return page
}

// expire deletes a message, all older ones, and the next three.
func (h *history) expire(id string) {
	n, _ := h.find(id, 0)
	i, _ := slices.BinarySearchFunc(*h, n+1, func(m archived, n int64) int { return cmp.Compare(m.id, n) })
	*h = slices.Delete(*h, 0, min(i+3, max(i, len(*h)-1)))
}

// respondForeign sends results that only a client accepts that does not check addresses and
// ids, a result that cannot be read, and a live message.
func (c *conn) respondForeign(owner xmpp.JID, query string) {
	forged := func(from, queryID, id, inner string) {
		e := xmpp.NewElement(xmpp.NSClient, "message", "from", inner, "to", owner.String(), "type", "chat", "id", xmpp.NewID())
		m := archived{time.Now().UnixMicro(), xmpp.JID{}, xmpp.Add(e, xmpp.NewText(xmpp.NSClient, "body", "forged"))}
		outer := found(c, m, owner, queryID)
		outer.CreateAttr("from", from)
		xmpp.Child(outer, nsMAM, "result").CreateAttr("id", id)
		c.respond(outer)
	}
	own, mallory := owner.String(), "mallory@"+c.s.Domain
	forged(mallory, query, "forged-1", mallory)
	forged(c.s.Domain, query, "forged-2", mallory)
	forged(own+"/x", query, "forged-3", mallory)
	forged(own, "another", "forged-4", mallory)
	forged(own, "", "forged-5", mallory)
	forged(own, query, "", "")
	c.respond(xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message", "from", mallory, "type", "chat"), xmpp.NewText(xmpp.NSClient, "body", "live")))
}

// found wraps an archived message in a result.
func found(c *conn, m archived, owner xmpp.JID, queryID string) *xmpp.Element {
	e := m.e.Copy()
	unsign(e, owner)
	stamp := time.UnixMicro(m.id).UTC().Format("2006-01-02T15:04:05.000000Z")
	result := xmpp.NewElement(nsMAM, "result", "id", m.name())
	if queryID != "" {
		result.CreateAttr("queryid", queryID)
	}
	xmpp.Add(result, xmpp.Add(xmpp.NewElement(nsForward, "forwarded"), xmpp.NewElement(nsDelay, "delay", "stamp", stamp), e))
	return xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message", "from", owner.String(), "to", c.bound.jid.String()), result)
}
