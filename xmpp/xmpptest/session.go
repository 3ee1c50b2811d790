package xmpptest

import (
	"errors"
	"io"
	"time"

	"xmppkit/xmpp"
)

// A session is a bound resource. It outlives its connection if its client may resume it
// (XEP-0198, section 5). The server's lock guards all of it.
type session struct {
	user       *account
	jid        xmpp.JID
	conn       *conn         // nil while it hibernates
	presence   *xmpp.Element // nil while it is not available
	priority   int
	directed   map[xmpp.JID]bool
	interested bool // has requested the roster
	carbons    bool // wants carbon copies (XEP-0280)
	second     time.Time
	messages   int // in that second
	rooms      roomFaults

	managed bool            // XEP-0198 is on
	handled uint32          // stanzas from the client since then
	acked   uint32          // stanzas for the client that it has acknowledged
	queue   []*xmpp.Element // those that it has not
	waiting bool            // for the answer to <r/>
	asked   uint32          // how many had been sent with the last <r/>
	id      string          // id to resume it, "" if that is not possible
	max     time.Duration   // how long it hibernates
	expiry  *time.Timer     // nil while it does not
}

// enter makes a session of c with that address. An existing session with that address
// is ended, as on most servers (RFC 6120, section 7.7.2.2).
func (c *conn) enter(jid xmpp.JID) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.cut {
		return errGone
	}
	if old := c.user.sessions[jid.Resource]; old != nil {
		if old.conn != nil {
			old.conn.end(closing(streamError{"conflict", "Replaced by new connection"}))
		}
		c.exit(old)
	}
	c.bound = &session{user: c.user, jid: jid, conn: c}
	c.user.sessions[jid.Resource] = c.bound
	return nil
}

// leave handles the session of c, if it has one, when c ends for that reason. A session
// that neither side has closed may be resumed.
func (c *conn) leave(err error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	there := c.bound
	_, ours := errors.AsType[streamError](err)
	closed := err == io.EOF || ours
	switch {
	case there == nil:
	case there.id != "" && !closed && !c.s.closed:
		c.hibernate()
	default:
		if there.managed && closed { // section 4, as Prosody does
			c.emit(ack(there.handled))
		}
		c.exit(there)
	}
}

// hibernate detaches c from its session, which then waits for another connection. Until
// then it counts as available.
func (c *conn) hibernate() {
	there := c.bound
	there.conn, c.bound = nil, nil
	var expiry *time.Timer
	expiry = time.AfterFunc(there.max, func() {
		c.s.alone(func(nobody *conn) {
			if there.expiry == expiry {
				there.user.ended[there.id] = there.handled
				nobody.exit(there)
			}
		})
	})
	there.expiry = expiry
}

// wake ends hibernation.
func (there *session) wake() {
	if there.expiry != nil {
		there.expiry.Stop()
		there.expiry = nil
	}
}

// exit ends a session for good, on behalf of c. Its unacked messages go to the offline
// store, as with ejabberd, except archive results and carbons, which come from the
// account itself.
func (c *conn) exit(there *session) {
	there.wake()
	if there.conn != nil {
		there.conn.bound, there.conn = nil, nil
	}
	delete(there.user.sessions, there.jid.Resource)
	c.unavailable(there, xmpp.NewElement(xmpp.NSClient, "presence", "type", "unavailable", "from", there.jid.String()))
	for _, e := range there.queue {
		mine := xmpp.Attr(e, "from") == there.user.jid.String()
		if e.Tag == "message" && !mine && isChat(e) && len(there.user.offline) < maxKept {
			there.user.offline = append(there.user.offline, e)
		}
	}
}

// rate counts a message and returns the number within a second.
func (there *session) rate() int {
	if now := time.Now(); now.Sub(there.second) >= time.Second {
		there.second, there.messages = now, 0
	}
	there.messages++
	return there.messages
}

// alone runs something that no connection has requested, with a dummy connection.
func (s *Server) alone(do func(nobody *conn)) {
	nobody := &conn{s: s}
	s.mu.Lock()
	do(nobody)
	s.mu.Unlock()
	nobody.flush()
}

// deliver queues a stanza for a session.
func (c *conn) deliver(there *session, e *xmpp.Element) {
	b, err := xmpp.XML(e)
	if err != nil { // see emit
		return
	}
	there.keep(c.s, e)
	if there.conn != nil {
		c.put(there.conn, b)
		c.ask(there)
	}
}

// respond queues a stanza for the client of c. Before bind it is not counted.
func (c *conn) respond(e *xmpp.Element) {
	if c.bound == nil {
		c.emit(e)
	} else {
		c.deliver(c.bound, e)
	}
}

// keep stores a stanza until the client acknowledges it, with the time if needed. A
// session with too many unacked stanzas is ended, as with ejabberd.
func (there *session) keep(s *Server, e *xmpp.Element) {
	if !there.managed {
		return
	}
	if e.Tag == "iq" || xmpp.Child(e, nsDelay, "delay") != nil {
		e = e.Copy()
	} else {
		e = s.delayed(e)
	}
	there.queue = append(there.queue, e)
	if len(there.queue) != maxKept+1 {
		return
	}
	there.id = ""
	if there.conn != nil {
		there.conn.end(closing(streamError{"policy-violation", "Too many unacked stanzas"}))
	} else {
		there.expiry.Reset(0)
	}
}

// delayed returns e with the time (XEP-0203).
func (s *Server) delayed(e *xmpp.Element) *xmpp.Element {
	stamp := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	return xmpp.Add(e.Copy(), xmpp.NewElement(nsDelay, "delay", "from", s.Domain, "stamp", stamp))
}
