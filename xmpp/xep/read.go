package xep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"xmppkit/xmpp"
)

var errPageEnds = errors.New("the answer is there")

// ReadPage requests a page of an archive and passes on what arrives until the answer, so that
// a page need not fit into memory. The results of query are on the page. The limit on the
// wait for the server restarts with each stanza; 0 means no limit.
//
// It returns the error of the server as refused, and what ended the reading as err.
func ReadPage(ctx context.Context, s *xmpp.Session, q ArchiveQuery, wait time.Duration, take func(query string, e *xmpp.Element, over error) error) (end ArchiveEnd, refused, err error) {
	coming, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	iq, query := q.IQ()
	answer := make(chan xmpp.Answer, 1)
	go func() {
		answer <- <-s.Ask(coming, iq)
		stop(errPageEnds)
	}()
	silence := newSilence(wait, stop)
	defer silence.Stop()
	for e, err := range s.Stanzas(coming) {
		switch {
		case e == nil && err != errPageEnds && err == context.Cause(coming):
			return end, nil, &ArchiveError{fmt.Errorf("waiting for the answer of %s: %w", q.of(s.JID()), err)}
		case e == nil && err != errPageEnds:
			return end, nil, err
		}
		if e == nil {
			break
		}
		silence.Stop() // the time that a command takes is not the server's
		if err := take(query, e, err); err != nil {
			return end, nil, err
		}
		silence.Reset(silence.most)
	}
	if s.Overflowed() { // the page is not whole; from here on it is lost
		for _, err := range s.Stanzas(ctx) {
			return end, nil, err
		}
	}
	end, err = PageEndOf(<-answer)
	_, isRefusal := errors.AsType[*xmpp.StanzaError](err)
	if _, over := errors.AsType[*xmpp.LimitError](err); over || isRefusal {
		return end, err, nil
	}
	return end, nil, err
}

// PageEndOf reads the answer that ends a page: what the server has said instead is an error.
func PageEndOf(a xmpp.Answer) (ArchiveEnd, error) {
	if a.Err != nil {
		return ArchiveEnd{}, a.Err
	}
	end, ok := ArchiveEndOf(a.IQ)
	if !ok {
		return ArchiveEnd{}, &xmpp.StanzaError{Condition: xmpp.UndefinedCondition, Type: "wait", Text: "the answer has no end"}
	}
	return end, nil
}

// of returns whose archive a session of the account own asks.
func (q ArchiveQuery) of(own xmpp.JID) xmpp.JID { return cmp.Or(q.Of, own.Bare()) }

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
