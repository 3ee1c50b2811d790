package xmpp

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"xmppkit/xmpp/internal/wire"
)

const (
	// queueBudget bounds, in bytes of memory, the stanzas that nobody has taken
	// yet. Past it the reader pauses, or the session is lost once they are taken.
	queueBudget = 32 << 20
	// partSize is what a part of a stanza takes in memory besides its text.
	partSize = 100
	// lastWord is how long a server's reason for closing the connection under a
	// write is waited for.
	lastWord = 200 * time.Millisecond
	// writeBudget bounds a write to a peer that has stopped reading.
	writeBudget = 30 * time.Second
	// closeBudget bounds closing, whatever the peer does.
	closeBudget = 500 * time.Millisecond
)

// A Session is a bound stream. Its methods may be called from several goroutines.
//
// One goroutine reads. Answers to IQ go to whom they belong, requests to
// Options.HandleIQ, and everything queues up for Stanzas. So a loop over Stanzas may
// call IQ. The queue is bounded: when it is full, the reader takes no more stanzas.
// What is in the queue is still handed on, and then the session is lost; with
// Options.Pause the reader waits for room instead, unless somebody waits for an
// answer, who could not take anything meanwhile.
type Session struct {
	o        Options
	jid      JID
	features *Element
	addr     string
	raw      net.Conn
	conn     net.Conn
	in       *arrival // of conn
	r        *wire.Reader
	maxSize  int             // of a stanza that the server takes, in bytes; 0 where it does not say
	ctx      context.Context // ends with the session; for HandleIQ
	cancel   context.CancelFunc

	ignored int // stanzas that were not what they had to be; belongs to the reader

	writing chan struct{} // holds a token while somebody writes: a mutex to wait for beside a context
	closed  bool          // </stream:stream> is out; belongs to who writes
	wrote   time.Time     // when something was written last; belongs to who writes

	mu       sync.Mutex
	sent     int // flights
	proven   int // of them, those that the answer to a later request has confirmed
	m        management
	queue    []arrived
	queued   int64         // what the queue takes
	ready    chan struct{} // holds a token when the queue may have got something
	room     chan struct{} // holds a token when the reader may go on
	paused   bool          // the reader waits for room
	deaf     bool          // the queue is the last: no more stanzas are taken
	waiting  int           // requests that keep somebody from taking stanzas
	pending  map[string]*call
	requests requests
	serving  sync.WaitGroup
	err      error         // why the session ended
	done     chan struct{} // closed when it has
}

// An arrived stanza waits for Stanzas.
type arrived struct {
	stanza *Element
	over   *LimitError // nil where the stanza is whole
	cost   int64       // in memory, in bytes, about
	number uint64      // by the count of XEP-0198; 0 where nothing is counted
}

func newSession(n *negotiation, bound JID, features *Element) *Session {
	s := &Session{
		o: n.o, jid: bound, features: features, addr: n.addr,
		raw: n.raw, conn: n.conn, in: n.in, r: n.r, maxSize: maxSize(features), wrote: time.Now(),
		writing: make(chan struct{}, 1),
		ready:   make(chan struct{}, 1),
		room:    make(chan struct{}, 1),
		pending: make(map[string]*call),
		done:    make(chan struct{}),
	}
	s.o.Password = "" // it has done its work
	s.ctx, s.cancel = context.WithCancel(context.Background())
	n.in.wait = s.wake
	return s
}

// JID returns the full address that the server bound.
func (s *Session) JID() JID { return s.jid }

// Server returns the address of the own server.
func (s *Session) Server() JID { return JID{Domain: s.jid.Domain} }

// Feature returns a feature of the stream, or nil where the server does not
// announce it.
func (s *Session) Feature(ns, name string) *Element { return Child(s.features, ns, name) }

// MaxSize returns how many bytes a stanza may have for the server to take it, or 0
// where it does not say (XEP-0478).
func (s *Session) MaxSize() int { return s.maxSize }

