package xmpptest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"xmppkit/xmpp"
)

func roomKinds() []kind {
	return []kind{
		{"no-rooms", "", "", "has no service for rooms (XEP-0045)"},
		{"rooms-ejabberd", "", "", "rooms are as with ejabberd 23.01, not as with Prosody 0.12; no fault as such"},
		{"room-persistent", "", "", "new rooms are persistent; no fault as such"},
		{"room-phantom", "", "", "describes rooms that do not exist, so that somebody who joins one makes it (status 201)"},
		{"room-no-archive", "", "", "rooms have no archive (XEP-0313), and no stanza-ids"},
		{"room-join", "", "CONDITION", "refuses joins so, or with silence leaves them unanswered"},
		{"room-joins", "", "N", "room-join strikes the first N joins of a session only"},
		{"room-join-late", "", "MS", "joins are handled so many milliseconds late; what is said until then is refused"},
		{"room-info", "", "CONDITION", "refuses to describe rooms so (disco#info), or with silence does not answer"},
		{"room-no-110", "", "", "the presence of an occupant for itself is without status 110"},
		{"room-nick", "", "NICK", "who joins gets that nick (status 210)"},
		{"room-rename", "", "NICK", "an occupant gets that nick (status 303), once in a session"},
		{"room-remove", "", "301|307|321|322|332|333|none|destroy|silence", "an occupant is removed with that status, or none, or as the room is destroyed, or hears nothing of it; once in a session"},
		{"room-after", "", "N", "room-rename and room-remove strike after N messages of rooms, not after the join"},
		{"room-reflect", "", "never|no-id|new-id", "what a session says in a room does not come back to it, or without its id, or with another one"},
		{"room-late", "", "MS", "what a session says in a room comes so many milliseconds late"},
		{"room-interval", "", "MS", "what an occupant says is so far apart: a message that is too early comes late, one more until then is refused with resource-constraint, as ejabberd does"},
		{"room-self-ping", "", "CONDITION", "refuses pings of an occupant to itself (XEP-0410) so, or with silence leaves them unanswered"},
		{"room-history", "", "N", "sends N messages of history to those who join, whatever they ask for"},
		{"room-crowd", "", "N", "N others are in each room"},
		{"room-forged", "", "", "ahead of what comes from a room comes the same from other rooms, from occupants with nearly the same nick, and from others with the same id"},
	}
}

// roomFaults is what a session keeps for the faults of rooms.
type roomFaults struct {
	joins  int
	heard  int  // messages
	struck bool // renamed or removed
	next   time.Time
	held   bool
}

// refusesJoin reports whether the fault room-join strikes.
func (c *conn) refusesJoin() bool {
	there := &c.bound.rooms
	there.joins++
	n, limited := c.faults.number("room-joins")
	return c.faults.has("room-join") && (!limited || there.joins <= n)
}

// joinLater lets c enter a room later.
func (c *conn) joinLater(ms int, e *xmpp.Element, to xmpp.JID) {
	me, user := c.bound, c.user
	time.AfterFunc(time.Duration(ms)*time.Millisecond, func() {
		c.s.alone(func(nobody *conn) {
			nobody.faults, nobody.bound, nobody.user = c.faults, me, user
			if user.sessions[me.jid.Resource] == me {
				join(nobody, c.s.rooms[to.Local], e, to)
			}
		})
	})
}

// nickFor is the nick of c in the room, instead of the one that it has asked for.
func (c *conn) nickFor(r *room, nick string) string {
	other, ok := c.faults.value("room-nick")
	if !ok {
		return nick
	}
	for r.nicks[other] != nil && r.nicks[other].user != c.user {
		other += "_"
	}
	return other
}

// crowd fills a room with occupants that do nothing.
func (r *room) crowd(c *conn) {
	n, _ := c.faults.number("room-crowd")
	for i := range n {
		nick := "extra " + strconv.Itoa(i+1)
		if r.nicks[nick] != nil {
			continue
		}
		jid := xmpp.JID{Local: "extra" + strconv.Itoa(i+1), Domain: c.s.Domain + ".invalid"}
		o := &occupant{nick: nick, user: &account{jid: jid}, role: "participant", presence: xmpp.NewElement(xmpp.NSClient, "presence")}
		r.nicks[nick] = o
		r.occupants = append(r.occupants, o)
	}
}

// later lets an occupant say something now or, with the faults for that, after a while.
func (r *room) later(c *conn, o *occupant, e *xmpp.Element) {
	me := c.bound
	ms, _ := c.faults.number("room-late")
	wait := time.Duration(ms) * time.Millisecond
	if ms, ok := c.faults.number("room-interval"); ok {
		interval, now, there := time.Duration(ms)*time.Millisecond, time.Now(), &me.rooms
		if there.held {
			r.refuse(c, e, "resource-constraint")
			return
		}
		if early := there.next.Sub(now); early > 0 {
			wait += early
			there.held = true
		}
		there.next = now.Add(max(wait, 0) + interval)
	}
	say := func(c *conn) {
		me.rooms.held = false
		r.say(c, me, o, e)
	}
	if wait <= 0 && len(r.held) == 0 {
		say(c)
		return
	}
	r.held = append(r.held, say)
	time.AfterFunc(wait, func() {
		c.s.alone(func(nobody *conn) {
			nobody.faults = c.faults
			if len(r.held) > 0 { // in the order in which they came
				next := r.held[0]
				r.held = r.held[1:]
				next(nobody)
			}
		})
	})
}

