package receive

import (
	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

// An Arrival is a stanza for the listener.
type Arrival struct {
	Stanza *xmpp.Element
	Carbon string // sent or received, if it came in a carbon copy
	ID     string // in the archive, "" if it is not there, or if that cannot be trusted
}

// A received stanza is one that is not whole where it is over a limit.
type received struct {
	stanza *xmpp.Element
	over   error
}

// unpack takes what arrived out of what it came in. It reports false for what nobody is
// to see: a forged carbon copy, which has a place in the archive all the same, or a result
// of no query (XEP-0313, section 8).
func unpack(own xmpp.JID, e *xmpp.Element, carbons, hasIDs bool) (a Arrival, ok bool) {
	if xep.IsArchiveResult(own, e) {
		return a, false
	}
	a.Stanza, ok = e, true
	if e.Tag == "message" && xep.IsCarbon(e) {
		var copied *xmpp.Element
		if copied, a.Carbon = xep.OpenCarbon(own, e, carbons); copied != nil {
			a.Stanza = copied
		} else {
			ok = false
		}
	}
	if hasIDs {
		a.ID = xep.StanzaID(own, a.Stanza)
	}
	return a, ok
}

func (c *connection) unpack(e *xmpp.Element) (Arrival, bool) {
	return unpack(c.s.JID(), e, c.o.Carbons, c.at.HasIDs)
}

// take hands on a stanza that has arrived by itself.
func (c *connection) take(r received) error {
	c.uncommitted++
	if r.stanza.Tag == "message" { // presences come with each login
		c.malformed = 0
	}
	a, ok := c.unpack(r.stanza)
	switch {
	case !ok:
		c.pass(a.ID)
		return nil
	case r.over != nil:
		c.skip(a, r.over)
		return nil
	}
	return c.handOn(a)
}

// skip reports a stanza that is over a limit, and passes its place in the archive: nothing
// that comes after it waits for it.
func (c *connection) skip(a Arrival, over error) {
	if c.at.has(a.ID) {
		return
	}
	c.pass(a.ID)
	c.tell(Event{Kind: Oversized, Stanza: a.Stanza, Err: over})
}

// pass notes that there is nothing more to do for the message of an id, "" for none.
func (c *connection) pass(id string) {
	if id != "" && !c.at.has(id) {
		c.at.mark(id)
		c.pending = append(c.pending, id)
	}
}

// handOn has a stanza handled, unless it was before.
func (c *connection) handOn(a Arrival) error {
	if c.at.has(a.ID) {
		return nil
	}
	var v Verdict
	if !c.fence.leavesOut(c.s.JID(), a.Stanza) {
		var err error
		if v, err = c.o.Handle(c.ctx, c.s, a); err != nil {
			return err
		}
	}
	c.used = c.used || v.Used
	if v.After != nil {
		c.after = append(c.after, v.After)
	}
	c.pass(a.ID)
	if c.o.Flush == nil {
		if err := c.note(); err != nil {
			return err
		}
	}
	if v.Enough {
		return errEnough
	}
	return nil
}