// From returns the sender of a stanza, as of Sender. The error is of one whose from is
// no address.
func (s *Session) From(stanza *Element) (JID, error) {
	return Sender(stanza, s.jid)
}

// Send writes elements in one flight. That they are written does not say that the
// server took them: see Ping.
func (s *Session) Send(ctx context.Context, elements ...*Element) error {
	_, _, err := s.flight(ctx, elements...)
	return err
}

// flight writes elements at once. It returns the flight's number, from 1, and when
// it began.
func (s *Session) flight(ctx context.Context, elements ...*Element) (int, time.Time, error) {
	b, err := s.encode(elements)
	if err != nil {
		return 0, time.Time{}, err
	}
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return 0, time.Time{}, context.Cause(ctx)
	}
	defer func() { <-s.writing }()
	if s.closed {
		return 0, time.Time{}, s.reason()
	}
	if ctx.Err() != nil {
		return 0, time.Time{}, context.Cause(ctx)
	}
	number, before, behind := s.manage(elements)
	for _, e := range slices.Concat(before, elements, behind) {
		s.o.traceElement(true, e)
	}
	started, err := s.writeBytes(ctx, slices.Concat(xmlOf(before), b, xmlOf(behind)))
	return number, started, err
}

// safeSize is what every server takes as one stanza (RFC 6120, section 13.12).
const safeSize = 10_000

// encode refuses what the server has announced that it does not take (XEP-0478).
func (s *Session) encode(elements []*Element) ([]byte, error) {
	var b []byte
	for _, e := range elements {
		start := len(b)
		var err error
		if b, err = wire.Append(b, e); err != nil {
			return nil, err
		}
		size := len(b) - start
		if s.maxSize > 0 && size > s.maxSize {
			return nil, fmt.Errorf("%w: it has %d bytes, and the server accepts %d", ErrTooLarge, size, s.maxSize)
		}
		if s.maxSize == 0 && size > safeSize {
			s.o.trace("a stanza of %d bytes: a server need not accept more than %d", size, safeSize)
		}
	}
	return b, nil
}

// maxSize returns the limit that the features of a stream announce, or 0.
func maxSize(features *Element) int {
	text, _ := Text(Child(features, NSLimits, "limits"), NSLimits, "max-bytes")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < safeSize {
		return 0 // less is not allowed (XEP-0478, section 3)
	}
	return n
}

// writeBytes is for who holds the token. A write that was broken off has broken the
// stream.
func (s *Session) writeBytes(ctx context.Context, b []byte) (time.Time, error) {
	stop := context.AfterFunc(ctx, func() { s.raw.Close() })
	defer stop()
	started := time.Now()
	s.wrote = started
	err := put(s.conn, b, writeBudget)
	if err == nil {
		return started, nil
	}
	s.closed = true
	if ctx.Err() == nil {
		select {
		case <-s.done:
		case <-time.After(lastWord):
		}
	}
	s.mu.Lock()
	if s.err == nil {
		s.err = s.lost(err)
	}
	err = s.err
	s.resumeReading()
	s.mu.Unlock()
	s.raw.Close()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return started, err
}

// put is every write: one, with a deadline of its own, as TLS writes as well.
func put(c net.Conn, b []byte, budget time.Duration) error {
	if err := c.SetWriteDeadline(time.Now().Add(budget)); err != nil {
		return err
	}
	defer c.SetWriteDeadline(time.Time{})
	_, err := c.Write(b)
	return err
}

