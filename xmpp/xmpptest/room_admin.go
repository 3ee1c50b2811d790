package xmpptest

import (
	"cmp"
	"slices"

	"xmppkit/xmpp"
)

// roomLists are those of affiliations and roles (XEP-0045, sections 8 to 10).
func roomLists(c *conn, r *room, q request) (*xmpp.Element, string) {
	item := xmpp.Child(q.payload, nsMUCAdmin, "item")
	if item == nil {
		return nil, "bad-request"
	}
	list := xmpp.NewElement(nsMUCAdmin, "query")
	affiliation, role := xmpp.Attr(item, "affiliation"), xmpp.Attr(item, "role")
	switch {
	case affiliation == "" && role == "":
		return nil, "bad-request"
	case affiliation != "" && !r.administers(c.user):
		return nil, "forbidden"
	case affiliation == "" && !r.moderates(c):
		return nil, "forbidden"
	case affiliation != "":
		for jid, a := range r.affiliations {
			if a == affiliation {
				xmpp.Add(list, xmpp.NewElement(nsMUCAdmin, "item", "affiliation", a, "jid", jid.String()))
			}
		}
	default:
		for _, o := range r.occupants {
			if o.role == role && len(o.sessions) > 0 {
				xmpp.Add(list, xmpp.NewElement(nsMUCAdmin, "item", "affiliation", r.affiliation(o.user), "role", role,
					"nick", o.nick, "jid", o.sessions[0].jid.String()))
			}
		}
	}
	return list, ""
}

func (r *room) administers(user *account) bool {
	a := r.affiliation(user)
	return a == "owner" || a == "admin"
}

func (r *room) moderates(c *conn) bool {
	o := r.occupantOf(c.bound)
	return r.administers(c.user) || o != nil && o.role == "moderator"
}

// administer changes affiliations and roles. Prosody takes the first of several items.
func administer(c *conn, r *room, q request) (*xmpp.Element, string) {
	items := xmpp.Children(q.payload, nsMUCAdmin, "item")
	if len(items) == 0 {
		return nil, "bad-request"
	}
	if !ejabberd(c) {
		items = items[:1]
	}
	for _, item := range items {
		change := r.changeRole
		if xmpp.Attr(item, "affiliation") != "" {
			change = r.changeAffiliation
		}
		if condition := change(c, item); condition != "" {
			return nil, condition
		}
	}
	return &xmpp.Element{}, ""
}

// because is how somebody is removed by c.
func (r *room) because(c *conn, code string, item *xmpp.Element) departure {
	d := departure{codes: []string{code}}
	d.reason, _ = xmpp.Text(item, nsMUCAdmin, "reason")
	if o := r.occupantOf(c.bound); o != nil {
		d.actor = o.nick
	}
	return d
}

// changeRole gives and takes voice and moderation, and kicks (sections 8.2 to 8.4, 9.6, 9.7).
func (r *room) changeRole(c *conn, item *xmpp.Element) string {
	o, role := r.nicks[xmpp.Attr(item, "nick")], xmpp.Attr(item, "role")
	switch {
	case !slices.Contains([]string{"none", "visitor", "participant", "moderator"}, role):
		return "bad-request"
	case o == nil:
		return "item-not-found"
	case !r.moderates(c), role != "moderator" && r.administers(o.user) && o.user != c.user:
		return "not-allowed"
	case role == "none":
		why := r.because(c, "307", item)
		if o.user == c.user {
			why.actor = ""
		}
		r.remove(c, o, why)
	default:
		o.role = role
		r.showChange(c, o, item)
	}
	return ""
}

// changeAffiliation makes members, admins, owners and outcasts (sections 9.1 to 9.5, 10.3 to
// 10.8). The last owner stays one.
func (r *room) changeAffiliation(c *conn, item *xmpp.Element) string {
	jid, err := xmpp.ParseJID(xmpp.Attr(item, "jid"))
	if o := r.nicks[xmpp.Attr(item, "nick")]; o != nil && xmpp.Attr(item, "jid") == "" {
		jid, err = o.user.jid, nil
	}
	jid = jid.Bare()
	is, was := xmpp.Attr(item, "affiliation"), cmp.Or(r.affiliations[jid], "none")
	owners := 0
	for _, a := range r.affiliations {
		if a == "owner" {
			owners++
		}
	}
	high := func(a string) bool { return a == "owner" || a == "admin" }
	switch {
	case err != nil || jid.IsZero():
		return "jid-malformed"
	case !slices.Contains([]string{"none", "outcast", "member", "admin", "owner"}, is):
		return "bad-request"
	case !r.administers(c.user), (high(is) || high(was)) && r.affiliation(c.user) != "owner":
		return "not-allowed"
	case was == "owner" && is != "owner" && owners == 1:
		return "conflict"
	case is == "none":
		delete(r.affiliations, jid)
	default:
		r.affiliations[jid] = is
	}
	r.affiliated(c, jid, is, item)
	return ""
}

