package xmpp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"xmppkit/xmpp/internal/wire"
)

// A Resumption is the data needed to resume a session whose connection was lost
// (XEP-0198, section 5). Its JSON form can be stored in a file, from which another
// process can resume. The ID is a secret: whoever is logged in to the account can take
// over the session with it.
type Resumption struct {
	JID      JID    `json:"jid"`      // what the session was bound to
	ID       string `json:"id"`       // the server's name for the session
	Location string `json:"location"` // HOST[:PORT] at which the server wants it to be resumed; "" for anywhere
	Handled  uint32 `json:"handled"`  // stanzas received and acknowledged, modulo 2^32

	counted  bool         // this process has sent the stanzas, so the following is known
	sent     uint32       // stanzas sent
	acked    uint32       // of those, how many the server has acknowledged, from the first
	unproven []sentStanza // the last of those, which may not have arrived
}

// resource returns the resource to bind if the session cannot be resumed: binding it again
// ends what is left of the session.
func (r *Resumption) resource(account JID) string {
	return cmp.Or(account.Resource, r.JID.Resource)
}

// Resumed reports whether the session continues that of Options.Resume. All that this
// process had sent in that one, except requests, has arrived or is sent again. About what
// another process had sent nothing is known.
func (s *Session) Resumed() bool { return s.m.resumed }

// Resumption returns the data to resume this session after it is lost. It is nil if the
// server does not support that, or if there are too many unacked stanzas to keep. It
// changes with each stanza that is sent or acknowledged.
func (s *Session) Resumption() *Resumption {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m.id == "" || s.m.forgotten {
		return nil
	}
	s.handle()
	r := &Resumption{
		JID: s.jid, ID: s.m.id, Location: s.m.location, Handled: uint32(s.m.handled),
		counted: true, sent: s.m.sent + uint32(len(s.m.again)), acked: s.m.acked, unproven: slices.Clone(s.m.unproven),
	}
	for _, e := range s.m.again {
		r.unproven = append(r.unproven, sentStanza{stanza: e})
	}
	return r
}

// Unacked returns how many of the stanzas sent before had not arrived when the server
// resumed the session.
func (s *Session) Unacked() int { return s.m.unacked }

const (
	// maxID limits the length of the server's name for a session, in bytes (XEP-0198,
	// section 12), and maxLocation that of a HOST:PORT.
	maxID       = 4000
	maxLocation = 300
)

// resumeBy returns the id and the location to resume a session with, or no id if it cannot
// be resumed.
func (s *Session) resumeBy(enabled *Element) (id, location string) {
	if resume := Attr(enabled, "resume"); resume != "true" && resume != "1" {
		return "", ""
	}
	id, location = Attr(enabled, "id"), Attr(enabled, "location")
	if len(id) > maxID {
		s.o.trace("this session cannot be resumed: its id has %d bytes", len(id))
		return "", ""
	}
	if len(location) > maxLocation {
		location = ""
	}
	return id, location
}

// resumedBudget is how long a resumed session may be silent before its first answer.
const resumedBudget = 5 * time.Second

// resume is Dial for a session to resume. It does not trust <resumed/> alone, and waits for
// an answer in the session: if the old connection was cut inside a stanza, Prosody 0.12
// reads what comes on the new one as the rest of that stanza.
func resume(ctx context.Context, o Options) (s *Session, err error) {
	tried := false
	if there := o; isServer(o.Resume.Location) {
		there.Server, there.another = o.Resume.Location, true
		s, err = dial(ctx, there)
		_, unreached := errors.AsType[*DialError](err)
		tried = !unreached && !errors.Is(err, errSlow) || ctx.Err() != nil
	}
	if !tried {
		s, err = dial(ctx, o)
	}
	if err != nil || !s.Resumed() {
		return s, err
	}
	if o.Pause {
		go func() {
			if err := s.proof(s.ctx); err != nil {
				s.abort(fmt.Errorf("%w: %w", ErrUseless, err))
				return
			}
			s.resend()
		}()
		return s, nil
	}
	if err = s.proof(ctx); err == nil {
		s.resend()
		return s, nil
	}
	s.abort(err)
	<-s.done
	s.serving.Wait() // or Options.Acknowledging may be called for this session after the next one
	if r := s.Resumption(); r != nil {
		*o.Resume = *r // the ping has been counted
	}
	if ctx.Err() != nil || errors.Is(err, ErrLost) {
		return nil, err
	}
	return nil, resumeRefused{fmt.Errorf("the resumed session does not work: %w", err)}
}

// proof waits until the server has answered a ping in a resumed session, or has been silent
// for too long. All that the server sends again comes before the answer, so only silence
// has a limit.
func (s *Session) proof(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer := s.Ask(ctx, NewIQ("get", s.Server(), NewElement(NSPing, "ping")))
	ticker := time.NewTicker(resumedBudget)
	defer ticker.Stop()
	for reads := s.in.reads.Load(); ; {
		select {
		case a := <-answer:
			if _, refused := errors.AsType[*StanzaError](a.Err); refused {
				return nil
			}
			return a.Err
		case <-ticker.C:
			now := s.in.reads.Load()
			if now == reads && !s.isPaused() {
				return fmt.Errorf("nothing received for %s", resumedBudget)
			}
			reads = now
		}
	}
}

