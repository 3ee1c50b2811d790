package xmpp

import (
	"context"
	"errors"
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
	iq   *Element
	over *LimitError // nil if it is complete
	at   time.Time
}

// IQ sends a request and waits for the answer. The answer must have the same id and come
// from the recipient, by the rules of Answers; IQ ignores others (RFC 6120, sections 8.1.3
// and 8.2.3). It returns an answer of type error as a *StanzaError, and one over a limit
// as a *LimitError.
//
// IQ gives an id to a request that has none; other ids must be of NewID as well. It sends
// the elements before the request, in the same flight.
func (s *Session) IQ(ctx context.Context, iq *Element, before ...*Element) (*Element, error) {
	answer, _, err := s.call(ctx, iq, before...)
	return answer, err
}

// Ping sends elements and an XEP-0199 ping to an entity in one flight, and waits
// for the answer. A server processes a stream in order (RFC 6120, section 10.1). So an
// answer of the account's server, even an error, proves that the server has processed the
// elements, and that its bounces of them are queued for Stanzas.
//
// The time is from the write to the read. An answer of type error comes as a
// *StanzaError, with the time.
func (s *Session) Ping(ctx context.Context, to JID, before ...*Element) (time.Duration, error) {
	_, rtt, err := s.call(ctx, NewIQ("get", to, NewElement(NSPing, "ping")), before...)
	return rtt, err
}

// Exchange sends a request, elements and a ping in one flight, in this order. It returns
// the answer to the request when the ping has been answered as well: see Ping.
func (s *Session) Exchange(ctx context.Context, iq *Element, after ...*Element) (*Element, error) {
	c, forget, err := s.expect(iq)
	if err != nil {
		return nil, err
	}
	defer forget()
	_, err = s.Ping(ctx, s.Server(), append([]*Element{iq}, after...)...)
	if _, answered := errors.AsType[*StanzaError](err); err != nil && !answered {
		return nil, err
	}
	answer, _, err := s.answered(ctx, c)
	return answer, err
}

// Fence writes elements and a ping to the account's server in one flight, and returns when
// they are written, so that more can follow before the answer comes. wait, to be called
// once, waits for the answer as Ping does. An error is ErrNotSent if nothing has been
// sent, nor will be when the session is resumed.
func (s *Session) Fence(ctx context.Context, before ...*Element) (wait func(context.Context) (time.Duration, error), err error) {
	flight, answer, err := s.begin(ctx, NewIQ("get", s.Server(), NewElement(NSPing, "ping")), before...)
	if err != nil && flight == 0 {
		return nil, notSent{err}
	}
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (time.Duration, error) {
		_, rtt, err := answer(ctx)
		return rtt, err
	}, nil
}

// An Answer is what came of a request, as of IQ.
type Answer struct {
	IQ  *Element
	Err error
}

// Ask is IQ for a caller that keeps ranging over Stanzas until the answer comes. By then
// all that the server sent before the answer is queued.
func (s *Session) Ask(ctx context.Context, iq *Element) <-chan Answer {
	answers := make(chan Answer, 1)
	go func() {
		answer, err := s.IQ(Aside(ctx), iq)
		answers <- Answer{answer, err}
	}()
	return answers
}

type asideKey struct{}

// Aside marks the context of a request that runs while somebody ranges over Stanzas.
// With Options.Pause the reader may then wait for room, which delays the answer.
func Aside(ctx context.Context) context.Context { return context.WithValue(ctx, asideKey{}, true) }

// confirm notes that the server has processed a flight: every answer comes through it, in
// order.
func (s *Session) confirm(flight int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prove(flight)
}

func (s *Session) call(ctx context.Context, iq *Element, before ...*Element) (*Element, time.Duration, error) {
	_, answer, err := s.begin(ctx, iq, before...)
	if err != nil {
		return nil, 0, err
	}
	return answer(ctx)
}

// begin sends elements and a request. It returns the number of the flight, or 0 if
// nothing was sent, and a function that waits for the answer.
func (s *Session) begin(ctx context.Context, iq *Element, before ...*Element) (number int, wait func(context.Context) (*Element, time.Duration, error), err error) {
	c, forget, err := s.expect(iq)
	if err != nil {
		return 0, nil, err
	}
	hinders := 1
	if ctx.Value(asideKey{}) != nil {
		hinders = 0
	}
	s.hinder(hinders)
	number, sent, err := s.flight(ctx, append(slices.Clip(before), iq)...)
	if err != nil {
		s.hinder(-hinders)
		forget()
		return number, nil, err
	}
	return number, func(ctx context.Context) (*Element, time.Duration, error) {
		defer s.hinder(-hinders)
		defer forget()
		answer, at, err := s.answered(ctx, c)
		if at.IsZero() {
			return nil, 0, err
		}
		s.confirm(number)
		return answer, at.Sub(sent), err
	}, nil
}

