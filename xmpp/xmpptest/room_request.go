package xmpptest

import (
	"maps"
	"slices"

	"xmppkit/xmpp"
)

// A roomHandler answers one kind of request to a room, which is there. It returns the payload,
// or the condition to refuse with.
type roomHandler struct {
	kind, ns, name string
	answer         func(c *conn, r *room, q request) (*xmpp.Element, string)
}

func roomHandlers() []roomHandler {
	return []roomHandler{
		{"get", nsDiscoInfo, "query", roomInfo},
		{"get", nsDiscoItems, "query", roomItems},
		{"set", nsMAM, "query", roomArchive},
		{"get", nsMUCOwner, "query", roomForm},
		{"set", nsMUCOwner, "query", configure},
		{"get", nsMUCAdmin, "query", roomLists},
		{"set", nsMUCAdmin, "query", administer},
	}
}

// roomRequest answers a request to the service, to a room or to an occupant.
func roomRequest(c *conn, r *room, e *xmpp.Element, to xmpp.JID) {
	q := requestIn(e, nil)
	payload, condition := (*xmpp.Element)(nil), "service-unavailable"
	refusal, refuses := c.faults.value("room-info")
	switch {
	case to.Local == "":
		payload, condition = roomService(c, q)
	case to.Resource != "":
		payload, condition = occupantRequest(c, r, q, to)
	case refuses && xmpp.Is(q.payload, nsDiscoInfo, "query"):
		condition = refusal
	case r == nil && c.faults.has("room-phantom") && xmpp.Is(q.payload, nsDiscoInfo, "query"):
		payload, condition = roomInfo(c, &room{jid: to, config: roomConfig{public: true}}, q)
	case r == nil:
		condition = "item-not-found"
	default:
		all := roomHandlers()
		is := func(h roomHandler) bool {
			return q.set == (h.kind == "set") && xmpp.Is(q.payload, h.ns, h.name)
		}
		if i := slices.IndexFunc(all, is); i >= 0 {
			payload, condition = all[i].answer(c, r, q)
		}
	}
	switch {
	case payload == nil && condition == "wait": // of an archive
		r.refuse(c, e, "internal-server-error")
	case payload == nil:
		r.refuse(c, e, condition)
	default:
		c.respond(result(e, to.String(), payload))
	}
}

// relays passes on what one occupant asks or answers another (XEP-0045, section 17.1), and
// reports whether that is what e is for.
func (r *room) relays(c *conn, e *xmpp.Element, to xmpp.JID) bool {
	o := r.occupantOf(c.bound)
	if o == nil || r.nicks[to.Resource] == nil || r.nicks[to.Resource] == o || len(r.nicks[to.Resource].sessions) == 0 {
		return false
	}
	e.CreateAttr("from", r.at(o.nick).String())
	r.deliver(c, r.nicks[to.Resource].sessions[0], e)
	return true
}

// occupantRequest is a request to an occupant. Only the ping of one to itself is answered
// (XEP-0410).
func occupantRequest(c *conn, r *room, q request, to xmpp.JID) (*xmpp.Element, string) {
	o := r.occupantOf(c.bound)
	answer, wrong := c.faults.value("room-self-ping")
	switch {
	case r == nil:
		return nil, "item-not-found"
	case o == nil:
		return nil, "not-acceptable"
	case r.nicks[to.Resource] == nil:
		return nil, "item-not-found"
	case to.Resource != o.nick || !xmpp.Is(q.payload, xmpp.NSPing, "ping"):
		return nil, "service-unavailable"
	case wrong:
		return nil, answer
	}
	return &xmpp.Element{}, ""
}

