package xmpp

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
)

const (
	nsRosterVersions = "urn:xmpp:features:rosterver"    // RFC 6121, section 2.6
	nsPreApproval    = "urn:xmpp:features:pre-approval" // RFC 6121, section 3.4
)

// A Contact is an item of a roster (RFC 6121, section 2.1.2).
type Contact struct {
	JID          JID      `json:"jid"`
	Name         string   `json:"name,omitempty"`
	Subscription string   `json:"subscription"`       // none, to, from or both; remove in a change
	Ask          bool     `json:"ask,omitempty"`      // the contact has not answered a request yet
	Approved     bool     `json:"approved,omitempty"` // the contact is pre-approved: its request will be granted
	Groups       []string `json:"groups,omitempty"`   // sorted, each once
}

// To reports whether the account sees the presence of the contact.
func (c Contact) To() bool { return c.Subscription == "to" || c.Subscription == "both" }

// From reports whether the contact sees the presence of the account.
func (c Contact) From() bool { return c.Subscription == "from" || c.Subscription == "both" }

// A Roster is the contacts of an account.
type Roster struct {
	Account  JID    // bare
	Version  string // "" if the server has no versions
	Contacts map[JID]Contact
	Unnamed  int // items without a valid address
}

// Sorted returns the contacts in the order of their addresses, part by part.
func (r *Roster) Sorted() []Contact {
	return slices.SortedFunc(maps.Values(r.Contacts), func(a, b Contact) int {
		return cmp.Or(
			strings.Compare(a.JID.Local, b.JID.Local),
			strings.Compare(a.JID.Domain, b.JID.Domain),
			strings.Compare(a.JID.Resource, b.JID.Resource))
	})
}

// Roster asks for the roster, sends elements after the request, and returns when the
// server has processed both: see Exchange. From then on the server pushes changes: see
// Apply.
//
// known is the roster of an earlier session, or nil. A server with versions sends only
// what has changed since: nothing, pushes, or the whole roster (RFC 6121, section 2.6.3).
// Roster does not change known.
func (s *Session) Roster(ctx context.Context, known *Roster, after ...*Element) (*Roster, error) {
	r := &Roster{Account: s.jid.Bare(), Contacts: make(map[JID]Contact)}
	query := NewElement(NSRoster, "query")
	if s.Feature(nsRosterVersions, "ver") != nil {
		// Prosody 0.12.3 has the same version for a roster that was always empty and
		// for one with a first contact.
		if known != nil && len(known.Contacts) > 0 {
			r.Version = known.Version
			maps.Copy(r.Contacts, known.Contacts)
		}
		query.CreateAttr("ver", r.Version) // empty for a client that knows nothing yet
	}
	answer, err := s.Exchange(ctx, NewIQ("get", JID{}, query), after...)
	if err != nil {
		return nil, err
	}
	if query = Child(answer, NSRoster, "query"); query == nil {
		return r, nil
	}
	r.Version = Attr(query, "ver")
	clear(r.Contacts)
	for item := range Elements(query) {
		switch c, ok := contactOf(item); {
		case !ok && Is(item, NSRoster, "item"):
			r.Unnamed++
		case ok && c.Subscription != "remove":
			r.Contacts[c.JID] = c
		}
	}
	return r, nil
}

// SetContact makes the request that adds a contact or changes its name and groups, or
// removes it if its subscription is remove.
func SetContact(c Contact) *Element {
	item := NewElement(NSRoster, "item", "jid", c.JID.String())
	if c.Subscription == "remove" {
		item.CreateAttr("subscription", c.Subscription)
	} else if c.Name != "" {
		item.CreateAttr("name", c.Name)
	}
	for _, g := range c.Groups {
		Add(item, NewText(NSRoster, "group", g))
	}
	return NewIQ("set", JID{}, Add(NewElement(NSRoster, "query"), item))
}

// PreApproves reports whether the server lets an account approve a request before it
// is made (RFC 6121, section 3.4).
func (s *Session) PreApproves() bool { return s.Feature(nsPreApproval, "sub") != nil }

// Apply brings the roster up to date if e is a roster push, and returns the change. It
// ignores pushes that do not come from the account's server.
func (r *Roster) Apply(e *Element) (Contact, bool) {
	c, version, ok := rosterPush(e, r.Account)
	if !ok {
		return Contact{}, false
	}
	r.Version = version
	if c.Subscription == "remove" {
		delete(r.Contacts, c.JID)
	} else {
		r.Contacts[c.JID] = c
	}
	return c, true
}

// rosterPush reads a roster push, which comes from the account itself and has exactly
// one item (RFC 6121, section 2.1.6): anybody can send something that looks like one.
func rosterPush(e *Element, account JID) (c Contact, version string, ok bool) {
	from, err := Sender(e, account)
	if err != nil || from != account.Bare() || !Is(e, NSClient, "iq") || Attr(e, "type") != "set" {
		return Contact{}, "", false
	}
	query := Child(e, NSRoster, "query")
	items := slices.Collect(Elements(query))
	if len(items) != 1 {
		return Contact{}, "", false
	}
	c, ok = contactOf(items[0])
	return c, Attr(query, "ver"), ok
}

// contactOf reads a roster item. An undefined subscription counts as none (RFC 6121,
// section 2.1.2.5).
func contactOf(item *Element) (Contact, bool) {
	jid, err := SplitJID(Attr(item, "jid"))
	if err != nil || !Is(item, NSRoster, "item") {
		return Contact{}, false
	}
	c := Contact{JID: jid, Name: Attr(item, "name"), Subscription: "none", Ask: Attr(item, "ask") == "subscribe"}
	switch s := Attr(item, "subscription"); s {
	case "to", "from", "both", "remove":
		c.Subscription = s
	}
	if approved := Attr(item, "approved"); approved == "true" || approved == "1" {
		c.Approved = true
	}
	for _, g := range Children(item, NSRoster, "group") {
		c.Groups = append(c.Groups, TextOf(g))
	}
	slices.Sort(c.Groups)
	c.Groups = slices.Compact(c.Groups)
	return c, true
}
