package deliver

import (
	"errors"
	"slices"
	"time"

	"xmppkit/xmpp"
)

// A settling holds confirmed messages whose bounce or receipt may still come. In one
// delivery all wait equally long, or for ever.
type settling struct {
	list  []waiting
	bytes int // about
}

type waiting struct {
	m   *Message
	due time.Time // zero for never
}

func (s *settling) add(m *Message, due time.Time) {
	s.list = append(s.list, waiting{m, due})
	s.bytes += m.Size
}

func (s *settling) remove(m *Message) {
	if i := slices.IndexFunc(s.list, func(w waiting) bool { return w.m == m }); i >= 0 {
		s.list = slices.Delete(s.list, i, i+1)
		s.bytes -= m.Size
	}
}

// due returns the message that has waited longest, if its time is over.
func (s *settling) due(now time.Time) *Message {
	if len(s.list) == 0 || s.list[0].due.IsZero() || now.Before(s.list[0].due) {
		return nil
	}
	return s.list[0].m
}

// heard handles the news. A bounce of an unconfirmed message waits for the
// confirmation.
func (d *Delivery) heard() {
	for _, n := range d.outbox.take() {
		switch m := n.m; {
		case !m.isOpen(): // it was settled in the meantime
		case n.err == nil:
			m.took = n.at.Sub(m.sent)
			d.settle(m, receive)
		default:
			early := m.state.stage == written
			if m.bounce = (&bounce{n.err, n.from, early}); !early {
				d.bounced(m)
			}
		}
	}
}

// bounced handles a bounce. If the refusal is temporary, it requeues the message. Other
// messages to the same recipient wait too, or all messages if it was a rate limit of
// your server. It reports whether it was such a limit.
func (d *Delivery) bounced(m *Message) bool {
	if m.limited == d.o.Retries || !d.isTemporary(m.bounce.err) {
		d.settle(m, refuse)
		return false
	}
	ours := d.limits(m)
	p, window := &d.pace, max(1, min(d.pace.window, d.outbox.ids())/2)
	if !ours {
		p, window = &d.queue.lane(m.To.Bare()).pace, 1
	}
	if !p.refuse(d.o.Retries, window) {
		p.window = windowSize // no tries are left: each waiting message is tried once
		d.settle(m, refuse)
		return false
	}
	d.trace("message to %s refused, %s: trying again in %s", m.To, m.bounce.err, time.Until(p.until).Round(time.Millisecond))
	m.limited++
	m.refusal, m.bounce = m.bounce.err, nil // nobody else knows of it any more
	d.takeBack(putOff, m)
	return ours
}

// isLimit reports whether an error is about a rate limit (XEP-0205, section 4), or
// otherwise asks to wait.
func isLimit(err error) bool {
	limit := func(c xmpp.Condition) bool { return c == xmpp.PolicyViolation || c == xmpp.ResourceConstraint }
	if e, ok := errors.AsType[*xmpp.StreamError](err); ok {
		return !e.Sent && limit(e.Condition)
	}
	e, ok := errors.AsType[*xmpp.StanzaError](err)
	return ok && (e.Type == "wait" || e.Condition == xmpp.RemoteServerNotFound || limit(e.Condition))
}

// isTemporary reports whether the same message may be accepted later.
func (d *Delivery) isTemporary(e *xmpp.StanzaError) bool { return isLimit(e) || d.o.Temporary(e) }

// limits reports whether a rate limit of your server refused a message. Your server
// sends such a bounce in its own name, the account's or the recipient's; in the
// recipient's name it comes before the confirmation. A full address at our domain is a
// client.
func (d *Delivery) limits(m *Message) bool {
	limit := m.bounce.err.Condition == xmpp.PolicyViolation
	server := xmpp.JID{Domain: d.account.Domain}
	by := m.bounce.by
	if by != m.To.Bare() && (by == server || by == d.account) {
		return limit || m.bounce.err.Condition == xmpp.ResourceConstraint
	}
	return limit && m.bounce.early && (by.Resource == "" || by.Domain != server.Domain)
}

// takeBack requeues the messages that are still open.
func (d *Delivery) takeBack(why event, messages ...*Message) {
	for _, m := range messages {
		if !m.isOpen() {
			continue // the receipt of an earlier copy has arrived
		}
		d.close(m)
		m.on(why)
		d.queue.put(m)
	}
}

// settle reports the final fate of a message.
func (d *Delivery) settle(m *Message, why event) {
	d.close(m)
	m.on(why)
	if fate := m.Fate(); m.limited > 0 && (fate == Accepted || fate == Received) {
		d.pace.recover()
	}
	if m.bounce == nil || !d.isTemporary(m.bounce.err) {
		d.queue.served(m)
	}
	d.tell(d.o.Settled(m))
}

// close removes a message from the open ones.
func (d *Delivery) close(m *Message) {
	d.outbox.remove(m)
	d.settling.remove(m)
	if m.lane != nil {
		m.lane.open--
		m.lane = nil
	}
}

// tell notes that a result cannot be written, which ends the delivery.
func (d *Delivery) tell(err error) {
	if d.broken == nil {
		d.broken = err
	}
}
