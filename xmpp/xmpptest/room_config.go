package xmpptest

import (
	"slices"
	"strconv"
	"strings"

	"xmppkit/xmpp"
)

// roomConfig is what the owner of a room may change.
type roomConfig struct {
	name, description, secret string
	whois                     string // "moderators" or "anyone" see addresses
	persistent                bool
	public                    bool
	membersOnly               bool
	moderated                 bool
	changeSubject             bool // everybody may
	invites                   bool // members may invite into a room for members
}

// An option is a field of the form for that (XEP-0045, section 15.5.3).
type option struct {
	name, kind string
	text       *string
	flag       *bool
}

func (f *roomConfig) options() []option {
	return []option{
		{"roomname", "text-single", &f.name, nil},
		{"roomdesc", "text-single", &f.description, nil},
		{"persistentroom", "boolean", nil, &f.persistent},
		{"publicroom", "boolean", nil, &f.public},
		{"membersonly", "boolean", nil, &f.membersOnly},
		{"moderatedroom", "boolean", nil, &f.moderated},
		{"roomsecret", "text-private", &f.secret, nil},
		{"changesubject", "boolean", nil, &f.changeSubject},
		{"allowinvites", "boolean", nil, &f.invites},
		{"whois", "list-single", &f.whois, nil},
	}
}

const optionPrefix = "muc#roomconfig_"

func newForm(kind, formType string, fields ...*xmpp.Element) *xmpp.Element {
	form := xmpp.NewElement(nsData, "x", "type", kind)
	return xmpp.Add(xmpp.Add(form, formField("FORM_TYPE", "hidden", formType)), fields...)
}

func formField(name, kind string, values ...string) *xmpp.Element {
	f := xmpp.NewElement(nsData, "field", "var", name, "type", kind)
	for _, v := range values {
		xmpp.Add(f, xmpp.NewText(nsData, "value", v))
	}
	return f
}

// roomForm is what an owner may fill in (section 10.2). Of a false boolean there is no value,
// as with Prosody.
func roomForm(c *conn, r *room, _ request) (*xmpp.Element, string) {
	if r.affiliation(c.user) != "owner" {
		return nil, "forbidden"
	}
	form := newForm("form", nsMUC+"#roomconfig")
	for _, o := range r.config.options() {
		var values []string
		switch {
		case o.flag == nil:
			values = []string{*o.text}
		case *o.flag:
			values = []string{"1"}
		}
		field := formField(optionPrefix+o.name, o.kind, values...)
		for _, choice := range choices(o) {
			xmpp.Add(field, xmpp.Add(xmpp.NewElement(nsData, "option"), xmpp.NewText(nsData, "value", choice)))
		}
		xmpp.Add(form, field)
	}
	return xmpp.Add(xmpp.NewElement(nsMUCOwner, "query"), form), ""
}

func choices(o option) []string {
	if o.kind == "list-single" {
		return []string{"moderators", "anyone"}
	}
	return nil
}

// configure is what an owner has filled in, or the order to destroy the room (sections 10.1,
// 10.2 and 10.9).
func configure(c *conn, r *room, q request) (*xmpp.Element, string) {
	form, destroy := xmpp.Child(q.payload, nsData, "x"), xmpp.Child(q.payload, nsMUCOwner, "destroy")
	switch {
	case r.affiliation(c.user) != "owner":
		return nil, "forbidden"
	case destroy != nil:
		r.destroy(c, destroy)
	case form == nil:
		return nil, "bad-request"
	case !isConfig(form):
		return nil, "bad-request"
	case xmpp.Attr(form, "type") == "cancel":
		if r.locked {
			r.destroy(c, xmpp.NewElement(nsMUCOwner, "destroy"))
		}
	default:
		if name := r.config.unknown(form); name != "" && ejabberd(c) {
			return nil, "not-acceptable"
		}
		return r.submit(c, q, form)
	}
	return &xmpp.Element{}, ""
}

// isConfig reports whether a form that has fields says that it is one for rooms.
func isConfig(form *xmpp.Element) bool {
	fields := xmpp.Children(form, nsData, "field")
	return len(fields) == 0 || slices.ContainsFunc(fields, func(f *xmpp.Element) bool {
		value, _ := xmpp.Text(f, nsData, "value")
		return xmpp.Attr(f, "var") == "FORM_TYPE" && value == nsMUC+"#roomconfig"
	})
}

