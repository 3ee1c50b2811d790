package receive

import (
	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

// An Arrival is a stanza that the receiver passes on.
type Arrival struct {
	Stanza *xmpp.Element
	Carbon string // sent or received, if it came in a carbon copy
	ID     string // in the archive, "" if there is none or it cannot be trusted
}

// A received stanza is incomplete if it exceeds a limit.
type received struct {
	stanza *xmpp.Element
	over   error
}

// unpack takes a message out of its carbon copy. It reports false for a stanza to drop: a
// forged carbon copy, which still has an id in the archive, or an archive result that
// belongs to no query (XEP-0313, section 8).
func unpack(own xmpp.JID, e *xmpp.Element, carbons, hasIDs bool) (a Arrival, ok bool) {
	if xep.IsArchiveResult(own, own.Bare(), e) {
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

// take passes on a stanza that did not come from the archive.
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

// skip reports a stanza that exceeds a limit, and moves the position past it, so that
// nothing waits for it.
func (c *connection) skip(a Arrival, over error) {
	if c.at.has(a.ID) {
		return
	}
	c.pass(a.ID)
	c.tell(Event{Kind: Oversized, Stanza: a.Stanza, Err: over})
}

// pass notes that the message with this id is done; "" means no id.
func (c *connection) pass(id string) {
	if id != "" && !c.at.has(id) {
		c.at.mark(id)
		c.pending = append(c.pending, id)
	}
}

// handOn has a stanza handled, unless that has happened before.
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
