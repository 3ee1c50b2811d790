package xmpptest

import (
	"slices"

	"xmppkit/xmpp"
)

// roomPresence is presence for an occupant's address: to join, to change a nick or a status,
// to leave (XEP-0045, section 7).
func roomPresence(c *conn, r *room, e *xmpp.Element, to xmpp.JID) {
	o := r.occupantOf(c.bound)
	switch kind := xmpp.Attr(e, "type"); {
	case kind == "unavailable":
		if o != nil {
			r.leave(c, o, c.bound, e)
		}
	case kind != "":
	case to.Resource == "" && ejabberd(c):
		r.refuse(c, e, "jid-malformed")
	case to.Resource == "":
		r.refuse(c, e, "service-unavailable")
	case o == nil:
		if ms, ok := c.faults.number("room-join-late"); ok {
			c.joinLater(ms, e, to)
			return
		}
		join(c, r, e, to)
	case to.Resource != o.nick:
		r.rename(c, o, to.Resource, e)
	case xmpp.Child(e, nsMUC, "x") != nil: // a client that does not know that it is in
		r.welcome(c, o, e)
	default:
		o.presence = e
		r.show(c, o)
	}
}

// leaveRooms is for a session that is not available any more.
func leaveRooms(c *conn, there *session, e *xmpp.Element) {
	for _, r := range c.s.rooms {
		if o := r.sessions[there]; o != nil {
			r.leave(c, o, there, e)
		}
	}
}

// join lets c enter a room, which it makes if there is none.
func join(c *conn, r *room, e *xmpp.Element, to xmpp.JID) {
	condition := ""
	switch {
	case c.refusesJoin():
		condition, _ = c.faults.value("room-join")
	case xmpp.Child(e, nsMUC, "x") == nil && !ejabberd(c):
		condition = "item-not-found"
	case r != nil:
		condition = r.refusal(c.user, e, to.Resource)
	}
	if condition != "" {
		r.refuse(c, e, condition)
		return
	}
	var codes []string
	if r == nil {
		r = c.s.newRoom(to.Local)
		r.locked = !ejabberd(c)
		r.config.persistent = c.faults.has("room-persistent")
		r.affiliations[c.user.jid] = "owner"
		codes = append(codes, "201")
	}
	nick := c.nickFor(r, to.Resource)
	if nick != to.Resource {
		codes = append(codes, "210")
	}
	r.crowd(c)
	o := r.enter(c.bound, nick, e)
	r.welcome(c, o, e, codes...)
}

// refusal is the condition to refuse to let somebody in with, or "" (section 7.2).
func (r *room) refusal(user *account, e *xmpp.Element, nick string) string {
	password, _ := xmpp.Text(xmpp.Child(e, nsMUC, "x"), nsMUC, "password")
	affiliation, taken := r.affiliation(user), r.nicks[nick]
	switch {
	case r.locked && affiliation != "owner":
		return "item-not-found"
	case affiliation == "outcast":
		return "forbidden"
	case r.config.membersOnly && affiliation == "none":
		return "registration-required"
	case password != r.config.secret && r.config.secret != "":
		return "not-authorized"
	case taken != nil && taken.user != user:
		return "conflict"
	}
	return ""
}

// welcome sends an occupant, by c, what is in the room, in the order of section 7.1: who else
// is there, itself, history, the subject. The others see it.
func (r *room) welcome(c *conn, o *occupant, e *xmpp.Element, codes ...string) {
	o.presence = e
	c.forgeJoin(r, o)
	if ejabberd(c) {
		r.deliver(c, c.bound, xmpp.NewElement(xmpp.NSClient, "presence", "from", r.jid.String()))
	}
	for _, other := range r.occupants {
		if other != o {
			r.deliver(c, c.bound, r.presenceOf(other, o))
		}
	}
	if r.config.whois == "anyone" {
		codes = append(codes, "100")
	}
	r.show(c, o, codes...)
	c.forgeHistory(r, o)
	r.sendHistory(c, e)
	r.deliver(c, c.bound, r.subjectFor(c))
	r.strike(c, c.bound)
}

// show sends all occupants the presence of one. The codes are for its own sessions: for c
// alone, if that is one of them.
func (r *room) show(c *conn, o *occupant, codes ...string) {
	for _, viewer := range r.occupants {
		for _, there := range viewer.sessions {
			e := r.presenceOf(o, viewer)
			if viewer == o {
				if c.bound == there || c.bound == nil || r.sessions[c.bound] != o {
					addCodes(c, e, codes)
				} else {
					addCodes(c, e, nil)
				}
			}
			r.deliver(c, there, e)
		}
	}
}

// addCodes puts status codes into the presence of an occupant, for itself: with 110.
func addCodes(c *conn, e *xmpp.Element, codes []string) {
	addStatus(c, e, codes)
	if !c.faults.has("room-no-110") {
		xmpp.Add(xmpp.Child(e, nsMUCUser, "x"), xmpp.NewElement(nsMUCUser, "status", "code", "110"))
	}
}

// addStatus puts status codes after the items or, as Prosody does, before them.
func addStatus(c *conn, e *xmpp.Element, codes []string) {
	x := xmpp.Child(e, nsMUCUser, "x")
	for i, code := range codes {
		status := xmpp.Add(xmpp.NewElement(nsMUCUser, "x"), xmpp.NewElement(nsMUCUser, "status", "code", code)).ChildElements()[0]
		if ejabberd(c) {
			i = len(x.Child)
		}
		x.InsertChildAt(i, status)
	}
}