// affiliated is what an affiliation means for the occupants that have it now.
func (r *room) affiliated(c *conn, jid xmpp.JID, is string, item *xmpp.Element) {
	there := false
	for _, o := range slices.Clone(r.occupants) {
		there = there || o.user.jid == jid
		switch {
		case o.user.jid != jid:
		case is == "outcast":
			r.remove(c, o, r.because(c, "301", item))
		case is == "none" && r.config.membersOnly:
			r.remove(c, o, r.because(c, "321", item))
		default:
			o.role = r.roleOf(o.user)
			r.showChange(c, o, item)
		}
	}
	if !there {
		r.tellModerators(c, jid, is, item)
	}
}

// showChange sends all occupants the presence of one, with who has changed what it may do.
func (r *room) showChange(c *conn, o *occupant, item *xmpp.Element) {
	why := r.because(c, "", item)
	for _, viewer := range r.occupants {
		for _, there := range viewer.sessions {
			e := r.presenceOf(o, viewer)
			why.explain(xmpp.Child(e, nsMUCUser, "x"))
			if viewer == o {
				addCodes(c, e, nil)
			}
			r.deliver(c, there, e)
		}
	}
}

// tellModerators tells of the affiliation of somebody who is not there (section 9.3).
func (r *room) tellModerators(c *conn, jid xmpp.JID, is string, item *xmpp.Element) {
	for _, o := range r.occupants {
		if o.role != "moderator" {
			continue
		}
		for _, there := range o.sessions {
			entry := xmpp.NewElement(nsMUCUser, "item", "affiliation", is, "jid", jid.String())
			if reason, ok := xmpp.Text(item, nsMUCAdmin, "reason"); ok {
				xmpp.Add(entry, xmpp.NewText(nsMUCUser, "reason", reason))
			}
			x := xmpp.Add(xmpp.NewElement(nsMUCUser, "x"), entry)
			r.deliver(c, there, xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message", "from", r.jid.String()), x))
		}
	}
}

// invitation is one by way of the room, or what becomes of it (sections 7.8.2 and 7.8.3). From
// outside the room Prosody ignores it.
func invitation(c *conn, r *room, o *occupant, e *xmpp.Element) {
	x := xmpp.Child(e, nsMUCUser, "x")
	if decline := xmpp.Child(x, nsMUCUser, "decline"); decline != nil {
		r.forward(c, e, decline, c.bound.jid)
		return
	}
	restricted := (r.config.membersOnly || ejabberd(c)) && !r.config.invites
	switch {
	case o == nil && ejabberd(c):
		r.refuse(c, e, "not-acceptable")
	case o == nil:
	case o.role == "visitor":
		r.refuse(c, e, "forbidden")
	case restricted && o.role != "moderator" && ejabberd(c):
		r.refuse(c, e, "not-allowed")
	case restricted && o.role != "moderator":
		r.refuse(c, e, "forbidden")
	default:
		for _, invite := range xmpp.Children(x, nsMUCUser, "invite") {
			r.forward(c, e, invite, r.at(o.nick))
		}
	}
}

// forward sends an invitation in message, or a refusal of one, to whom it is for, in the name of
// from. Whoever is invited into a room for members becomes one.
func (r *room) forward(c *conn, message, part *xmpp.Element, from xmpp.JID) {
	to, err := xmpp.ParseJID(xmpp.Attr(part, "to"))
	if err != nil {
		return
	}
	invites := part.Tag == "invite"
	if invites && r.config.membersOnly && r.affiliations[to.Bare()] == "" {
		r.affiliations[to.Bare()] = "member"
		r.tellModerators(c, to.Bare(), "member", part)
	}
	if ejabberd(c) {
		from = c.bound.jid
	}
	part = part.Copy()
	part.RemoveAttr("to")
	part.CreateAttr("from", from.String())
	x := xmpp.Add(xmpp.NewElement(nsMUCUser, "x"), part)
	e := xmpp.NewElement(xmpp.NSClient, "message", "from", r.jid.String(), "to", to.String())
	if id := xmpp.Attr(message, "id"); id != "" && !(invites && ejabberd(c)) {
		e.CreateAttr("id", id)
	}
	reason, hasReason := xmpp.Text(part, nsMUCUser, "reason")
	body := from.String() + map[bool]string{true: " invited you to the room ", false: " declined your invite to the room "}[invites] + r.jid.String()
	if hasReason {
		body += " (" + reason + ")"
	}
	xmpp.Add(e, x, xmpp.NewText(xmpp.NSClient, "body", body))
	if invites {
		direct := xmpp.NewElement(nsConference, "x", "jid", r.jid.String())
		if hasReason {
			direct.CreateAttr("reason", reason)
		}
		if r.config.secret != "" {
			xmpp.Add(x, xmpp.NewText(nsMUCUser, "password", r.config.secret))
			direct.CreateAttr("password", r.config.secret)
		}
		xmpp.Add(e, direct)
	}
	if user := c.s.accounts[to.Local]; user != nil && to.Domain == c.s.Domain {
		c.arrive(user, e, r.jid, to.Resource)
	}
}
