package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"xmppkit/cmd/exit"
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
func (l *listener) catchUp(ctx context.Context, s *xmpp.Session) error {
	page := xep.ArchiveQuery{Page: xep.Page{Max: archivePageSize}}
	page.After, page.Start = l.at.last()
	var pages circle
	for gone := ""; ; {
		got := &pageful{gone: gone}
		if err := l.readPage(ctx, s, page, got); err != nil {
			return err
		}
		if e, ok := errors.AsType[*xmpp.StanzaError](got.err); ok && e.Condition == xmpp.ItemNotFound && page.After != "" {
			gone, page.After = page.After, ""
			page.Start = l.at.forget()
			continue
		}
		if got.err != nil {
			return archiveError(got.err)
		}
		gone = ""
		if err := l.takeHeld(ctx, s, got); err != nil || got.isLast() {
			return err
		}
		next := cmp.Or(got.end.Last, got.lastID)
		if got.results > 0 && (next == "" || pages.closed(got.end.Last, got.lastID)) {
			return errCircle()
		}
		page.After = cmp.Or(next, page.After)
	}
}

// A pageful is a page of the archive that comes, and what arrives by itself beside it.
type pageful struct {
	query   string
	gone    string // a message that the archive does not have any more, "" if nothing is missing
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
func (l *listener) readPage(ctx context.Context, s *xmpp.Session, page xep.ArchiveQuery, got *pageful) error {
	coming, stop := context.WithCancelCause(l.waiting)
	defer stop(nil)
	iq, query := page.IQ()
	got.query = query
	answer := make(chan xmpp.Answer, 1)
	go func() {
		answer <- <-s.Ask(coming, iq)
		stop(errPageEnds)
	}()
	silence := newSilence(l.env.flags.login, stop)
	defer silence.Stop()
	for e, err := range s.Stanzas(coming) {
		switch {
		case e == nil && err != errPageEnds && err == context.Cause(coming):
			return archiveError(fmt.Errorf("waiting for the answer of %s: %w", s.JID().Bare(), err))
		case e == nil && err != errPageEnds:
			return err
		}
		if e == nil {
			break
		}
		silence.Stop() // it is not the server's what a command takes
		if err := l.takePart(ctx, s, got, received{e, err}); err != nil {
			return err
		}
		silence.Reset(silence.most)
	}
	if s.Deaf() { // the page is not whole; from here on it is lost
		for _, err := range s.Stanzas(l.waiting) {
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
func newSilence(d duration, end context.CancelCauseFunc) silence {
	most := time.Duration(cmp.Or(d, math.MaxInt64))
	return silence{time.AfterFunc(most, func() { end(errTimeout(d)) }), most}
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
func (l *listener) takePart(ctx context.Context, s *xmpp.Session, got *pageful, r received) error {
	var err error
	if result := xep.ArchiveResult(s.JID(), got.query, r.stanza); result != nil {
		l.warnGone(s, got)
		got.results++
		got.lastID = cmp.Or(xmpp.Attr(result, "id"), got.lastID)
		l.uncommitted++
		err = l.takeResult(ctx, s, got.query, r)
	} else if a, _ := l.unpack(s.JID(), r.stanza); a.id != "" {
		got.hold(r)
	} else {
		err = l.take(ctx, s, r)
	}
	if err != nil || l.handler.path == "" && s.Queued() > 0 && l.uncommitted < manyUncommitted {
		return err
	}
	return l.commit(ctx, s)
}

func (p *pageful) hold(r received) {
	if p.heldFor += weight(r.stanza); p.heldFor > heldBudget {
		p.letGo = true
	} else {
		p.held = append(p.held, r)
	}
}

// warnGone reports once that something is lost.
func (l *listener) warnGone(s *xmpp.Session, got *pageful) {
	if got.gone != "" {
		l.env.warn("%s: the archive no longer has message %s: unread messages from before %s are lost",
			s.JID().Bare(), quote(got.gone), l.at.Time.Format(time.RFC3339))
		got.gone = ""
	}
}

// takeHeld hands on what arrived by itself beside the last page. Beside another one, it is
// on a page to come.
func (l *listener) takeHeld(ctx context.Context, s *xmpp.Session, got *pageful) error {
	l.warnGone(s, got)
	if got.isLast() {
		for _, r := range got.held {
			if err := l.take(ctx, s, r); err != nil {
				return err
			}
		}
		l.at.caughtUp()
	}
	if err := l.commit(ctx, s); err != nil {
		return err
	}
	l.works(s)
	return nil
}

// endID returns the id of the last message of the archive, "" where it is empty.
func (l *listener) endID(ctx context.Context, s *xmpp.Session) (string, error) {
	iq, query := xep.ArchiveQuery{Page: xep.Page{Last: true, Max: 1}}.IQ()
	answer, err := s.IQ(ctx, iq)
	got := &pageful{query: query}
	if err = cmp.Or(got.answered(xmpp.Answer{IQ: answer, Err: err}), got.err); err != nil {
		return "", err
	}
	for n := s.Queued(); n > 0; n-- {
		for e := range s.Stanzas(ctx) {
			if result := xep.ArchiveResult(s.JID(), query, e); e != nil && result != nil {
				got.lastID = xmpp.Attr(result, "id")
			}
			break
		}
	}
	return cmp.Or(got.end.Last, got.lastID), nil
}

// takeResult hands on a message out of the archive.
func (l *listener) takeResult(ctx context.Context, s *xmpp.Session, query string, r received) error {
	a, ok := xep.OpenArchived(s.JID(), query, r.stanza)
	if !ok {
		if id := xmpp.Attr(xep.ArchiveResult(s.JID(), query, r.stanza), "id"); !l.at.has(id) {
			l.env.warn("%s: skipped message %s of the archive: it cannot be read", s.JID().Bare(), quote(id))
			l.pass(id)
		}
		return nil
	}
	carbon, ok := a.Missed(s.JID(), l.carbons)
	switch {
	case !ok:
		l.pending = append(l.pending, a.ID)
		return nil
	case r.over != nil:
		l.skip(s.JID(), arrival{a.Message, carbon, a.ID}, r.over)
		return nil
	}
	return l.handOn(ctx, s, arrival{a.Message, carbon, a.ID})
}

// archiveError is the failure to read the archive. That an item is not found says nothing
// of a recipient here.
func archiveError(err error) error {
	err = fmt.Errorf("read the archive: %w", err)
	if e, ok := errors.AsType[*xmpp.StanzaError](err); ok && e.Condition == xmpp.ItemNotFound {
		return &exit.Error{
			Code: exit.Unavailable, Class: "stanza", Err: err,
			Hint: "the server announces an archive and cannot find it: ask its administrator",
		}
	}
	return err
}

// errCircle says that the pages of the archive have no end.
func errCircle() error {
	return &exit.Error{
		Code: exit.Protocol, Class: "stanza", Err: errors.New("read the archive: its pages come again and again"),
		Hint: "the archive of the server is broken: tell its administrator",
	}
}

// A circle notices pages that come again. It remembers one page, and then one after twice
// as many (Brent's algorithm): so it needs little memory, and notices a circle after at
// most three times as many pages as are in it and before it.
type circle struct {
	pages        int
	last, lastID string
}

// closed reports whether a page ends where the remembered one did: in what the server
// says of it, or in what is on it.
func (c *circle) closed(last, lastID string) bool {
	if last != "" && last == c.last || lastID != "" && lastID == c.lastID {
		return true
	}
	if c.pages++; c.pages&(c.pages-1) == 0 {
		c.last, c.lastID = last, lastID
	}
	return false
}
