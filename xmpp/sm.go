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

// A sentStanza is one that may have to be sent again.
type sentStanza struct {
	flight int
	stanza *Element
}

// management is what a session keeps of XEP-0198.
type management struct {
	asked    bool   // <enable/> is out
	counting bool   // what arrives is counted: <enabled/> has come
	resumed  bool   // instead of bound
	id       string // for a Resumption; "" where the server does not resume
	location string

	received uint64 // stanzas that arrived
	handled  uint64 // of them, those that nobody has to look at any more
	told     uint64 // of them, those that the server was told
	held     bool   // Stanzas has yielded something that is not acknowledged

	toldAt  time.Time
	telling bool // it will be told very soon

	sent      uint32
	acked     uint32
	unproven  []sentStanza
	again     []*Element // what is to be sent again, of a session that was resumed
	unacked   int        // how much that was
	forgotten bool       // more than unproven was not proven: the session cannot be resumed
}

const (
	// manyUnproven is how many stanzas are kept before the server is asked to
	// acknowledge them. Mostly the answer to some request has proven them before.
	manyUnproven = 100
	// maxUnproven is how many are kept for a server that does not acknowledge any.
	maxUnproven = 20_000
)

// Handled says that all that Stanzas has yielded so far has been handled.
func (s *Session) Handled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m.held = false
	s.handle()
}

// Acknowledge is Handled, and tells the server so where Options.Manage is set: it need
// not deliver it again. It tells at once, or very soon where it has just told something.
// Who keeps Resumption somewhere does so in between, as a server need not take it well
// when a count goes backwards; see also Options.Acknowledging.
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

// tellSoon sees to it that the server is told very soon. The session is locked.
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

// verySoon is how long an acknowledgement may wait for others, or for a stanza that is
// just being handled. Each of them costs the server about as much as a message.
const verySoon = 20 * time.Millisecond

// handle counts as handled all that arrived before the first stanza that waits for
// somebody. The session is locked.
func (s *Session) handle() {
	switch {
	case s.m.held:
	case len(s.queue) == 0:
		s.m.handled = s.m.received
	case s.queue[0].number > 0:
		s.m.handled = s.queue[0].number - 1
	}
}

// writeAck tells the server what has been handled.
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

// lastAck is the acknowledgement that a stream ends with, nothing where there is no news.
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

// ackXML is the acknowledgement of what is known to be handled.
func (s *Session) ackXML() []byte {
	s.mu.Lock()
	s.m.told, s.m.toldAt, s.m.telling = s.m.handled, time.Now(), false
	a := NewElement(NSManage, "a", "h", strconv.FormatUint(uint64(uint32(s.m.handled)), 10))
	s.mu.Unlock()
	s.o.traceElement(true, a)
	return ownXML([]*Element{a})
}

// manage numbers a flight and notes its stanzas. It returns what stream management
// wants in front of them and behind them. It is for who holds the token.
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

// prove forgets the stanzas of flights that have arrived. The session is locked.
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
			s.m.unproven = nil // it goes without
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

// tell tells the server what is handled now.
func (s *Session) tell() {
	s.mu.Lock()
	s.handle()
	s.mu.Unlock()
	if r := s.Resumption(); r != nil && s.o.Acknowledging != nil {
		s.o.Acknowledging(r)
	}
	// If it cannot be written, the session ends and says so to whoever uses it. The end of
	// the session is to be written behind it, so it does not break this off.
	_ = s.writeAck(context.Background())
}

// acknowledged notes what the server has taken. The session is locked.
func (s *Session) acknowledged(h string) error {
	n, err := strconv.ParseUint(h, 10, 32)
	if err != nil || !s.m.asked {
		return nil
	}
	if err := checkCount(uint32(n), s.m.acked, s.m.sent); err != nil && err.specific == nil {
		return nil // it says less than before, which takes nothing back
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

// checkCount refuses a count of what the server has handled that is beyond what it was
// sent, or behind what it has acknowledged (XEP-0198, section 4). All are modulo 2^32.
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
