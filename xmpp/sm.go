package xmpp

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// NSManage is the namespace of stream management (XEP-0198).
const NSManage = "urn:xmpp:sm:3"

// A sentStanza is a stanza that may have to be resent.
type sentStanza struct {
	flight int
	stanza *Element
}

// management is the state of XEP-0198 in a session.
type management struct {
	asked    bool   // <enable/> has been sent
	counting bool   // what arrives is counted: <enabled/> has come
	resumed  bool   // instead of bound
	id       string // for a Resumption; "" where the server does not resume
	location string

	received uint64 // stanzas that arrived
	handled  uint64 // of them, those that have been handled
	told     uint64 // of them, those that were acknowledged to the server
	held     bool   // Stanzas has yielded something that is not handled yet

	toldAt  time.Time
	telling bool // an acknowledgement is due very soon

	sent      uint32
	acked     uint32
	unproven  []sentStanza
	again     []*Element // what has to be resent, in a resumed session
	unacked   int        // how many stanzas that is
	forgotten bool       // unproven became too long: the session cannot be resumed
}

const (
	// manyUnproven is how many stanzas are kept before the server is asked for an
	// acknowledgement. Usually the answer to some request confirms them earlier.
	manyUnproven = 100
	// maxUnproven is how many are kept if the server acknowledges none.
	maxUnproven = 20_000
)

// Handled notes that everything that Stanzas has yielded so far has been handled.
func (s *Session) Handled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m.held = false
	s.handle()
}

// Acknowledge is Handled, and with Options.Manage it also acknowledges to the server, which
// then does not deliver those stanzas again. It does so immediately, or very soon if it has
// just acknowledged others. A caller that stores Resumption calls Handled, stores, and then
// calls Acknowledge: a count that goes backwards can upset a server. See also
// Options.Acknowledging.
func (s *Session) Acknowledge(ctx context.Context) error {
	s.Handled()
	s.mu.Lock()
	news := s.m.handled - s.m.told
	if !s.m.counting || news == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.err == nil && news < manyUnproven && time.Since(s.m.toldAt) < verySoon {
		s.tellSoon()
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	return s.writeAck(ctx)
}

// tellSoon schedules an acknowledgement. The session is locked.
func (s *Session) tellSoon() {
	if s.m.telling {
		return
	}
	s.m.telling = true
	time.AfterFunc(verySoon, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.m.telling && s.err == nil {
			s.serving.Go(s.tell)
		}
	})
}

// verySoon is how long an acknowledgement may wait, so that it covers more stanzas. An
// acknowledgement costs the server about as much as a message.
const verySoon = 20 * time.Millisecond

// handle counts everything that arrived before the first stanza of the queue as handled,
// unless something is held. The session is locked.
func (s *Session) handle() {
	switch {
	case s.m.held:
	case len(s.queue) == 0:
		s.m.handled = s.m.received
	case s.queue[0].number > 0:
		s.m.handled = s.queue[0].number - 1
	}
}

// writeAck acknowledges to the server what has been handled.
func (s *Session) writeAck(ctx context.Context) error {
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.writing }()
	if s.closed {
		return s.reason()
	}
	_, err := s.writeBytes(ctx, s.ackXML())
	return err
}

// lastAck is the acknowledgement at the end of a stream, or nothing if there is nothing
// new.
func (s *Session) lastAck() []byte {
	s.mu.Lock()
	s.handle()
	news := s.m.counting && s.m.handled != s.m.told
	s.mu.Unlock()
	if !news {
		return nil
	}
	return s.ackXML()
}

// ackXML is an acknowledgement of what has been handled.
func (s *Session) ackXML() []byte {
	s.mu.Lock()
	s.m.told, s.m.toldAt, s.m.telling = s.m.handled, time.Now(), false
	a := NewElement(NSManage, "a", "h", strconv.FormatUint(uint64(uint32(s.m.handled)), 10))
	s.mu.Unlock()
	s.o.traceElement(true, a)
	return ownXML([]*Element{a})
}

