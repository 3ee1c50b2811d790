package xmpptest

import (
	"slices"
	"strconv"
	"time"

	"xmppkit/xmpp"
)

// shownHistory is how many messages a room sends to those who join, if they do not say.
const shownHistory = 20

// roomMessage is a message to a room or to an occupant (XEP-0045, section 7.4 and after).
func roomMessage(c *conn, r *room, e *xmpp.Element, to xmpp.JID) {
	kind, o := xmpp.Attr(e, "type"), r.occupantOf(c.bound)
	switch {
	case kind == "error":
	case r == nil:
		r.refuse(c, e, "item-not-found")
	case kind != "groupchat" && to.Resource == "" && xmpp.Child(e, nsMUCUser, "x") != nil:
		invitation(c, r, o, e)
	case o == nil:
		r.refuse(c, e, "not-acceptable")
	case to.Resource != "":
		r.private(c, o, e, to.Resource)
	case kind == "groupchat":
		r.groupchat(c, o, e)
	case !ejabberd(c): // which says nothing
		r.refuse(c, e, "service-unavailable")
	}
}

// isSubject reports whether a message changes the subject (section 8.1).
func isSubject(e *xmpp.Element) bool {
	return xmpp.Child(e, xmpp.NSClient, "subject") != nil && xmpp.Child(e, xmpp.NSClient, "body") == nil
}

// groupchat says something to all occupants, unless o may not.
func (r *room) groupchat(c *conn, o *occupant, e *xmpp.Element) {
	everybody := r.config.changeSubject || ejabberd(c)
	switch {
	case o.role == "visitor", isSubject(e) && o.role != "moderator" && !everybody:
		r.refuse(c, e, "forbidden")
	default:
		r.later(c, o, e)
	}
}

// say sends a message of o to all occupants, and keeps it. c is who sent it.
func (r *room) say(c *conn, me *session, o *occupant, e *xmpp.Element) {
	e = e.Copy()
	e.RemoveAttr("to")
	e.CreateAttr("from", r.at(o.nick).String())
	strip(e)
	unsign(e, r.jid)
	for _, delay := range xmpp.Children(e, nsDelay, "delay") {
		if xmpp.Attr(delay, "from") == r.jid.String() { // XEP-0203, section 4
			e.RemoveChild(delay)
		}
	}
	switch {
	case isSubject(e) && !ejabberd(c):
		e.RemoveAttr("id")
	case xmpp.Attr(e, "id") == "" && !ejabberd(c):
		e.CreateAttr("id", xmpp.NewID())
	}
	xmpp.Add(e, r.occupantID(o.user))
	if isSubject(e) {
		r.subject = r.stamped(e, time.Now())
	} else if xmpp.Child(e, xmpp.NSClient, "body") != nil && xmpp.Child(e, nsHints, "no-store") == nil {
		r.archive.add(o.user.jid, e, r.jid)
		if !r.hasArchive(c) {
			e = e.Copy()
			unsign(e, r.jid)
		}
	}
	for _, viewer := range slices.Clone(r.occupants) {
		for _, there := range slices.Clone(viewer.sessions) {
			if there == me {
				r.reflect(c, there, e.Copy())
			} else {
				r.deliver(c, there, e.Copy())
			}
		}
	}
	r.heard(c)
}

// private is a message from one occupant to another (section 7.5). It is not reflected.
func (r *room) private(c *conn, o *occupant, e *xmpp.Element, nick string) {
	to := r.nicks[nick]
	switch {
	case xmpp.Attr(e, "type") == "groupchat":
		r.refuse(c, e, "bad-request")
		return
	case to == nil:
		r.refuse(c, e, "item-not-found")
		return
	}
	sent := e.Copy()
	c.pass(passing{c.user, "sent", sent, r.at(nick), []*session{c.bound}})
	strip(e)
	e.CreateAttr("from", r.at(o.nick).String())
	xmpp.Add(e, r.occupantID(o.user), xmpp.NewElement(nsMUCUser, "x"))
	c.pass(passing{to.user, "received", e, r.at(o.nick), to.sessions})
	for _, there := range to.sessions {
		r.deliver(c, there, e)
	}
}

// subjectFor is the subject as those see it who join: an empty one if there is none.
func (r *room) subjectFor(c *conn) *xmpp.Element {
	if r.subject == nil {
		return xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message", "type", "groupchat", "from", r.jid.String()),
			xmpp.NewElement(xmpp.NSClient, "subject"))
	}
	e := r.subject.Copy()
	if ejabberd(c) {
		for _, delay := range xmpp.Children(e, nsDelay, "delay") {
			e.RemoveChild(delay)
		}
	}
	return e
}

// stamped returns a copy of e with the time when the room got it.
func (r *room) stamped(e *xmpp.Element, at time.Time) *xmpp.Element {
	stamp := at.UTC().Format("2006-01-02T15:04:05.000Z")
	return xmpp.Add(e.Copy(), xmpp.NewElement(nsDelay, "delay", "from", r.jid.String(), "stamp", stamp))
}

// sendHistory sends c as much of the archive as it asks for, as e joins (section 7.2.13).
func (r *room) sendHistory(c *conn, e *xmpp.Element) {
	if n, ok := c.faults.number("room-history"); ok {
		r.flood(c, n)
	}
	want := xmpp.Child(xmpp.Child(e, nsMUC, "x"), nsMUC, "history")
	if want == nil {
		want = xmpp.NewElement(nsMUC, "history")
	}
	limit := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(xmpp.Attr(want, name)); err == nil {
			return n
		}
		return otherwise
	}
	from := int64(0)
	if seconds := limit("seconds", -1); seconds >= 0 {
		from = time.Now().Add(-time.Duration(seconds)*time.Second).Unix() * 1e6 // whole ones, as real servers count
	}
	if since, err := time.Parse(time.RFC3339, xmpp.Attr(want, "since")); err == nil {
		from = max(from, since.UnixMicro())
	}
	most, chars := limit("maxstanzas", shownHistory), limit("maxchars", 1<<30)
	var shown []*xmpp.Element
	for _, m := range slices.Backward(r.archive) {
		e := r.stamped(m.e, time.UnixMicro(m.id))
		if b, err := xmpp.XML(e); err == nil {
			chars -= len(b)
		}
		if len(shown) >= most || chars < 0 || m.id < from {
			break
		}
		if !r.hasArchive(c) {
			unsign(e, r.jid)
		}
		shown = append(shown, e)
	}
	for _, e := range slices.Backward(shown) {
		r.deliver(c, c.bound, e)
	}
}
