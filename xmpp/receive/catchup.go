package receive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
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
	var pages circle
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
			return &ArchiveError{got.err}
		}
		gone = ""
		if err := c.takeHeld(got); err != nil || got.isLast() {
			return err
		}
		next := cmp.Or(got.end.Last, got.lastID)
		if got.results > 0 && (next == "" || pages.closed(got.end.Last, got.lastID)) {
			return &ArchiveError{ErrEndless}
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
		return false, &ArchiveError{end.err}
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

var errPageEnds = errors.New("the answer is there")

// readPage requests a page and passes on its messages as they arrive, so that a page
// need not fit into memory. The limit on the wait for the server restarts with each
// stanza.
func (c *connection) readPage(page xep.ArchiveQuery, got *pageful) error {
	coming, stop := context.WithCancelCause(c.waiting)
	defer stop(nil)
	iq, query := page.IQ()
	got.query = query
	answer := make(chan xmpp.Answer, 1)
	go func() {
		answer <- <-c.s.Ask(coming, iq)
		stop(errPageEnds)
	}()
	silence := newSilence(c.o.Wait, stop)
	defer silence.Stop()
	for e, err := range c.s.Stanzas(coming) {
		switch {
		case e == nil && err != errPageEnds && err == context.Cause(coming):
			return &ArchiveError{fmt.Errorf("waiting for the answer of %s: %w", c.s.JID().Bare(), err)}
		case e == nil && err != errPageEnds:
			return err
		}
		if e == nil {
			break
		}
		silence.Stop() // the time that a command takes is not the server's
		if err := c.takePart(got, received{e, err}); err != nil {
			return err
		}
		silence.Reset(silence.most)
	}
	if c.s.Overflowed() { // the page is not whole; from here on it is lost
		for _, err := range c.s.Stanzas(c.waiting) {
			return err
		}
	}
	return got.answered(<-answer)
}

// A silence ends a context when the server has been silent for too long.
type silence struct {
	*time.Timer
	most time.Duration
}

// newSilence ends a context after a silence of d; 0 means no limit.
func newSilence(d time.Duration, end context.CancelCauseFunc) silence {
	most := cmp.Or(d, math.MaxInt64)
	return silence{time.AfterFunc(most, func() { end(xmpp.TimeoutError(d)) }), most}
}

// answered handles the answer to the request for a page.
func (p *pageful) answered(a xmpp.Answer) error {
	if p.err = a.Err; a.Err != nil {
		return nil
	}
	var ok bool
	if p.end, ok = xep.ArchiveEndOf(a.IQ); !ok {
		p.err = &xmpp.StanzaError{Condition: xmpp.UndefinedCondition, Type: "wait", Text: "the answer has no end"}
	}
	return nil
}

// takePart handles what arrives while a page is being read. Live messages that are also
// in the archive are held until the end of the page, to keep the order of the archive.
func (c *connection) takePart(got *pageful, r received) error {
	var err error
	if result := xep.ArchiveResult(c.s.JID(), got.query, r.stanza); result != nil {
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
	got := &pageful{query: query}
	if err = cmp.Or(got.answered(xmpp.Answer{IQ: answer, Err: err}), got.err); err != nil {
		return "", err
	}
	for n := c.s.Queued(); n > 0; n-- {
		for e := range c.s.Stanzas(ctx) {
			if result := xep.ArchiveResult(c.s.JID(), query, e); e != nil && result != nil {
				got.lastID = xmpp.Attr(result, "id")
			}
			break
		}
	}
	return cmp.Or(got.end.Last, got.lastID), nil
}

// takeResult passes on a message from the archive.
func (c *connection) takeResult(query string, r received) error {
	a, ok := xep.OpenArchived(c.s.JID(), query, r.stanza)
	if !ok {
		if id := xmpp.Attr(xep.ArchiveResult(c.s.JID(), query, r.stanza), "id"); !c.at.has(id) {
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