// resume asks to resume a session (XEP-0198, section 5), and binds a resource if the server
// no longer has the session.
func (n *negotiation) resume(r *Resumption) (*Session, error) {
	e := NewElement(NSManage, "resume", "previd", r.ID, "h", strconv.FormatUint(uint64(r.Handled), 10))
	features, err := n.restart("resuming a session", e)
	var answer *Element
	if err == nil {
		answer, err = n.next()
	}
	if errors.Is(err, errEnded) || errors.Is(err, io.ErrUnexpectedEOF) { // so does Prosody 0.12 if it disagrees about h
		return nil, resumeRefused{err}
	}
	if err != nil {
		return nil, err
	}
	if Is(answer, NSManage, "resumed") {
		h, err := r.resumedBy(answer, n.o.JID)
		if err != nil {
			return nil, resumeRefused{err}
		}
		s := newSession(n, r.JID, features)
		s.resumeFrom(r, h)
		n.o.trace("resumed %s: the server has received %d of the stanzas sent", r.JID, h)
		return s, nil
	}
	if !Is(answer, NSManage, "failed") {
		return nil, resumeRefused{unexpected(answer, "instead of the answer to the resumption")}
	}
	condition, text := conditionOf(answer, NSStanzas)
	n.o.trace("the session cannot be resumed: %s", withText(string(condition), text))
	n.doing = "binding a resource"
	request := n.bindRequest(r.resource(n.o.JID))
	if err := n.write(nil, request); err != nil {
		return nil, resumeRefused{err}
	}
	s, err := n.bind(features, request)
	if err != nil {
		return nil, resumeRefused{err}
	}
	return s, nil
}

// resumedBy checks that a <resumed/> is of this session, and returns the server's count of
// stanzas. It refuses a count that cannot be right.
func (r *Resumption) resumedBy(e *Element, account JID) (uint32, error) {
	h, err := strconv.ParseUint(Attr(e, "h"), 10, 32)
	switch {
	case Attr(e, "previd") != r.ID || r.JID.Domain != account.Domain:
		return 0, &StreamError{Condition: UndefinedCondition, Text: "the server resumed another session", Sent: true}
	case err != nil:
		return 0, &StreamError{Condition: UndefinedCondition, Text: "the server resumed the session without a count", Sent: true}
	case r.counted:
		if err := checkCount(uint32(h), r.acked, r.sent); err != nil {
			return 0, err
		}
	}
	return uint32(h), nil
}

// resumeRefused says that only a new session helps. Prosody 0.12 ends the stream if it has
// forgotten a part of the old one.
type resumeRefused struct{ error }

func (e resumeRefused) Unwrap() error { return e.error }

// resumeFrom makes a new session continue another.
func (s *Session) resumeFrom(r *Resumption, h uint32) {
	s.jid = r.JID
	n := uint64(r.Handled)
	s.m = management{
		asked: true, counting: true, resumed: true, id: r.ID, location: r.Location,
		received: n, handled: n, told: n, sent: h, acked: h,
	}
	// Fewer stanzas may have been kept than have not arrived, and some of the kept ones may
	// have arrived.
	lost := max(0, min(int(int32(r.sent-h)), len(r.unproven)))
	for _, u := range r.unproven[len(r.unproven)-lost:] {
		if t := Attr(u.stanza, "type"); u.stanza.Tag == "iq" && (t == "get" || t == "set") {
			continue // its caller knows that the connection was lost
		}
		s.m.again = append(s.m.again, u.stanza)
	}
	s.m.unacked = len(s.m.again)
}

// recordSize is what fits into one TLS record. If a connection is cut between two records,
// and no stanza spans both, Prosody 0.12 can resume the session once more.
const recordSize = 16 << 10

// resend resends the unacked stanzas of a resumed session. It does not wait, but nothing
// else is written before them. If it fails, the session ends, and its users see that.
func (s *Session) resend() {
	if len(s.m.again) == 0 {
		return
	}
	s.writing <- struct{}{}
	go func() {
		defer func() { <-s.writing }()
		for len(s.m.again) > 0 {
			if _, err := s.writeBytes(s.ctx, s.someAgain()); err != nil {
				return
			}
		}
	}()
}

// someAgain returns the next flight to resend. It is for the holder of the token.
func (s *Session) someAgain() (b []byte) {
	s.mu.Lock()
	s.sent++
	n := 0
	for n < len(s.m.again) {
		more, _ := wire.Append(b, s.m.again[n]) // it did not fail the first time
		if n > 0 && len(more) > recordSize {
			break
		}
		b = more
		s.m.sent++
		s.m.unproven = append(s.m.unproven, sentStanza{s.sent, s.m.again[n]})
		n++
	}
	flight := s.m.again[:n]
	s.m.again = s.m.again[n:]
	s.mu.Unlock()
	for _, e := range flight {
		s.o.traceElement(true, e)
	}
	return b
}
