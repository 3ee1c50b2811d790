package receive

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

const (
	// archivePageSize is the number of messages in one page.
	archivePageSize = 50

	// clockSkew is how slow the clock of the server may be, compared with ours.
	clockSkew = time.Minute

	// heldBudget limits the memory for live stanzas that arrive while a page is being
	// read, in bytes. They are held until the page ends. The archive has the rest.
	heldBudget = 4 << 20
)

// catchUp passes on the messages in the archive after the last handled one. Live
// messages that arrive in the meantime are in the archive too, unless they were too
// late for the last page.
func (c *connection) catchUp() error {
	page := xep.ArchiveQuery{Page: xep.Page{Max: archivePageSize}}
	page.After, page.Start = c.at.last()
	first := page.After
	var pages xep.Circle
	for gone := ""; ; {
		got := &pageful{gone: gone}
		if err := c.readPage(page, got); err != nil {
			return err
		}
		e, ok := errors.AsType[*xmpp.StanzaError](got.err)
		missing := ok && e.Condition == xmpp.ItemNotFound
		if got.err == nil && got.results == 0 && page.After == first && first != "" {
			var err error
			if missing, err = c.isMissing(first, got); err != nil {
				return err
			}
		}
		if missing && page.After != "" {
			gone, page.After = page.After, ""
			page.Start = c.at.forget()
			continue
		}
		if got.err != nil {
			return &xep.ArchiveError{Err: got.err}
		}
		gone = ""
		if err := c.takeHeld(got); err != nil || got.isLast() {
			return err
		}
		next := cmp.Or(got.end.Last, got.lastID)
		if got.results > 0 && (next == "" || pages.Closed(got.end.Last, got.lastID)) {
			return &xep.ArchiveError{Err: xep.ErrEndless}
		}
		page.After = cmp.Or(next, page.After)
	}
}

// isMissing reports whether the archive no longer has a message, if it returned an empty page
// after it. got is that page, and gets the live stanzas that arrive in the meantime. A server
// must report a missing id with an error (XEP-0313), but Prosody 13.0.1 does not. If the
// archive has the message, it is the last one, unless another arrives just now.
func (c *connection) isMissing(id string, got *pageful) (bool, error) {
	end := &pageful{look: true}
	if err := c.readPage(xep.ArchiveQuery{Page: xep.Page{Last: true, Max: 1}}, end); err != nil {
		return false, err
	}
	if end.err != nil {
		return false, &xep.ArchiveError{Err: end.err}
	}
	last := cmp.Or(end.end.Last, end.lastID)
	got.held = append(got.held, end.held...)
	got.letGo = got.letGo || end.letGo
	justCame := slices.ContainsFunc(got.held, func(r received) bool {
		a, _ := c.unpack(r.stanza)
		return a.ID == last
	})
	return last != id && !justCame && !got.letGo, nil
}

// A pageful is a page of the archive that is being read, and the live stanzas that
// arrive in the meantime.
type pageful struct {
	query   string
	gone    string // a message that the archive no longer has, "" if nothing is missing
	look    bool   // its messages are not passed on
	results int    // so far
	lastID  string // of the last of them
	held    []received
	heldFor int  // its memory, about
	letGo   bool // some live stanzas are not held: they are on a later page

	end xep.ArchiveEnd
	err error // the error of the server
}

// isLast reports whether the page is the last one.
func (p *pageful) isLast() bool { return (p.end.Complete || p.results == 0) && !p.letGo }

// readPage requests a page and passes on its messages as they arrive.
func (c *connection) readPage(page xep.ArchiveQuery, got *pageful) (err error) {
	got.end, got.err, err = xep.ReadPage(c.waiting, c.s, page, c.o.Wait, func(query string, e *xmpp.Element, over error) error {
		got.query = query
		return c.takePart(got, received{e, over})
	})
	return err
}

// takePart handles what arrives while a page is being read. Live messages that are also
// in the archive are held until the end of the page, to keep the order of the archive.
func (c *connection) takePart(got *pageful, r received) error {
	var err error
	if result := c.result(got.query, r.stanza); result != nil {
		got.results++
		got.lastID = cmp.Or(xmpp.Attr(result, "id"), got.lastID)
		if got.look {
			return nil
		}
		c.tellGone(got)
		c.uncommitted++
		err = c.takeResult(got.query, r)
	} else if a, _ := c.unpack(r.stanza); a.ID != "" {
		got.hold(r)
	} else {
		err = c.take(r)
	}
	if err != nil || !c.isTimeToCommit() {
		return err
	}
	return c.commit()
}

func (p *pageful) hold(r received) {
	if p.heldFor += xmpp.Weight(r.stanza); p.heldFor > heldBudget {
		p.letGo = true
	} else {
		p.held = append(p.held, r)
	}
}

// tellGone reports once that messages are lost.
func (c *connection) tellGone(got *pageful) {
	if got.gone != "" {
		c.tell(Event{Kind: Forgotten, ID: got.gone, Before: c.at.Time})
		got.gone = ""
	}
}

// takeHeld passes on the live messages that arrived during the last page. Those that
// arrived during an earlier page are on a later one.
func (c *connection) takeHeld(got *pageful) error {
	c.tellGone(got)
	if got.isLast() {
		for _, r := range got.held {
			if err := c.take(r); err != nil {
				return err
			}
		}
		c.at.caughtUp()
	}
	if err := c.commit(); err != nil {
		return err
	}
	c.works()
	return nil
}

// endID returns the id of the last message of the archive, "" if it is empty.
func (c *connection) endID(ctx context.Context) (string, error) {
	iq, query := xep.ArchiveQuery{Page: xep.Page{Last: true, Max: 1}}.IQ()
	answer, err := c.s.IQ(ctx, iq)
	end, err := xep.PageEndOf(xmpp.Answer{IQ: answer, Err: err})
	if err != nil {
		return "", err
	}
	lastID := ""
	for n := c.s.Queued(); n > 0; n-- {
		for e := range c.s.Stanzas(ctx) {
			if result := c.result(query, e); e != nil && result != nil {
				lastID = xmpp.Attr(result, "id")
			}
			break
		}
	}
	return cmp.Or(end.Last, lastID), nil
}

// result returns the result of the open query to the archive of the account that a stanza is,
// or nil.
func (c *connection) result(query string, e *xmpp.Element) *xmpp.Element {
	return xep.ArchiveResult(c.s.JID(), c.s.JID().Bare(), query, e)
}

// takeResult passes on a message from the archive.
func (c *connection) takeResult(query string, r received) error {
	a, ok := xep.OpenArchived(c.s.JID(), c.s.JID().Bare(), query, r.stanza)
	if !ok {
		if id := xmpp.Attr(c.result(query, r.stanza), "id"); !c.at.has(id) {
			c.tell(Event{Kind: Unreadable, ID: id})
			c.pass(id)
		}
		return nil
	}
	carbon, ok := a.Missed(c.s.JID(), c.o.Carbons)
	switch {
	case !ok:
		c.pending = append(c.pending, a.ID)
		return nil
	case r.over != nil:
		c.skip(Arrival{a.Message, carbon, a.ID}, r.over)
		return nil
	}
	return c.handOn(Arrival{a.Message, carbon, a.ID})
}
