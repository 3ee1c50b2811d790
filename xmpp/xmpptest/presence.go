package xmpptest

import (
	"strconv"

	"xmppkit/xmpp"
)

// ownPresence handles presence without an address, which goes to all subscribers (RFC
// 6121, sections 4.2 to 4.5).
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

// presenceFor delivers presence to one address. In a broadcast, "to" is the bare
// address of the recipient.
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

// probe sends c what it has missed: the presence of its contacts and of the account's
// other resources, and requests to subscribe.
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
			for _, there := range user.sessions {
				if there.presence != nil {
					c.presenceFor(c.bound, there.presence)
				}
			}
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
// received it.
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
	for _, f := range c.s.features {
		if f.gone != nil {
			f.gone(c, from, e)
		}
	}
}

// presenceTo handles presence for one address. Presence for an account that does not
// exist is dropped.
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

// subscription implements RFC 6121, section 3 and appendix A, between two accounts of
// this server: me sends e to the other, which changes the state of both.
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

// says changes the state of the owner of c when they send something to the contact, and
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

// hears changes the state of the owner of c when the contact sends e, and reports
// whether e is delivered (RFC 6121, appendix A.3).
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

// tell delivers e to the sessions of an account that are available or have requested
// the roster.
func (c *conn) tell(user *account, e *xmpp.Element) {
	for _, there := range user.sessions {
		if there.presence != nil || there.interested {
			c.deliver(there, e)
		}
	}
}

// hide makes the resources of a user unavailable to those of another.
func (c *conn) hide(user *account, from xmpp.JID) {
	for _, there := range user.sessions {
		if there.presence != nil {
			c.toAvailable(from, xmpp.NewElement(xmpp.NSClient, "presence", "type", "unavailable", "from", there.jid.String()))
		}
	}
}