// manage numbers a flight and notes its stanzas. It returns the elements of XEP-0198 to
// send before and after them. It is for the holder of the token.
func (s *Session) manage(elements []*Element) (flight int, before, after []*Element) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
	if s.o.Manage && !s.m.asked && s.Feature(NSManage, "sm") != nil {
		s.m.asked = true
		before = append(before, s.o.enable())
	}
	if !s.m.asked {
		return s.sent, nil, nil
	}
	many := len(s.m.unproven) / manyUnproven
	for _, e := range elements {
		if IsStanza(e) {
			s.m.sent++
			s.m.unproven = append(s.m.unproven, sentStanza{s.sent, e})
		}
	}
	if len(s.m.unproven)/manyUnproven > many {
		after = append(after, NewElement(NSManage, "r"))
	}
	if len(s.m.unproven) > maxUnproven {
		s.m.unproven, s.m.forgotten = nil, true
	}
	return s.sent, before, after
}

func (o *Options) enable() *Element {
	e := NewElement(NSManage, "enable")
	if o.Resumable > 0 {
		e.CreateAttr("resume", "true")
		e.CreateAttr("max", strconv.Itoa(int(o.Resumable/time.Second)))
	}
	return e
}

// prove forgets the stanzas up to a flight that the server has processed. The session is
// locked.
func (s *Session) prove(flight int) {
	s.proven = max(s.proven, flight)
	n := 0
	for n < len(s.m.unproven) && s.m.unproven[n].flight <= s.proven {
		n++
	}
	s.m.unproven = slices.Delete(s.m.unproven, 0, n)
}

// managed handles an element of XEP-0198.
func (s *Session) managed(e *Element) error {
	id, location := "", ""
	if e.Tag == "enabled" {
		id, location = s.resumeBy(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Tag {
	case "enabled":
		if !s.m.asked || s.m.counting {
			break
		}
		s.m.counting, s.m.id, s.m.location = true, id, location
	case "failed":
		if s.m.asked && !s.m.counting {
			s.m.unproven = nil // the session continues without XEP-0198
			s.m.asked, s.o.Manage = false, false
		}
	case "r":
		s.handle()
		switch {
		case s.err != nil || !s.m.counting:
		case s.m.handled == s.m.received && !s.m.telling && time.Since(s.m.toldAt) >= verySoon:
			s.m.telling = true
			s.serving.Go(s.tell)
		default:
			s.tellSoon()
		}
	case "a":
		return s.acknowledged(Attr(e, "h"))
	}
	return nil
}

// tell acknowledges to the server what is handled now.
func (s *Session) tell() {
	s.mu.Lock()
	s.handle()
	s.mu.Unlock()
	if r := s.Resumption(); r != nil && s.o.Acknowledging != nil {
		s.o.Acknowledging(r)
	}
	// If the write fails, the session ends and its users see that. The end of the session
	// does not interrupt this write: the end of the stream has to follow it.
	_ = s.writeAck(context.Background())
}

// acknowledged notes what the server has acknowledged. The session is locked.
func (s *Session) acknowledged(h string) error {
	n, err := strconv.ParseUint(h, 10, 32)
	if err != nil || !s.m.asked {
		return nil
	}
	if err := checkCount(uint32(n), s.m.acked, s.m.sent); err != nil && err.specific == nil {
		return nil // a lower count than before changes nothing
	} else if err != nil {
		return err
	}
	s.m.acked = uint32(n)
	left := s.m.sent - s.m.acked
	if acked := len(s.m.unproven) - int(left); acked > 0 {
		s.m.unproven = slices.Delete(s.m.unproven, 0, acked)
	}
	return nil
}

// checkCount refuses a server's count that is higher than what was sent, or lower than what
// the server has acknowledged before (XEP-0198, section 4). All are modulo 2^32.
func checkCount(h, acked, sent uint32) *StreamError {
	if sent-h <= sent-acked {
		return nil
	}
	err := &StreamError{
		Condition: UndefinedCondition, Sent: true,
		Text: fmt.Sprintf("it acknowledges %d stanzas, was sent %d, and has acknowledged %d before", h, sent, acked),
	}
	if int32(sent-h) < 0 {
		number := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
		err.specific = NewElement(NSManage, "handled-count-too-high", "h", number(h), "send-count", number(sent))
	}
	return err
}
