package xmpp

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A call is a request that waits for its answer.
type call struct {
	to     JID
	answer chan reply
}

type reply struct {
	iq *Element
	at time.Time
}

// IQ sends a request and waits for the answer, which must be of the same id and
// from whom the request went to: answers of others are ignored (RFC 6120, sections
// 8.1.3 and 8.2.3). An answer of type error is returned as a *StanzaError.
//
// A request without an id is given one.
func (s *Session) IQ(ctx context.Context, iq *Element) (*Element, error) {
	answer, _, err := s.call(ctx, iq)
	return answer, err
}

// Ping sends elements and an XEP-0199 ping to an entity in one flight, and waits
// for the answer. As a server works a stream off in order (RFC 6120, section 10.1),
// an answer of the own server, be it an error, proves that it has processed the
// elements, and that its bounces of them have arrived: what Stanzas holds then.
//
// The time is from the write to the read. An error answer comes as a *StanzaError,
// with the time.
func (s *Session) Ping(ctx context.Context, to JID, before ...*Element) (time.Duration, error) {
	_, rtt, err := s.call(ctx, NewIQ("get", to, NewElement(NSPing, "ping")), before...)
	return rtt, err
}

func (s *Session) call(ctx context.Context, iq *Element, before ...*Element) (*Element, time.Duration, error) {
	id := Attr(iq, "id")
	if id == "" {
		id = NewID()
		iq.CreateAttr("id", id)
	}
	c := &call{answer: make(chan reply, 1)}
	if to := Attr(iq, "to"); to != "" {
		var err error
		if c.to, err = ParseJID(to); err != nil {
			return nil, 0, err
		}
	}
	s.mu.Lock()
	s.pending[id] = c
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pending, id)
		s.mu.Unlock()
	}()
	number, sent, err := s.flight(ctx, append(slices.Clip(before), iq)...)
	if err != nil {
		return nil, 0, err
	}
	select {
	case r := <-c.answer:
		return s.answered(r, number, sent)
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("waiting for the answer of %s: %w", s.asked(c), context.Cause(ctx))
	case <-s.done:
	}
	select { // the answer may have been the last thing that came
	case r := <-c.answer:
		return s.answered(r, number, sent)
	default:
		return nil, 0, s.reason()
	}
}

func (s *Session) answered(r reply, flight int, sent time.Time) (*Element, time.Duration, error) {
	s.mu.Lock()
	s.proven = max(s.proven, flight) // every answer comes through the own server, in order
	s.mu.Unlock()
	rtt := r.at.Sub(sent)
	if Attr(r.iq, "type") == "error" {
		return nil, rtt, ErrorOf(r.iq)
	}
	return r.iq, rtt, nil
}

// asked names whom a call went to.
func (s *Session) asked(c *call) JID {
	if c.to.IsZero() {
		return s.jid.Bare()
	}
	return c.to
}

// dispatch gives an iq to whom it belongs and reports whether it is a request, and
// so of interest to Stanzas as well.
func (s *Session) dispatch(iq *Element) bool {
	switch Attr(iq, "type") {
	case "result", "error":
		s.deliver(iq)
		return false
	case "get", "set":
		if Attr(iq, "id") == "" {
			return false // cannot be answered
		}
		s.mu.Lock()
		if s.err == nil && (fromOwnServer(iq, s.jid) || s.served.allow(time.Now())) {
			s.serving.Go(func() { s.serve(iq) })
		}
		s.mu.Unlock()
		return true
	}
	return false
}

func (s *Session) deliver(iq *Element) {
	from, err := s.From(iq)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := Attr(iq, "id")
	if c := s.pending[id]; c != nil && s.answersFor(from, c.to) {
		delete(s.pending, id)
		c.answer <- reply{iq, time.Now()}
	} else {
		s.ignored++
	}
}

// answersFor reports whether an answer from an entity can be the one to a request
// to another. The own server answers in the account's name, in its own, or in none
// (RFC 6120, sections 8.1.2.1 and 10.3.3).
func (s *Session) answersFor(from, to JID) bool {
	switch to {
	case JID{}, s.jid.Bare():
		return from == s.jid.Bare() || from == s.jid || from == s.Server()
	case s.Server():
		return from == s.Server() || from == s.jid.Bare()
	}
	return from == to
}

// fromOwnServer reports whether a stanza comes from the account's server or, in
// its name, from the account.
func fromOwnServer(e *Element, account JID) bool {
	from, err := sender(e, account)
	return err == nil && (from == JID{Domain: account.Domain} || from == account.Bare())
}

// sender returns whom a stanza is from. A from that is empty is not one that is
// absent, which stands for the account.
func sender(stanza *Element, account JID) (JID, error) {
	from, ok := lookUpAttr(stanza, "from")
	if !ok {
		return account.Bare(), nil
	}
	return ParseJID(from)
}

// serve answers a request, each exactly once (RFC 6120, section 8.2.3).
func (s *Session) serve(iq *Element) {
	var answer *Element
	var payload *Element
	n := 0
	for payload = range Elements(iq) {
		n++
	}
	switch {
	case n != 1:
		answer = Refusal(iq, "modify", BadRequest)
	case Is(payload, NSPing, "ping") && Attr(iq, "type") == "get" && fromOwnServer(iq, s.jid):
		answer = Result(iq)
	case s.o.HandleIQ != nil:
		answer = s.o.HandleIQ(s.ctx, iq)
	}
	if answer == nil {
		answer = Refusal(iq, "cancel", ServiceUnavailable)
	}
	// If it cannot be written, the session ends and says so to whoever uses it.
	_ = s.Send(s.ctx, answer)
}

// rate bounds the answers to requests, so that a flood of them is not echoed.
type rate struct {
	second time.Time
	n      int
}

const maxAnswers = 20 // a second

func (r *rate) allow(now time.Time) bool {
	if now.Sub(r.second) >= time.Second {
		r.second, r.n = now, 0
	}
	r.n++
	return r.n <= maxAnswers
}