// roomService answers in the name of the service.
func roomService(c *conn, q request) (*xmpp.Element, string) {
	switch node := xmpp.Attr(q.payload, "node"); {
	case q.set:
		return nil, "service-unavailable"
	case xmpp.Is(q.payload, xmpp.NSPing, "ping"):
		return &xmpp.Element{}, ""
	case node != "" && (xmpp.Is(q.payload, nsDiscoInfo, "query") || xmpp.Is(q.payload, nsDiscoItems, "query")):
		return nil, "item-not-found"
	case xmpp.Is(q.payload, nsDiscoInfo, "query"):
		return describe("Chatrooms", nsDiscoInfo, nsDiscoItems, nsMUC), ""
	case xmpp.Is(q.payload, nsDiscoItems, "query"):
		list := xmpp.NewElement(nsDiscoItems, "query")
		for _, local := range slices.Sorted(maps.Keys(c.s.rooms)) {
			r := c.s.rooms[local]
			if r.config.public && r.destroyed == nil {
				xmpp.Add(list, xmpp.NewElement(nsDiscoItems, "item", "jid", r.jid.String(), "name", r.title()))
			}
		}
		return list, ""
	}
	return nil, "service-unavailable"
}

// describe is disco#info of a room or of the service.
func describe(name string, features ...string) *xmpp.Element {
	info := xmpp.NewElement(nsDiscoInfo, "query")
	xmpp.Add(info, xmpp.NewElement(nsDiscoInfo, "identity", "category", "conference", "type", "text", "name", name))
	for _, f := range features {
		xmpp.Add(info, xmpp.NewElement(nsDiscoInfo, "feature", "var", f))
	}
	return info
}

// roomInfo is section 6.4.
func roomInfo(c *conn, r *room, q request) (*xmpp.Element, string) {
	if xmpp.Attr(q.payload, "node") != "" {
		return nil, "item-not-found"
	}
	either := func(is bool, yes, no string) string {
		if is {
			return yes
		}
		return no
	}
	f := &r.config
	features := []string{nsDiscoInfo, nsDiscoItems, nsMUC, nsOccupantID, nsMUC + "#self-ping-optimization",
		either(f.persistent, "muc_persistent", "muc_temporary"),
		either(f.public, "muc_public", "muc_hidden"),
		either(f.membersOnly, "muc_membersonly", "muc_open"),
		either(f.moderated, "muc_moderated", "muc_unmoderated"),
		either(f.secret != "", "muc_passwordprotected", "muc_unsecured"),
		either(f.whois == "anyone", "muc_nonanonymous", "muc_semianonymous")}
	if r.hasArchive(c) {
		features = append(features, nsMAM, nsSID)
	}
	if !ejabberd(c) {
		features = append(features, nsMUC+"#stable_id")
	}
	return xmpp.Add(describe(r.title(), features...), newForm("result", nsMUC+"#roominfo",
		formField("muc#roominfo_description", "text-single", f.description))), ""
}

// title is the name of a room, for people.
func (r *room) title() string {
	if r.config.name != "" {
		return r.config.name
	}
	return r.jid.Local
}

// roomItems are the occupants of a room (section 6.5).
func roomItems(_ *conn, r *room, q request) (*xmpp.Element, string) {
	if xmpp.Attr(q.payload, "node") != "" {
		return nil, "item-not-found"
	}
	list := xmpp.NewElement(nsDiscoItems, "query")
	for _, o := range r.occupants {
		xmpp.Add(list, xmpp.NewElement(nsDiscoItems, "item", "jid", r.at(o.nick).String()))
	}
	return list, ""
}

// hasArchive reports whether c knows of the room's archive.
func (r *room) hasArchive(c *conn) bool { return !c.faults.has("room-no-archive") }

// roomArchive is XEP-0313, for those who might enter.
func roomArchive(c *conn, r *room, q request) (*xmpp.Element, string) {
	affiliation := r.affiliation(c.user)
	switch {
	case !r.hasArchive(c):
		return nil, "service-unavailable"
	case affiliation == "outcast" || r.config.membersOnly && affiliation == "none":
		return nil, "forbidden"
	}
	return r.archive.answer(c, q, r.jid, r.jid.String())
}
