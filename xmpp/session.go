package xmpp

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"runtime"
	"sync"
	"time"

	"xmppkit/xmpp/internal/wire"
)

const (
	// queueBudget bounds, in bytes on the wire, the stanzas that nobody has asked
	// for yet. Past it the session fails, as dropping one would be a lie.
	queueBudget = 16 << 20
	// writeBudget bounds a write to a peer that has stopped reading.
	writeBudget = 30 * time.Second
	// closeBudget bounds closing, whatever the peer does.
	closeBudget = 500 * time.Millisecond
)

// A Session is a bound stream. Its methods may be called from several goroutines.
//
// One goroutine reads. It never waits for a caller: answers to IQ go to whom they
// belong, requests to Options.HandleIQ, and everything queues up for Stanzas. So a
// loop over Stanzas may call IQ.
type Session struct {
	o        Options
	jid      JID
	features *Element
	addr     string
	raw      net.Conn
	conn     net.Conn
	r        *wire.Reader
	ctx      context.Context // ends with the session; for HandleIQ
	cancel   context.CancelFunc

	writing chan struct{} // holds a token while somebody writes: a mutex to wait for beside a context
	closed  bool          // </stream:stream> is out; belongs to who writes

	mu      sync.Mutex
	sent    int // flights
	proven  int // of them, those that the answer to a later ping has confirmed
	queue   []*Element
	sizes   []int64
	queued  int64
	ready   chan struct{} // holds a token when the queue may have got something
	pending map[string]*call
	served  rate
	serving sync.WaitGroup
	err     error         // why the session ended
	done    chan struct{} // closed when it has
}

func newBoundSession(n *negotiation, bound JID, features *Element) *Session {
	s := &Session{
		o: n.o, jid: bound, features: features, addr: n.addr,
		raw: n.raw, conn: n.conn, r: n.r,
		writing: make(chan struct{}, 1),
		ready:   make(chan struct{}, 1),
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

// From returns the sender of a stanza: the own account where it names none (RFC
// 6120, section 8.1.2.1).
func (s *Session) From(stanza *Element) (JID, error) {
	return sender(stanza, s.jid)
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
	var b []byte
	var err error
	for _, e := range elements {
		if b, err = wire.Append(b, e); err != nil {
			return 0, time.Time{}, err
		}
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
	s.mu.Lock()
	s.sent++
	number := s.sent
	s.mu.Unlock()
	started, err := s.writeBytes(ctx, b)
	return number, started, err
}

// writeBytes is for who holds the token. A write that was broken off has broken the
// stream.
func (s *Session) writeBytes(ctx context.Context, b []byte) (time.Time, error) {
	if ctx.Err() != nil {
		return time.Time{}, context.Cause(ctx)
	}
	stop := context.AfterFunc(ctx, func() { s.raw.Close() })
	defer stop()
	started := time.Now()
	s.conn.SetWriteDeadline(started.Add(writeBudget))
	_, err := s.conn.Write(b)
	switch {
	case err == nil:
		return started, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	default:
		err = s.lost(err)
	}
	s.closed = true
	s.raw.Close()
	return started, err
}

// Stanzas yields what arrives: messages, presences and requests, in their order.
// Where the session ends, or ctx does, it yields what has arrived by then, and
// at last the reason with a nil element.
func (s *Session) Stanzas(ctx context.Context) iter.Seq2[*Element, error] {
	return func(yield func(*Element, error) bool) {
		for {
			end := s.await(ctx)
			for n := s.Queued(); n > 0; n-- {
				if e := s.dequeue(); e != nil && !yield(e, nil) {
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

func (s *Session) dequeue() *Element {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	e := s.queue[0]
	s.queue[0] = nil
	s.queued -= s.sizes[0]
	s.queue, s.sizes = s.queue[1:], s.sizes[1:]
	return e
}

func (s *Session) enqueue(e *Element, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued+size > queueBudget {
		return &StreamError{Condition: PolicyViolation, Text: fmt.Sprintf("more than %d MiB of stanzas wait to be read", queueBudget>>20), Sent: true}
	}
	s.queue, s.sizes = append(s.queue, e), append(s.sizes, size)
	s.queued += size
	return nil
}

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
	s.cancel()
	s.answerClose(err)
}

func (s *Session) readStanzas() error {
	for {
		e, size, err := s.r.Next()
		if err != nil {
			return readError(err, s.lost)
		}
		if Is(e, NSStream, "error") {
			return streamError(e)
		}
		if !IsStanza(e) {
			continue // RFC 6120, section 4.8.4
		}
		if _, err := s.From(e); err != nil {
			continue // RFC 7622, section 4: nobody to attribute it to
		}
		if e.Tag == "iq" && !s.dispatch(e) {
			continue
		}
		if err := s.enqueue(e, size); err != nil {
			return err
		}
	}
}

// answerClose ends our side of a stream that the peer has ended or broken.
func (s *Session) answerClose(err error) {
	b := []byte("</stream:stream>")
	if e, ok := errors.AsType[*StreamError](err); ok && e.Sent {
		b = streamErrorXML(e.Condition)
	}
	defer time.AfterFunc(closeBudget, func() { s.raw.Close() }).Stop() // also ends a write that is under way
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	if !s.closed {
		s.closed = true
		s.conn.Write(b)
	}
	s.conn.Close()
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

// Close closes the stream. Where something that was sent is unconfirmed it waits, at
// most half a second, for the server to have read it and to close its side (RFC
// 6120, section 4.4).
func (s *Session) Close() error {
	s.mu.Lock()
	if s.err == nil {
		s.err = errClosed
	}
	s.mu.Unlock()
	defer time.AfterFunc(closeBudget, func() { s.raw.Close(); s.cancel() }).Stop()
	s.serving.Wait() // what was asked is still answered
	s.writing <- struct{}{}
	var err error
	if !s.closed {
		s.closed = true
		_, err = s.conn.Write([]byte("</stream:stream>"))
	}
	<-s.writing
	s.mu.Lock()
	wait := s.sent > s.proven
	s.mu.Unlock()
	if wait && err == nil {
		select {
		case <-s.done:
		case <-time.After(closeBudget):
		}
	}
	s.conn.Close()
	<-s.done
	s.cancel()
	return err
}