// expect registers a request that is about to be sent, so that its answer is found. The
// caller calls forget when it no longer waits.
func (s *Session) expect(iq *Element) (c *call, forget func(), err error) {
	id := Attr(iq, "id")
	if id == "" {
		id = NewID()
		iq.CreateAttr("id", id)
	}
	c = &call{answer: make(chan reply, 1)}
	if to := Attr(iq, "to"); to != "" {
		if c.to, err = SplitJID(to); err != nil {
			return nil, nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[id] = c
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pending, id)
	}, nil
}

// answered waits for the answer to a request that has been sent. It also returns when the
// answer was read, even if that is of type error.
func (s *Session) answered(ctx context.Context, c *call) (*Element, time.Time, error) {
	var r reply
	select {
	case r = <-c.answer:
	case <-ctx.Done():
		return nil, time.Time{}, fmt.Errorf("waiting for the answer of %s: %w", Clip(s.asked(c).String(), shown), context.Cause(ctx))
	case <-s.done:
		select { // the answer may have arrived last
		case r = <-c.answer:
		default:
			return nil, time.Time{}, s.reason()
		}
	}
	if Attr(r.iq, "type") == "error" {
		return nil, r.at, ErrorOf(r.iq)
	}
	if r.over != nil {
		return nil, r.at, fmt.Errorf("the answer of %s exceeds a limit: %w", Clip(s.asked(c).String(), shown), r.over)
	}
	return r.iq, r.at, nil
}

// hinder counts the calls that wait for an answer while nobody ranges over Stanzas. A
// reader that waited for room then would wait for ever.
func (s *Session) hinder(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting += n
	s.resumeReading()
}

// asked returns the entity that a call went to.
func (s *Session) asked(c *call) JID {
	if c.to.IsZero() {
		return s.jid.Bare()
	}
	return c.to
}

// dispatch gives an iq to the call that waits for it, or has it answered. It reports
// whether it is a request, which Stanzas yields as well.
func (s *Session) dispatch(a incoming) bool {
	iq := a.stanza
	switch Attr(iq, "type") {
	case "result", "error":
		s.deliver(iq, a.over)
		return false
	case "get", "set":
		if Attr(iq, "id") == "" {
			return false // cannot be answered
		}
		if a.over != nil {
			prune(iq)
		}
		if _, err := s.From(iq); err == nil { // otherwise there is nobody to answer
			s.requested(a)
		}
		return true
	}
	return false
}

func (s *Session) deliver(iq *Element, over *LimitError) {
	from, err := s.From(iq)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := Attr(iq, "id")
	if c := s.pending[id]; c != nil && s.answersFor(from, c.to) {
		delete(s.pending, id)
		c.answer <- reply{iq, over, time.Now()}
	} else {
		s.ignored++
	}
}

// answersFor reports whether an entity may answer a request to another. The account's
// server answers in the account's name, in its own, or in none (RFC 6120, sections 8.1.2.1
// and 10.3.3).
func (s *Session) answersFor(from, to JID) bool {
	switch to {
	case JID{}, s.jid.Bare(), s.jid:
		return from == s.jid.Bare() || from == s.jid || from == s.Server()
	case s.Server():
		return from == s.Server() || from == s.jid.Bare()
	}
	return Answers(from, to, s.jid, true)
}

// Answers reports whether from may answer, or bounce, what the account own has sent to
// another entity. That entity may, its account and its server, and own's server, in its
// own name or the account's.
//
// Servers prepare addresses by other rules than ours: nobodyss bounces what was sent to
// nobodyß. And gateways answer from addresses of their own. If the id is a secret, made by
// NewID for this recipient alone, any address of the recipient's domain may answer.
func Answers(from, to, own JID, secret bool) bool {
	switch from {
	case JID{Domain: to.Domain}, JID{Domain: own.Domain}, own.Bare():
		return true
	}
	return from.Alike(to) || from.Alike(to.Bare()) || from.Bare().Alike(to) || secret && from.Domain == to.Domain
}
