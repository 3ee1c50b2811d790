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
	// archivePageSize is how many messages are asked for at once.
	archivePageSize = 50

	// clockSkew is how much the clock of the server may be behind ours.
	clockSkew = time.Minute

	// heldBudget bounds, in bytes of memory, what arrives by itself while a page comes and
	// is kept until that has an end. The archive has the rest.
	heldBudget = 4 << 20
)

// catchUp hands on what the archive has after the last message that was handed on. What
// arrives by itself meanwhile is in it as well, if it was not too late for the last page.
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

// isMissing reports whether the archive does not have a message any more, after which it has
// named none, beside got. It has to say so by an error (XEP-0313), but Prosody 13.0.1 does not.
// Where it has the message, that is the last one, unless one arrives just now.
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

// A pageful is a page of the archive that comes, and what arrives by itself beside it.
type pageful struct {
	query   string
	gone    string // a message that the archive does not have any more, "" if nothing is missing
	look    bool   // what is on it is not handed on
	results int    // so far
	lastID  string // of the last of them
	held    []received
	heldFor int  // what that takes in memory, about
	letGo   bool // some of what arrived by itself is not held: it is on a page to come

	end xep.ArchiveEnd
	err error // the server's answer instead
}

// isLast reports whether there is nothing after the page.
func (p *pageful) isLast() bool { return (p.end.Complete || p.results == 0) && !p.letGo }

var errPageEnds = errors.New("the answer is there")

// readPage asks for a page and hands on what is on it as it comes, so that a page may be
// larger than what is kept in memory. The wait for the server begins anew with each stanza.
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
		silence.Stop() // it is not the server's what a command takes
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

// A silence ends a wait for the server.
type silence struct {
	*time.Timer
	most time.Duration
}

// newSilence lets a silence of d end a context, and of any length where d is 0.
func newSilence(d time.Duration, end context.CancelCauseFunc) silence {
	most := cmp.Or(d, math.MaxInt64)
	return silence{time.AfterFunc(most, func() { end(xmpp.TimeoutError(d)) }), most}
}

// answered takes the answer to the request for a page.
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

// takePart takes what arrives while a page comes. What is in the archive and arrived by
// itself is kept for the end of the page, in the order of the archive.
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

// tellGone tells once that something is lost.
func (c *connection) tellGone(got *pageful) {
	if got.gone != "" {
		c.tell(Event{Kind: Forgotten, ID: got.gone, Before: c.at.Time})
		got.gone = ""
	}
}

// takeHeld hands on what arrived by itself beside the last page. Beside another one, it is
// on a page to come.
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

// endID returns the id of the last message of the archive, "" where it is empty.
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

// takeResult hands on a message out of the archive.
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