// submit is where a form has what an owner wants. Prosody answers ahead of the notice to all.
func (r *room) submit(c *conn, q request, form *xmpp.Element) (*xmpp.Element, string) {
	was := r.config
	r.config.fill(form)
	r.locked = false
	switch {
	case r.config == was:
		return &xmpp.Element{}, ""
	case ejabberd(c):
		r.announce(c)
		r.expelStrangers(c)
		return &xmpp.Element{}, ""
	}
	r.expelStrangers(c)
	c.respond(result(q.iq, r.jid.String(), &xmpp.Element{}))
	r.announce(c)
	return nil, silence
}

// unknown returns the name of a field that there is not, or "".
func (f *roomConfig) unknown(form *xmpp.Element) string {
	for _, field := range xmpp.Children(form, nsData, "field") {
		name := xmpp.Attr(field, "var")
		known := func(o option) bool { return optionPrefix+o.name == name }
		if name != "FORM_TYPE" && !slices.ContainsFunc(f.options(), known) {
			return name
		}
	}
	return ""
}

// fill changes what the form has. What is none of the choices stays as it was, and is not
// refused, as with Prosody.
func (f *roomConfig) fill(form *xmpp.Element) {
	for _, field := range xmpp.Children(form, nsData, "field") {
		value, _ := xmpp.Text(field, nsData, "value")
		for _, o := range f.options() {
			if xmpp.Attr(field, "var") != optionPrefix+o.name {
				continue
			}
			flag, err := strconv.ParseBool(strings.TrimSpace(value))
			switch {
			case o.flag != nil && err == nil:
				*o.flag = flag
			case o.flag == nil && (choices(o) == nil || slices.Contains(choices(o), value)):
				*o.text = value
			}
		}
	}
}

// announce tells the occupants of changes (section 10.2.1).
func (r *room) announce(c *conn) {
	for there := range r.sessions {
		e := xmpp.NewElement(xmpp.NSClient, "message", "type", "groupchat", "from", r.jid.String())
		xmpp.Add(e, xmpp.NewElement(nsMUCUser, "x"))
		addStatus(c, e, []string{"104"})
		r.deliver(c, there, e)
	}
}

// expelStrangers removes those who may not be in the room any more.
func (r *room) expelStrangers(c *conn) {
	for _, o := range slices.Clone(r.occupants) {
		if r.config.membersOnly && r.affiliation(o.user) == "none" {
			r.remove(c, o, departure{codes: []string{"322"}})
		}
	}
	if len(r.occupants) == 0 && !r.config.persistent {
		delete(c.s.rooms, r.jid.Local)
	}
}

// destroy ends a room. Of a persistent one something is left, with Prosody: it says where
// people have gone.
func (r *room) destroy(c *conn, order *xmpp.Element) {
	shown := xmpp.NewElement(nsMUCUser, "destroy")
	if jid := xmpp.Attr(order, "jid"); jid != "" {
		shown.CreateAttr("jid", jid)
	}
	if reason, ok := xmpp.Text(order, nsMUCOwner, "reason"); ok {
		xmpp.Add(shown, xmpp.NewText(nsMUCUser, "reason", reason))
	}
	if r.config.persistent && !ejabberd(c) {
		r.destroyed = shown
	} else {
		delete(c.s.rooms, r.jid.Local)
	}
	for _, o := range slices.Clone(r.occupants) {
		r.remove(c, o, departure{destroy: shown})
	}
	clear(r.affiliations)
	r.archive, r.subject, r.held = nil, nil, nil
}

// forwarding puts into an error where a room has gone, and why.
func (r *room) forwarding(answer *xmpp.Element) {
	reason := xmpp.Child(answer, xmpp.NSClient, "error")
	reason.CreateAttr("by", r.jid.String())
	if jid := xmpp.Attr(r.destroyed, "jid"); jid != "" {
		xmpp.Child(reason, xmpp.NSStanzas, "gone").SetText("xmpp:" + jid + "?join")
	}
	if text, ok := xmpp.Text(r.destroyed, nsMUCUser, "reason"); ok {
		xmpp.Add(reason, xmpp.NewText(xmpp.NSStanzas, "text", text))
	}
}
