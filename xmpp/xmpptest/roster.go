package xmpptest

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"xmppkit/xmpp"
)

const nsRoster = "jabber:iq:roster"

// A contact is what an account knows about another one.
type contact struct {
	state
	name    string
	groups  []string
	request *xmpp.Element // they asked to see our presence, and we have not answered
}

// A state is the part of a contact that subscriptions change.
type state struct {
	listed   bool // in the roster; somebody who only asked is not
	to, from bool // we see their presence, they see ours
	ask      bool // we asked to see it
	approved bool // they may see ours as soon as they ask
}

// contact returns the entry for jid, making one that is not listed yet.
func (a *account) contact(jid xmpp.JID) *contact {
	c := a.roster[jid]
	if c == nil {
		c = new(contact)
		a.roster[jid] = c
	}
	return c
}

func (c *contact) subscription() string {
	switch {
	case c.to && c.from:
		return "both"
	case c.to:
		return "to"
	case c.from:
		return "from"
	}
	return "none"
}

// addItem adds the roster item for c to a query.
func (c *contact) addItem(query *xmpp.Element, jid xmpp.JID) {
	item := query.CreateElement("item")
	item.CreateAttr("jid", jid.String())
	if !c.listed {
		item.CreateAttr("subscription", "remove")
		return
	}
	item.CreateAttr("subscription", c.subscription())
	if c.name != "" {
		item.CreateAttr("name", c.name)
	}
	if c.ask {
		item.CreateAttr("ask", "subscribe")
	}
	if c.approved {
		item.CreateAttr("approved", "true")
	}
	for _, g := range c.groups {
		item.CreateElement("group").SetText(g)
	}
}

// rosterIQ is RFC 6121, section 2.
func (c *conn) rosterIQ(e *xmpp.Element, kind string, query *xmpp.Element) {
	if kind == "set" {
		c.rosterSet(e, query)
		return
	}
	c.bound.interested = true
	version := strconv.Itoa(c.user.version)
	if xmpp.Attr(query, "ver") == version { // section 2.6.2: nothing has changed
		c.respond(result(e, "", &xmpp.Element{}))
		return
	}
	answer := xmpp.NewElement(nsRoster, "query", "ver", version)
	byName := func(a, b xmpp.JID) int { return strings.Compare(a.String(), b.String()) }
	for _, jid := range slices.SortedFunc(maps.Keys(c.user.roster), byName) {
		if known := c.user.roster[jid]; known.listed {
			known.addItem(answer, jid)
		}
	}
	c.respond(result(e, "", answer))
}

func (c *conn) rosterSet(e, query *xmpp.Element) {
	items := xmpp.Children(query, nsRoster, "item")
	if len(items) != 1 {
		c.bounce(e, "modify", "bad-request")
		return
	}
	jid, err := xmpp.ParseJID(xmpp.Attr(items[0], "jid"))
	if err != nil {
		c.bounce(e, "modify", "jid-malformed")
		return
	}
	known := c.user.contact(jid)
	if xmpp.Attr(items[0], "subscription") != "remove" {
		known.listed, known.name, known.groups = true, xmpp.Attr(items[0], "name"), nil
		for _, g := range xmpp.Children(items[0], nsRoster, "group") {
			known.groups = append(known.groups, xmpp.TextOf(g))
		}
	} else if !c.remove(jid, known) {
		c.bounce(e, "cancel", "item-not-found")
		return
	}
	c.push(c.user, jid)
	c.respond(result(e, "", &xmpp.Element{}))
}

// remove ends all subscriptions with a contact and takes it off the roster (RFC
// 6121, section 2.5). It reports false for one that is not on it.
func (c *conn) remove(jid xmpp.JID, known *contact) bool {
	if !known.listed {
		return false
	}
	known.listed = false
	for _, kind := range []string{"unsubscribe", "unsubscribed"} {
		if kind == "unsubscribe" && (known.to || known.ask) || kind == "unsubscribed" && known.from {
			c.subscription(c.user, xmpp.NewElement(xmpp.NSClient, "presence"), kind, jid)
		}
	}
	*known = contact{}
	return true
}

