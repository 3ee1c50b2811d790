package deliver

import (
	"context"
	"errors"
	"time"

	"xmppkit/xmpp"
)

// A flight is messages that are written together, followed by a ping.
type flight struct {
	messages []*Message
	bytes    int  // about
	written  bool // written by an earlier connection, which was resumed: only the ping is missing

	// The result: the answer to the ping took rtt, or there will be none.
	rtt    time.Duration
	err    error
	unsent bool // and the server cannot have accepted it
}

func (f *flight) add(m *Message) {
	f.messages = append(f.messages, m)
	f.bytes += m.Size
}

// A link writes flights during a session. It does not wait for the answer to one before
// it writes the next.
type link struct {
	s   *xmpp.Session
	ctx context.Context
	end context.CancelCauseFunc

	idle    chan struct{} // holds a token when flights has room
	flights chan *flight
	answers chan *flight // every flight returns here
	lost    chan error   // why the session ended
}

// newLink makes a link. A signal does not end it; its user does.
func newLink(ctx context.Context, s *xmpp.Session) *link {
	l := &link{s: s, idle: make(chan struct{}, 1), flights: make(chan *flight, 1), answers: make(chan *flight, 16), lost: make(chan error, 1)}
	l.ctx, l.end = context.WithCancelCause(context.WithoutCancel(ctx))
	go l.write()
	go func() {
		for _, err := range s.Stanzas(l.ctx) {
			l.lost <- err // nothing else arrives: the outbox sees what it needs
		}
	}()
	return l
}

func (l *link) write() {
	for {
		l.idle <- struct{}{}
		select {
		case f := <-l.flights:
			l.fly(f)
		case <-l.ctx.Done():
			select {
			case f := <-l.flights:
				f.err, f.unsent = context.Cause(l.ctx), true
				l.answers <- f
			default:
			}
			return
		}
	}
}

func (l *link) fly(f *flight) {
	var stanzas []*xmpp.Element
	if !f.written {
		for _, m := range f.messages {
			stanzas = append(stanzas, m.Stanza)
		}
	}
	wait, err := l.s.Fence(l.ctx, stanzas...)
	if err != nil {
		f.err, f.unsent = err, errors.Is(err, xmpp.ErrNotSent)
		l.answers <- f
		return
	}
	go func() {
		f.rtt, f.err = wait(l.ctx)
		if _, ok := errors.AsType[*xmpp.StanzaError](f.err); ok {
			f.err = nil // an answer like any other
		}
		l.answers <- f
	}()
}
