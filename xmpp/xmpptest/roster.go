package xmpptest

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"xmppkit/xmpp"
)

const (
	nsRoster      = "jabber:iq:roster"
	nsRosterVer   = "urn:xmpp:features:rosterver"    // RFC 6121, section 2.6.1
	nsPreApproval = "urn:xmpp:features:pre-approval" // RFC 6121, section 3.4.1
)

// A contact is what an account stores about another one.
type contact struct {
	state
	name    string
	groups  []string
	request *xmpp.Element // they asked to see our presence, and we have not answered
}

// A state is the part of a contact that subscriptions change.
type state struct {
	listed   bool // in the roster; somebody who has only asked is not
	to, from bool // we see their presence, they see ours
	ask      bool // we asked to see it
	approved bool // they are pre-approved
}

// contact returns the entry for jid, or makes one that is not listed yet.
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

// rosters implements RFC 6121, section 2, with the versions of section 2.6.
func rosters() feature {
	return feature{
		offer: func(*conn) []*xmpp.Element {
			return []*xmpp.Element{xmpp.NewElement(nsRosterVer, "ver"), xmpp.NewElement(nsPreApproval, "sub")}
		},
		info:     ofServer(nsRoster),
		requests: []handler{{"get", nsRoster, "query", true, rosterGet}, {"set", nsRoster, "query", true, rosterSet}},
	}
}

func rosterGet(c *conn, r request) (*xmpp.Element, string) {
	c.bound.interested = true
	version := strconv.Itoa(c.user.version)
	answer := &xmpp.Element{}
	if xmpp.Attr(r.payload, "ver") != version { // otherwise nothing has changed: section 2.6.2
		answer = xmpp.NewElement(nsRoster, "query", "ver", version)
		byName := func(a, b xmpp.JID) int { return strings.Compare(a.String(), b.String()) }
		for _, jid := range slices.SortedFunc(maps.Keys(c.user.roster), byName) {
			if known := c.user.roster[jid]; known.listed {
				known.addItem(answer, jid)
			}
		}
	}
	c.respond(result(r.iq, "", answer))
	return nil, silence
}

func rosterSet(c *conn, r request) (*xmpp.Element, string) {
	items := xmpp.Children(r.payload, nsRoster, "item")
	if len(items) != 1 {
		c.bounce(r.iq, "modify", "bad-request")
		return nil, silence
	}
	jid, err := xmpp.ParseJID(xmpp.Attr(items[0], "jid"))
	if err != nil {
		c.bounce(r.iq, "modify", "jid-malformed")
		return nil, silence
	}
	known := c.user.contact(jid)
	if xmpp.Attr(items[0], "subscription") != "remove" {
		known.listed, known.name, known.groups = true, xmpp.Attr(items[0], "name"), nil
		for _, g := range xmpp.Children(items[0], nsRoster, "group") {
			known.groups = append(known.groups, xmpp.TextOf(g))
		}
	} else if !c.remove(jid, known) {
		return nil, "item-not-found"
	}
	c.push(c.user, jid)
	c.respond(result(r.iq, "", &xmpp.Element{}))
	return nil, silence
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

// push sends a roster change to the sessions of an account that have requested the
// roster (RFC 6121, section 2.1.6).
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