// push tells the sessions of an account that care about a change of its roster
// (RFC 6121, section 2.1.6).
func (c *conn) push(user *account, jid xmpp.JID) {
	user.version++
	for _, there := range user.sessions {
		if !there.interested {
			continue
		}
		query := xmpp.NewElement(nsRoster, "query", "ver", strconv.Itoa(user.version))
		user.roster[jid].addItem(query, jid)
		c.deliver(there, xmpp.Add(xmpp.NewElement(xmpp.NSClient, "iq", "type", "set", "id", xmpp.NewID(), "to", there.jid.String()), query))
	}
}

// ownPresence is presence without an address: to all who are subscribed (RFC 6121,
// sections 4.2 to 4.5).
func (c *conn) ownPresence(e *xmpp.Element) {
	me := c.bound
	switch xmpp.Attr(e, "type") {
	case "":
	case "unavailable":
		c.unavailable(me, e)
		return
	default:
		return
	}
	initial := me.presence == nil
	priority, _ := xmpp.Text(e, xmpp.NSClient, "priority")
	n, err := strconv.ParseInt(priority, 10, 8)
	if err != nil {
		n = 0
	}
	me.presence, me.priority = e, int(n)
	c.broadcast(me, e)
	if initial {
		c.probe()
	}
	if me.priority >= 0 {
		for _, m := range c.user.offline {
			c.deliver(me, m)
		}
		c.user.offline = nil
	}
}

// presenceFor delivers presence to one address: what stands in "to" is the bare
// address of a broadcast's recipient.
func (c *conn) presenceFor(there *session, e *xmpp.Element) {
	e.CreateAttr("to", there.user.jid.String())
	c.deliver(there, e)
}

// broadcast sends the presence of from, on behalf of c, to the available resources
// of its contacts and to its own, itself included (RFC 6121, section 4.2.2).
func (c *conn) broadcast(from *session, e *xmpp.Element) {
	for _, there := range from.user.sessions {
		if there.presence != nil {
			c.presenceFor(there, e)
		}
	}
	for jid, contact := range from.user.roster {
		if contact.from {
			c.toAvailable(jid, e)
		}
	}
}

// toAvailable delivers presence to the available resources of an account.
func (c *conn) toAvailable(jid xmpp.JID, e *xmpp.Element) {
	user := c.s.accounts[jid.Local]
	if user == nil || jid.Domain != c.s.Domain {
		return
	}
	for _, there := range user.sessions {
		if there.presence != nil {
			c.presenceFor(there, e)
		}
	}
}

// probe sends c what it would have seen, had it been there: the presence of its
// contacts and of its own other resources, and requests to subscribe.
func (c *conn) probe() {
	for _, there := range c.user.sessions {
		if there != c.bound && there.presence != nil {
			c.presenceFor(c.bound, there.presence)
		}
	}
	for jid, contact := range c.user.roster {
		if contact.request != nil {
			c.deliver(c.bound, contact.request)
		}
		if user := c.s.accounts[jid.Local]; contact.to && user != nil && jid.Domain == c.s.Domain {
			c.presencesOf(user, c.user.jid)
		}
	}
}

// presencesOf sends the presence of a user's resources to those of another.
func (c *conn) presencesOf(user *account, to xmpp.JID) {
	for _, there := range user.sessions {
		if there.presence != nil {
			c.toAvailable(to, there.presence)
		}
	}
}

// unavailable ends the presence of a session on behalf of c, for everybody who has
// seen it.
func (c *conn) unavailable(from *session, e *xmpp.Element) {
	if from.presence != nil {
		from.presence = nil
		c.broadcast(from, e)
	}
	for jid := range from.directed {
		e.CreateAttr("to", jid.String())
		c.show(e, jid)
	}
	from.directed = nil
}

