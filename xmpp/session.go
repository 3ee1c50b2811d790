package xmpp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"xmppkit/xmpp/internal/wire"
)

// closeBudget limits the time to close, whatever the peer does.
const closeBudget = 500 * time.Millisecond

// A Session is a bound stream. Its methods may be called from several goroutines.
//
// One goroutine reads. It passes answers to the waiting calls of IQ and requests to
// Options.HandleIQ, and queues everything else for Stanzas. So a loop over Stanzas may
// call IQ. The queue is limited. When it is full, the reader drops what arrives; Stanzas
// yields what is queued, and then the session is lost. With Options.Pause the reader waits
// for room instead, unless a call waits for an answer: then nobody can make room.
type Session struct {
	o        Options
	jid      JID
	features *Element
	addr     string
	raw      net.Conn
	conn     net.Conn
	in       *connReader // of conn
	r        *wire.Reader
	maxSize  int             // of a stanza that the server accepts, in bytes; 0 if it announces none
	ctx      context.Context // ends with the session; for HandleIQ
	cancel   context.CancelFunc

	ignored int // elements that are not stanzas, and answers that match no request; belongs to the reader

	writing chan struct{} // holds a token while somebody writes: a mutex whose wait a context can end
	closed  bool          // </stream:stream> has been sent; belongs to the holder of the token
	wrote   time.Time     // when something was written last; belongs to the holder of the token

	mu         sync.Mutex
	sent       int // flights
	proven     int // of them, those that the answer to a later request has confirmed, from the first
	m          management
	queue      []incoming
	queued     int64         // memory of the queue
	ready      chan struct{} // holds a token when the queue may have got something
	room       chan struct{} // holds a token when the reader may continue
	paused     bool          // the reader waits for room
	overflowed bool          // the queue has overflowed: no more stanzas are accepted
	waiting    int           // calls that wait for an answer while nobody empties the queue
	pending    map[string]*call
	requests   requests
	serving    sync.WaitGroup
	err        error         // why the session ended
	done       chan struct{} // closed when it has
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
	s.o.Password = "" // it is no longer needed
	s.ctx, s.cancel = context.WithCancel(context.Background())
	n.in.before = s.wake
	return s
}

// JID returns the full address that the server bound.
func (s *Session) JID() JID { return s.jid }

// Server returns the address of the account's server.
func (s *Session) Server() JID { return JID{Domain: s.jid.Domain} }

// Feature returns a feature of the stream, or nil if the server does not announce it.
func (s *Session) Feature(ns, name string) *Element { return Child(s.features, ns, name) }

// MaxSize returns how many bytes a stanza may have (XEP-0478), or 0 if the server
// announces no limit.
func (s *Session) MaxSize() int { return s.maxSize }

// From returns the sender of a stanza: see Sender. It fails if the stanza's from is not
// a valid address.
func (s *Session) From(stanza *Element) (JID, error) {
	return Sender(stanza, s.jid)
}

// read runs until the stream ends, and then wakes everyone who waits.
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
			return wireError(err, s.lost)
		}
		switch {
		case Is(e, NSStream, "error"):
			return streamErrorOf(e, true)
		case Namespace(e) == NSManage:
			err = s.managed(e)
		case !IsStanza(e): // RFC 6120, section 4.8.4
			s.ignored++
		default:
			a := incoming{stanza: e, cost: size + partSize*int64(s.r.Parts())}
			if flaw := s.r.Flaw(); flaw != "" {
				a.over = &LimitError{flaw}
			}
			err = s.route(a)
		}
		if err != nil {
			return err
		}
	}
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
		s.o.trace("ignored %d stanzas: answers that match no request", s.ignored)
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
	return fmt.Errorf("%w: %s: %w", ErrLost, s.addr, plainly(err))
}

// Drop ends the session without closing its stream, as if the connection was lost: a
// server that keeps sessions keeps this one for Options.Resume.
func (s *Session) Drop() { s.abort(errors.New("given up")) }

// Close closes the stream, with a last acknowledgement of what was handled. If something
// that was sent is unconfirmed, or the server would keep the session for a resumption,
// Close waits for the server to close its side (RFC 6120, section 4.4), at most half a
// second: a session that the server keeps would receive the messages that come next.
func (s *Session) Close() error {
	s.mu.Lock()
	if s.err == nil {
		s.err = errClosed
	}
	s.resumeReading()
	s.mu.Unlock()
	defer time.AfterFunc(closeBudget, func() { s.raw.Close(); s.cancel() }).Stop()
	s.serving.Wait() // pending requests are still answered
	s.writing <- struct{}{}
	var err error
	if !s.closed {
		s.closed = true
		ack := s.lastAck()
		s.o.traceTag(true, endOfStream)
		err = writeWithin(s.conn, append(ack, endOfStream...), closeBudget)
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
	case <-time.After(closeBudget): // it is busy, and will notice the end
	}
	s.cancel()
	return err
}

// abort ends the session for a reason that does not come from the reader.
func (s *Session) abort(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = s.lost(err)
	}
	s.resumeReading()
	s.mu.Unlock()
	s.raw.Close()
}
