package xmpptest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"xmppkit/xmpp"
)

const (
	nsMUC        = "http://jabber.org/protocol/muc" // XEP-0045
	nsMUCUser    = nsMUC + "#user"
	nsMUCAdmin   = nsMUC + "#admin"
	nsMUCOwner   = nsMUC + "#owner"
	nsOccupantID = "urn:xmpp:occupant-id:0" // XEP-0421
	nsConference = "jabber:x:conference"    // XEP-0249
)

// rooms is XEP-0045, as Prosody 0.12 does it or, by request, ejabberd 23.01.
func rooms() feature {
	return feature{
		host: func(c *conn) string {
			if c.faults.has("no-rooms") {
				return ""
			}
			return "muc"
		},
		serve:  serveRoom,
		gone:   leaveRooms,
		faults: roomKinds(),
	}
}

// A room is one of the rooms of the service.
type room struct {
	jid          xmpp.JID
	config       roomConfig
	locked       bool                // made, and not configured by its owner yet
	destroyed    *xmpp.Element       // <destroy/>, of what only its address is left of
	affiliations map[xmpp.JID]string // by bare address, without those that have none
	occupants    []*occupant         // in the order in which they came
	nicks        map[string]*occupant
	sessions     map[*session]*occupant
	subject      *xmpp.Element // the message that set it, or nil
	archive      history
	held         []func(c *conn) // what is to be said later, see later
}

// An occupant is somebody in a room. Several sessions of an account may share a nick.
type occupant struct {
	nick     string
	user     *account
	sessions []*session
	role     string
	presence *xmpp.Element // the last one
}

func (s *Server) newRoom(local string) *room {
	r := &room{
		jid:          xmpp.JID{Local: local, Domain: "muc." + s.Domain},
		config:       roomConfig{public: true, whois: "moderators"},
		affiliations: make(map[xmpp.JID]string),
		nicks:        make(map[string]*occupant),
		sessions:     make(map[*session]*occupant),
	}
	s.rooms[local] = r
	return r
}

// addRoom adds a room of Config.
func (s *Server) addRoom(local, owner string) error {
	jid, err := xmpp.ParseJID(local + "@muc." + s.Domain)
	if err != nil || jid.Local == "" || jid != jid.Bare() {
		return fmt.Errorf("xmpptest: %q is not the name of a room", local)
	}
	r := s.newRoom(jid.Local)
	r.config.persistent = true
	if user := s.account(owner); user != nil {
		r.affiliations[user.jid] = "owner"
	} else if owner != "" {
		return fmt.Errorf("xmpptest: room %s: no account %q", local, owner)
	}
	return nil
}

// emptyRooms is what a restart leaves of the rooms.
func (s *Server) emptyRooms() {
	maps.DeleteFunc(s.rooms, func(_ string, r *room) bool { return !r.config.persistent })
	for _, r := range s.rooms {
		r.occupants, r.held = nil, nil
		clear(r.nicks)
		clear(r.sessions)
	}
}

// serveRoom is where a stanza has come to the service or to a room.
func serveRoom(c *conn, e *xmpp.Element, to xmpp.JID) {
	r := c.s.rooms[to.Local]
	switch {
	case r != nil && r.destroyed != nil && xmpp.Attr(e, "type") != "unavailable":
		c.bounceAs(e, "cancel", "gone", r.forwarding)
	case e.Tag == "iq" && r.relays(c, e, to):
	case e.Tag == "iq":
		if asks(e) {
			roomRequest(c, r, e, to)
		}
	case e.Tag == "message":
		roomMessage(c, r, e, to)
	default:
		roomPresence(c, r, e, to)
	}
}

// refuse answers e with that condition, as a room does. With silence there is no answer.
func (r *room) refuse(c *conn, e *xmpp.Element, condition string) {
	if condition == silence {
		return
	}
	kind := conditionType(condition)
	if ejabberd(c) && condition == "not-acceptable" {
		kind = "modify"
	}
	c.bounceAs(e, kind, condition, func(answer *xmpp.Element) {
		reason := answer.ChildElements()[0]
		if r != nil {
			reason.CreateAttr("by", r.jid.String())
		}
		if !ejabberd(c) {
			return
		}
		for i, child := range e.Copy().ChildElements() {
			answer.InsertChildAt(i, child)
		}
	})
}

// conditionType is the type that errors of that condition have (RFC 6120, section 8.3.3).
func conditionType(condition string) string {
	switch condition {
	case "not-authorized", "forbidden", "registration-required":
		return "auth"
	case "resource-constraint", "remote-server-timeout", "internal-server-error", "policy-violation":
		return "wait"
	case "bad-request", "jid-malformed":
		return "modify"
	}
	return "cancel"
}

// ejabberd reports whether rooms are as with ejabberd 23.01 where that differs.
func ejabberd(c *conn) bool { return c.faults.has("rooms-ejabberd") }

// affiliation returns that of the account.
func (r *room) affiliation(user *account) string {
	if a, ok := r.affiliations[user.jid]; ok {
		return a
	}
	return "none"
}

// roleOf is the role that the account has when it joins.
func (r *room) roleOf(user *account) string {
	switch r.affiliation(user) {
	case "owner", "admin":
		return "moderator"
	case "none":
		if r.config.moderated {
			return "visitor"
		}
	}
	return "participant"
}

// at is the address of an occupant.
func (r *room) at(nick string) xmpp.JID {
	jid := r.jid
	jid.Resource = nick
	return jid
}

// occupantOf returns the occupant that a session is, or nil.
func (r *room) occupantOf(there *session) *occupant {
	if r == nil {
		return nil
	}
	return r.sessions[there]
}

// occupantID is the same for all occupants of an account (XEP-0421).
func (r *room) occupantID(user *account) *xmpp.Element {
	sum := sha256.Sum256([]byte(r.jid.String() + " " + user.jid.String()))
	return xmpp.NewElement(nsOccupantID, "occupant-id", "id", base64.RawURLEncoding.EncodeToString(sum[:]))
}

// deliver puts something from a room for a session that is still there.
func (r *room) deliver(c *conn, there *session, e *xmpp.Element) {
	if there.user.sessions[there.jid.Resource] == there {
		e.CreateAttr("to", there.jid.String())
		c.deliver(there, e)
	}
}

// enter makes a session an occupant.
func (r *room) enter(there *session, nick string, e *xmpp.Element) *occupant {
	o := r.nicks[nick]
	if o == nil {
		o = &occupant{nick: nick, user: there.user, role: r.roleOf(there.user)}
		r.nicks[nick] = o
		r.occupants = append(r.occupants, o)
	}
	o.sessions = append(o.sessions, there)
	o.presence = e
	r.sessions[there] = o
	return o
}

// forget takes an occupant out. A room that nobody is in, and that is not persistent, is
// gone with it.
func (r *room) forget(s *Server, o *occupant) {
	for _, there := range o.sessions {
		delete(r.sessions, there)
	}
	delete(r.nicks, o.nick)
	r.occupants = slices.DeleteFunc(r.occupants, func(other *occupant) bool { return other == o })
	if len(r.occupants) == 0 && !r.config.persistent {
		delete(s.rooms, r.jid.Local)
	}
}