// presenceTo is presence for one address. Of that for an account that does not
// exist nobody hears.
func (c *conn) presenceTo(e *xmpp.Element, to xmpp.JID) {
	kind := xmpp.Attr(e, "type")
	switch kind {
	case "subscribe", "subscribed", "unsubscribe", "unsubscribed":
		c.subscription(c.user, e, kind, to.Bare())
		return
	case "":
		if c.bound.directed == nil {
			c.bound.directed = make(map[xmpp.JID]bool)
		}
		c.bound.directed[to] = true
	case "unavailable":
		delete(c.bound.directed, to)
	case "error":
	default:
		return
	}
	c.show(e, to)
}

func (c *conn) show(e *xmpp.Element, to xmpp.JID) {
	if to.Resource == "" {
		c.toAvailable(to, e)
		return
	}
	if user := c.s.accounts[to.Local]; user != nil && user.sessions[to.Resource] != nil {
		c.deliver(user.sessions[to.Resource], e)
	}
}

// subscription is RFC 6121, section 3 and appendix A, between two accounts of this
// server: me says e to the other one, which changes what both know.
func (c *conn) subscription(me *account, e *xmpp.Element, kind string, to xmpp.JID) {
	them := c.s.accounts[to.Local]
	if to.Domain != c.s.Domain || them == me {
		return
	}
	e.CreateAttr("from", me.jid.String())
	e.CreateAttr("to", to.String())
	e.CreateAttr("type", kind)
	mine, theirs := me.contact(to), new(contact)
	if them != nil {
		theirs = them.contact(me.jid)
	}
	was, theyWere := mine.state, theirs.state
	routed := mine.says(kind)
	approved := theirs.from || theirs.approved
	delivered := routed && theirs.hears(kind, e)
	if mine.listed && mine.state != was {
		c.push(me, to)
	}
	if them == nil {
		return
	}
	if theirs.listed && theirs.state != theyWere {
		c.push(them, me.jid)
	}
	if delivered {
		c.tell(them, e)
	}
	switch {
	case kind == "subscribe" && approved: // section 3.1.3: the server answers for them
		theirs.request = e
		c.subscription(them, xmpp.NewElement(xmpp.NSClient, "presence"), "subscribed", me.jid)
	case kind == "subscribed" && routed:
		c.presencesOf(me, to)
	case kind == "unsubscribe" && delivered:
		c.hide(them, me.jid)
	case kind == "unsubscribed" && delivered:
		c.hide(me, to)
	}
}

// says changes what the owner of c knows as they say something to the contact, and
// reports whether it is routed (RFC 6121, appendix A.2).
func (c *contact) says(kind string) bool {
	switch kind {
	case "subscribe":
		c.listed, c.ask = true, !c.to
	case "unsubscribe":
		c.to, c.ask = false, false
	case "subscribed":
		if c.request == nil {
			if !c.from { // section 3.4
				c.listed, c.approved = true, true
			}
			return false
		}
		c.listed, c.from, c.approved, c.request = true, true, false, nil
	case "unsubscribed":
		known := c.from || c.request != nil
		c.from, c.approved, c.request = false, false, nil
		return known
	}
	return true
}

// hears changes what the owner of c knows as the contact says e, and reports
// whether they are told (RFC 6121, appendix A.3).
func (c *contact) hears(kind string, e *xmpp.Element) bool {
	known := false
	switch kind {
	case "subscribe":
		if c.from || c.approved || c.request != nil {
			return false
		}
		c.request = e
		return true
	case "unsubscribe":
		known = c.from || c.request != nil
		c.from, c.request = false, nil
	case "subscribed":
		known = c.ask
		c.to, c.ask = c.to || c.ask, false
	case "unsubscribed":
		known = c.to || c.ask
		c.to, c.ask = false, false
	}
	return known
}

// tell delivers e to the sessions of an account that are available or care about
// its roster.
func (c *conn) tell(user *account, e *xmpp.Element) {
	for _, there := range user.sessions {
		if there.presence != nil || there.interested {
			c.deliver(there, e)
		}
	}
}

// hide makes the resources of a user unavailable for those of another.
func (c *conn) hide(user *account, from xmpp.JID) {
	for _, there := range user.sessions {
		if there.presence != nil {
			c.toAvailable(from, xmpp.NewElement(xmpp.NSClient, "presence", "type", "unavailable", "from", there.jid.String()))
		}
	}
}
