package xmpp

import (
	"context"
	"fmt"
	"iter"
	"runtime"
)

const (
	// queueBudget bounds, in bytes of memory, the stanzas that nobody has taken
	// yet. Past it the reader pauses, or the session is lost once they are taken.
	queueBudget = 32 << 20
	// partSize is what a part of a stanza takes in memory besides its text.
	partSize = 100
)

// An incoming stanza waits for Stanzas.
type incoming struct {
	stanza *Element
	over   *LimitError // nil where the stanza is whole
	cost   int64       // in memory, in bytes, about
	number uint64      // by the count of XEP-0198; 0 where nothing is counted
}

// Stanzas yields what arrives: messages, presences and requests, in their order.
// Where the session ends, or ctx does, it yields what has arrived by then, and
// at last the reason with a nil element.
//
// A stanza over a limit comes with a *LimitError, and is not whole: it has its
// addresses, its id and what else is within the limits, so that it can be reported
// and its place in an archive passed. More follows.
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

// await waits until something is queued, or returns why nothing more is to come.
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
		if s.Deaf() { // and what it had taken has been handled
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

// dequeue returns the next that waits, if there is one.
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

// resumeReading lets the reader go on, or decide anew. The session is locked.
func (s *Session) resumeReading() {
	if !s.paused {
		return
	}
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// Deaf reports whether more has arrived than there was room for. What Stanzas has left is
// whole, and then the session is lost.
func (s *Session) Deaf() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deaf
}

// admit waits until there is room for a stanza, and reports whether there is. One always
// has room, however large it is: whoever wrote it must not end the session. The session
// is locked.
func (s *Session) admit(cost int64) bool {
	full := func() bool { return s.queued > 0 && s.queued+cost > queueBudget }
	for full() && s.err == nil && !s.deaf {
		if !s.o.Pause || s.waiting > 0 {
			s.deaf = true
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
	return !full() && !s.deaf
}

var errTooMuch = fmt.Errorf("more arrives than is read: over %d MiB of stanzas wait", queueBudget>>20)

// wake hands over what has been queued. It is called when the reader is about to
// wait, not for each stanza: those that arrive together are handled together.
func (s *Session) wake() {
	if s.Queued() == 0 {
		return
	}
	select {
	case s.ready <- struct{}{}:
	default:
	}
	// Whoever takes them goes first, or a burst would pile up here.
	runtime.Gosched()
}

// route counts a stanza and gives it to whom it is for.
func (s *Session) route(a incoming) error {
	e := a.stanza
	if t := Attr(e, "type"); s.Deaf() && (e.Tag != "iq" || t != "result" && t != "error") {
		return nil // it is not counted, so that a managed session is sent it again
	}
	if e.Tag != "iq" && s.o.Watch != nil {
		s.o.Watch(e)
	}
	take := (e.Tag != "iq" || s.dispatch(a)) && (s.o.Take == nil || s.o.Take(e))
	if take && a.over != nil {
		if e.Tag != "iq" { // that may be being answered
			prune(e)
		}
		a.cost = prunedCost
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf || take && !s.admit(a.cost) {
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

// isPaused reports whether it is this side that does not read.
func (s *Session) isPaused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paused
}