// presenceOf is the presence of an occupant as another one sees it, or itself.
func (r *room) presenceOf(o, viewer *occupant) *xmpp.Element {
	e := o.presence.Copy()
	e.RemoveAttr("type")
	e.CreateAttr("from", r.at(o.nick).String())
	strip(e)
	xmpp.Add(e, r.occupantID(o.user))
	return xmpp.Add(e, r.standing(o, viewer, o.role))
}

// strip removes what only a room may say.
func strip(e *xmpp.Element) {
	for _, child := range e.ChildElements() {
		if xmpp.Is(child, nsMUC, "x") || xmpp.Is(child, nsMUCUser, "x") || xmpp.Is(child, nsOccupantID, "occupant-id") {
			e.RemoveChild(child)
		}
	}
}

// standing is what an occupant is, as another one sees it: its address too, if that one may
// know. Itself it sees all its sessions, as Prosody does it.
func (r *room) standing(o, viewer *occupant, role string) *xmpp.Element {
	x := xmpp.NewElement(nsMUCUser, "x")
	for i, there := range o.sessions {
		item := xmpp.NewElement(nsMUCUser, "item", "affiliation", r.affiliation(o.user), "role", role)
		if viewer == o || viewer.role == "moderator" || r.config.whois == "anyone" {
			item.CreateAttr("jid", there.jid.String())
		}
		if i == 0 || viewer == o {
			xmpp.Add(x, item)
		}
	}
	if len(o.sessions) == 0 { // of the crowd
		xmpp.Add(x, xmpp.NewElement(nsMUCUser, "item", "affiliation", "none", "role", role))
	}
	return x
}

// A departure says why somebody leaves a room.
type departure struct {
	codes   []string
	actor   string // nick of who removed them
	reason  string
	nick    string        // the next one
	destroy *xmpp.Element // of the room
	e       *xmpp.Element // the presence that they leave with, or nil
}

// unavailable is a presence of an occupant that has left.
func (r *room) unavailable(o, viewer *occupant, d departure) *xmpp.Element {
	e := xmpp.NewElement(xmpp.NSClient, "presence", "type", "unavailable", "from", r.at(o.nick).String())
	if status, ok := xmpp.Text(d.e, xmpp.NSClient, "status"); ok {
		xmpp.Add(e, xmpp.NewText(xmpp.NSClient, "status", status))
	}
	role := "none"
	if d.nick != "" {
		role = o.role
	}
	x := r.standing(o, viewer, role)
	d.explain(x)
	if d.destroy != nil {
		first := xmpp.Add(xmpp.NewElement(nsMUCUser, "x"), d.destroy.Copy())
		x = xmpp.Add(first, x.ChildElements()...)
	}
	return xmpp.Add(e, r.occupantID(o.user), x)
}

// explain puts into the items of x who has done that, and why.
func (d departure) explain(x *xmpp.Element) {
	for _, item := range xmpp.Children(x, nsMUCUser, "item") {
		if d.nick != "" {
			item.CreateAttr("nick", d.nick)
		}
		if d.actor != "" {
			xmpp.Add(item, xmpp.NewElement(nsMUCUser, "actor", "nick", d.actor))
		}
		if d.reason != "" {
			xmpp.Add(item, xmpp.NewText(nsMUCUser, "reason", d.reason))
		}
	}
}

// leave is for one session, that says so or has ended. Where it was not the only one of its
// occupant, nobody but these two hear of it.
func (r *room) leave(c *conn, o *occupant, there *session, e *xmpp.Element) {
	d := departure{e: e}
	if len(o.sessions) == 1 {
		r.remove(c, o, d)
		return
	}
	last := r.unavailable(o, o, d)
	addCodes(c, last, nil)
	r.deliver(c, there, last)
	delete(r.sessions, there)
	o.sessions = slices.DeleteFunc(o.sessions, func(s *session) bool { return s == there })
	if ejabberd(c) {
		return
	}
	for _, other := range o.sessions {
		still := r.presenceOf(o, o)
		addCodes(c, still, nil)
		r.deliver(c, other, still)
	}
}

// remove takes an occupant out of the room, for everybody to see.
func (r *room) remove(c *conn, o *occupant, d departure) {
	for _, viewer := range slices.Clone(r.occupants) {
		if d.destroy != nil && viewer != o {
			continue // each learns it for itself
		}
		for _, there := range viewer.sessions {
			if ejabberd(c) && viewer == o {
				r.deliver(c, there, xmpp.NewElement(xmpp.NSClient, "presence", "type", "unavailable", "from", r.jid.String()))
			}
			e := r.unavailable(o, viewer, d)
			switch {
			case viewer != o, ejabberd(c) && d.destroy != nil:
				addStatus(c, e, d.codes)
			case ejabberd(c): // whose 110 is the first here, and only here
				addCodes(c, e, nil)
				addStatus(c, e, d.codes)
			default:
				addCodes(c, e, d.codes)
			}
			r.deliver(c, there, e)
		}
	}
	r.forget(c.s, o)
}

// rename changes a nick (section 7.6).
func (r *room) rename(c *conn, o *occupant, nick string, e *xmpp.Element) {
	if r.nicks[nick] != nil {
		r.refuse(c, e, "conflict")
		return
	}
	d := departure{codes: []string{"303"}, nick: nick}
	for _, viewer := range r.occupants {
		for _, there := range viewer.sessions {
			last := r.unavailable(o, viewer, d)
			if viewer == o {
				addCodes(c, last, d.codes)
			} else {
				addStatus(c, last, d.codes)
			}
			r.deliver(c, there, last)
		}
	}
	delete(r.nicks, o.nick)
	o.nick, o.presence = nick, e
	r.nicks[nick] = o
	r.show(c, o)
}