// end writes the last words of a stream.
func (o *Options) end(c net.Conn, xml string) error {
	o.traceTag(true, xml)
	return put(c, []byte(xml), closeBudget)
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
			s.fail(errTooMuch)
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

func (a arrived) yield(yield func(*Element, error) bool) bool {
	if a.over != nil {
		return yield(a.stanza, a.over)
	}
	return yield(a.stanza, nil)
}

// dequeue returns the next that waits, if there is one.
func (s *Session) dequeue() arrived {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return arrived{}
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

// read runs until the stream ends and then tells everyone who waits.
func (s *Session) read() {
	err := s.readStanzas()
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	close(s.done)
	s.mu.Unlock()
	s.answerClose(err)
	s.cancel()
}

func (s *Session) readStanzas() error {
	for {
		e, size, err := s.o.receive(s.r)
		if err != nil {
			return readError(err, s.lost)
		}
		switch {
		case Is(e, NSStream, "error"):
			return streamError(e, true)
		case Namespace(e) == NSManage:
			err = s.managed(e)
		case !IsStanza(e): // RFC 6120, section 4.8.4
			s.ignored++
		default:
			a := arrived{stanza: e, cost: size + partSize*int64(s.r.Parts())}
			if flaw := s.r.Flaw(); flaw != "" {
				a.over = &LimitError{flaw}
			}
			err = s.arrive(a)
		}
		if err != nil {
			return err
		}
	}
}

// arrive counts a stanza and gives it to whom it is for.
func (s *Session) arrive(a arrived) error {
	e := a.stanza
	if t := Attr(e, "type"); s.Deaf() && (e.Tag != "iq" || t != "result" && t != "error") {
		return nil // it is not counted, so that a managed session is sent it again
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

// answerClose ends our side of a stream that the peer has ended or broken.
func (s *Session) answerClose(err error) {
	b := endOfStream
	if e, ok := errors.AsType[*StreamError](err); ok && e.Sent {
		b = streamErrorXML(e)
	}
	defer time.AfterFunc(closeBudget, func() { s.raw.Close() }).Stop() // also ends a write that is under way
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	if !s.closed {
		s.closed = true
		_ = s.o.end(s.conn, b) // the stream has ended already
	}
	s.conn.Close()
	if s.ignored > 0 {
		s.o.trace("ignored %d stanzas: answers to nothing that was asked", s.ignored)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.requests.unanswered; n > 0 {
		s.o.trace("left %d requests unanswered: too many, or too large", n)
	}
}

// reason returns why the session ended, or will end.
func (s *Session) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return errClosed
	}
	return s.err
}

var errClosed = errors.New("the session is closed")

func (s *Session) lost(err error) error {
	return fmt.Errorf("%w: %s: %w", ErrLost, s.addr, err)
}

// Drop ends the session without closing its stream, as if the connection was lost: the
// server keeps it for Options.Resume where it does that.
func (s *Session) Drop() { s.fail(errors.New("given up")) }

// Close closes the stream, with a last acknowledgement of what was handled. Where
// something that was sent is unconfirmed, or the server would keep the session for a
// resumption, it waits, at most half a second, for the server to have read that and to
// close its side (RFC 6120, section 4.4): a session that is kept takes the messages
// that come next.
func (s *Session) Close() error {
	s.mu.Lock()
	if s.err == nil {
		s.err = errClosed
	}
	s.resumeReading()
	s.mu.Unlock()
	defer time.AfterFunc(closeBudget, func() { s.raw.Close(); s.cancel() }).Stop()
	s.serving.Wait() // what was asked is still answered
	s.writing <- struct{}{}
	var err error
	if !s.closed {
		s.closed = true
		ack := s.lastAck()
		s.o.traceTag(true, endOfStream)
		err = put(s.conn, append(ack, endOfStream...), closeBudget)
	}
	<-s.writing
	s.mu.Lock()
	wait := s.sent > s.proven || s.m.told > 0 || s.m.id != ""
	s.mu.Unlock()
	if wait && err == nil {
		select {
		case <-s.done:
		case <-time.After(closeBudget):
		}
	}
	s.conn.Close()
	select {
	case <-s.done:
	case <-time.After(closeBudget): // it is busy, and will see that it is over
	}
	s.cancel()
	return err
}
