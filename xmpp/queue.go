package xmpp

import (
	"context"
	"fmt"
	"iter"
	"runtime"
)

const (
	// queueBudget limits the memory, in bytes, of the stanzas that Stanzas has not yielded
	// yet. Beyond it the reader pauses, or the session is lost after they are yielded.
	queueBudget = 32 << 20
	// partSize is the memory that a part of a stanza takes besides its text.
	partSize = 100
)

// An incoming stanza waits for Stanzas.
type incoming struct {
	stanza *Element
	over   *LimitError // nil if the stanza is whole
	cost   int64       // in memory, in bytes, about
	number uint64      // its number in the count of XEP-0198; 0 if nothing is counted
}

// Stanzas yields what arrives: messages, presences and requests, in their order. When
// the session or ctx ends, it yields what has arrived by then, and finally a nil
// element with the reason.
//
// A stanza that exceeds a limit comes with a *LimitError, and is incomplete. It has its
// addresses, its id and the parts within the limits, so that it can be reported and
// skipped in an archive. More stanzas follow.
func (s *Session) Stanzas(ctx context.Context) iter.Seq2[*Element, error] {
	return func(yield func(*Element, error) bool) {
		for {
			end := s.await(ctx)
			for n := s.Queued(); n > 0; n-- {
				if a := s.dequeue(); a.stanza != nil && !a.yield(yield) {
					return
				}
			}
			if end != nil {
				yield(nil, end)
				return
			}
		}
	}
}

// await waits until something is queued, or returns why nothing more will be.
func (s *Session) await(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.done:
			return s.reason()
		default:
		}
		if s.Queued() > 0 {
			return nil
		}
		if s.Overflowed() { // and all that was queued has been yielded
			s.abort(errTooMuch)
		}
		select {
		case <-ctx.Done():
		case <-s.done:
		case <-s.ready:
		}
	}
}

// Queued returns how many stanzas Stanzas can yield without waiting.
func (s *Session) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

func (a incoming) yield(yield func(*Element, error) bool) bool {
	if a.over != nil {
		return yield(a.stanza, a.over)
	}
	return yield(a.stanza, nil)
}

// dequeue returns the next stanza of the queue, if there is one.
func (s *Session) dequeue() incoming {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return incoming{}
	}
	a := s.queue[0]
	s.queue[0].stanza = nil
	s.queue = s.queue[1:]
	s.queued -= a.cost
	s.m.held = true
	s.resumeReading()
	return a
}

// resumeReading wakes a paused reader, to check again for room. The session is locked.
func (s *Session) resumeReading() {
	if !s.paused {
		return
	}
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// Overflowed reports whether more arrived than the queue could hold. Stanzas yields what is
// queued, and then the session is lost.
func (s *Session) Overflowed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overflowed
}

// admit waits until there is room for a stanza, and reports whether there is. An empty
// queue has room for any stanza: its author must not be able to end the session. The
// session is locked.
func (s *Session) admit(cost int64) bool {
	full := func() bool { return s.queued > 0 && s.queued+cost > queueBudget }
	for full() && s.err == nil && !s.overflowed {
		if !s.o.Pause || s.waiting > 0 {
			s.overflowed = true
			break
		}
		s.paused = true
		s.mu.Unlock()
		select {
		case <-s.room:
		case <-s.ctx.Done():
		}
		s.mu.Lock()
		s.paused = false
	}
	return !full() && !s.overflowed
}

var errTooMuch = fmt.Errorf("stanzas arrive faster than they are read: more than %d MiB are waiting", queueBudget>>20)

// wake wakes Stanzas if something is queued. The reader calls it when it is about to
// wait, not for each stanza: stanzas that arrive together are handled together.
func (s *Session) wake() {
	if s.Queued() == 0 {
		return
	}
	select {
	case s.ready <- struct{}{}:
	default:
	}
	// Let the loop over Stanzas run first, or a burst would pile up here.
	runtime.Gosched()
}

// route counts a stanza, and passes it to the call or the queue that it belongs to.
func (s *Session) route(a incoming) error {
	e := a.stanza
	if t := Attr(e, "type"); s.Overflowed() && (e.Tag != "iq" || t != "result" && t != "error") {
		return nil // it is not counted, so the server sends it again if the session is resumed
	}
	if e.Tag != "iq" && s.o.Watch != nil {
		s.o.Watch(e)
	}
	take := (e.Tag != "iq" || s.dispatch(a)) && (s.o.Take == nil || s.o.Take(e))
	if take && a.over != nil {
		if e.Tag != "iq" { // which another goroutine may be answering
			prune(e)
		}
		a.cost = prunedCost
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overflowed || take && !s.admit(a.cost) {
		return nil
	}
	if s.m.counting {
		s.m.received++
		a.number = s.m.received
	}
	if take {
		s.queue = append(s.queue, a)
		s.queued += a.cost
	}
	return nil
}

// isPaused reports whether the reader waits for room.
func (s *Session) isPaused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paused
}