// reflect sends to a session what it has said.
func (r *room) reflect(c *conn, there *session, e *xmpp.Element) {
	c.forgeMessage(r, there, e)
	switch how, _ := c.faults.value("room-reflect"); how {
	case "never":
		return
	case "no-id":
		e.RemoveAttr("id")
	case "new-id":
		e.CreateAttr("id", xmpp.NewID())
	}
	r.deliver(c, there, e)
}

// heard counts a message for all who got it.
func (r *room) heard(c *conn) {
	for _, o := range slices.Clone(r.occupants) {
		for _, there := range slices.Clone(o.sessions) {
			there.rooms.heard++
			r.strike(c, there)
		}
	}
}

// strike is where an occupant is renamed or removed, if its connection has such a fault.
func (r *room) strike(c *conn, there *session) {
	o := r.sessions[there]
	if o == nil || there.conn == nil || there.rooms.struck {
		return
	}
	faults := there.conn.faults
	if after, _ := faults.number("room-after"); there.rooms.heard < after {
		return
	}
	if nick, ok := faults.value("room-rename"); ok && r.nicks[nick] == nil {
		there.rooms.struck = true
		r.rename(c, o, nick, o.presence)
	}
	if how, ok := faults.value("room-remove"); ok {
		there.rooms.struck = true
		r.expel(c, o, how)
	}
}

// expel removes an occupant as the fault room-remove says.
func (r *room) expel(c *conn, o *occupant, how string) {
	d := departure{codes: []string{how}, reason: "a fault"}
	switch how {
	case "silence":
		r.forget(c.s, o)
		return
	case "destroy":
		r.destroy(c, xmpp.Add(xmpp.NewElement(nsMUCOwner, "destroy"), xmpp.NewText(nsMUCOwner, "reason", "a fault")))
		return
	case "none":
		d = departure{}
	case "301":
		r.affiliations[o.user.jid] = "outcast"
		d.actor = "warden"
	case "307":
		d.actor = "warden"
	case "322":
		delete(r.affiliations, o.user.jid)
		r.config.membersOnly = true
	}
	r.remove(c, o, d)
}

// flood sends c messages that it has not asked for, as history.
func (r *room) flood(c *conn, n int) {
	start := time.Now().Add(-time.Hour)
	for i := range n {
		id := strconv.Itoa(i + 1)
		e := xmpp.NewElement(xmpp.NSClient, "message", "type", "groupchat", "from", r.at("ghost").String(), "id", "flood"+id)
		xmpp.Add(e, xmpp.NewText(xmpp.NSClient, "body", "history "+id))
		r.deliver(c, c.bound, r.stamped(e, start.Add(time.Duration(i)*time.Millisecond)))
	}
}

// twins are addresses that only somebody who does not compare them takes for jid.
func (r *room) twins(nick string) []xmpp.JID {
	other, elsewhere := r.at(nick), r.at(nick)
	other.Local = "not-" + other.Local
	elsewhere.Domain += ".evil.example"
	twins := []xmpp.JID{other, elsewhere}
	for _, close := range []string{strings.ToUpper(nick), nick + "_", "mallory"} {
		if close != nick {
			twins = append(twins, r.at(close))
		}
	}
	return twins
}

// forgeJoin sends, with the fault room-forged, presence ahead of that of an occupant for
// itself. None of it says 110 from where it would be true.
func (c *conn) forgeJoin(r *room, o *occupant) {
	if !c.faults.has("room-forged") {
		return
	}
	for _, from := range r.twins(o.nick) {
		e := r.presenceOf(o, o)
		e.CreateAttr("from", from.String())
		if from.Bare() != r.jid {
			addCodes(c, e, nil)
		}
		r.deliver(c, c.bound, e)
	}
}

// forgeHistory sends, behind that, what is neither history of the room nor its subject.
func (c *conn) forgeHistory(r *room, o *occupant) {
	if !c.faults.has("room-forged") {
		return
	}
	for _, from := range r.twins(o.nick)[:2] {
		e := xmpp.NewElement(xmpp.NSClient, "message", "type", "groupchat", "from", from.String(), "id", "forged")
		body, subject := e.Copy(), e
		xmpp.Add(body, xmpp.NewText(xmpp.NSClient, "body", "forged"),
			xmpp.NewElement(nsDelay, "delay", "from", from.Bare().String(), "stamp", "2020-01-01T00:00:00Z"))
		r.deliver(c, c.bound, body)
		r.deliver(c, c.bound, xmpp.Add(subject, xmpp.NewText(xmpp.NSClient, "subject", "forged")))
	}
}

// forgeMessage does the same ahead of a message for the session that has sent it.
func (c *conn) forgeMessage(r *room, there *session, e *xmpp.Element) {
	if !c.faults.has("room-forged") {
		return
	}
	from, _ := xmpp.ParseJID(xmpp.Attr(e, "from"))
	for _, twin := range append(r.twins(from.Resource), r.jid) {
		forged := e.Copy()
		forged.CreateAttr("from", twin.String())
		unsign(forged, r.jid)
		r.deliver(c, there, forged)
	}
}
