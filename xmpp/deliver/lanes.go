package deliver

import (
	"maps"
	"slices"
	"time"

	"xmppkit/xmpp"
)

// A pace is how fast messages may go to somebody who refuses them for now (XEP-0205,
// section 4): after pauses, twice as long each time.
type pace struct {
	backoff xmpp.Backoff
	tries   int       // that were refused, in a row
	until   time.Time // nothing is written before
	window  int       // how many may be under way
}

func newPace(window int) pace {
	return pace{backoff: xmpp.Backoff{Start: time.Second, Max: time.Minute}, window: window}
}

// refuse is told of a refusal. It begins a pause, if there is none, and reports whether
// there is another try.
func (p *pace) refuse(tries, window int) bool {
	now := time.Now()
	switch {
	case now.Before(p.until):
		return true // the same try: these were under way together
	case p.tries == tries:
		return false
	}
	p.tries++
	p.until, p.window = now.Add(p.backoff.Next()), window
	return true
}

func (p *pace) recover() {
	p.tries = 0
	p.backoff.Reset()
}

// A lane holds the messages of a recipient who refuses them for now, so that no others
// wait for them: it tries one, and after each that is not refused one more at a time.
type lane struct {
	pace
	open    int        // messages that the lane has let go, and that are not settled
	waiting []*Message // in order
}

// lane returns that of a recipient, which is made now if need be. From now on it has all
// messages of that recipient that are not written.
func (d *Delivery) lane(to xmpp.JID) *lane {
	l := d.lanes[to]
	if l != nil {
		return l
	}
	if len(d.lanes) >= windowSize { // those that have given up stay, but not for ever
		maps.DeleteFunc(d.lanes, func(_ xmpp.JID, l *lane) bool { return len(l.waiting)+l.open == 0 })
	}
	l = &lane{pace: newPace(1)}
	d.lanes[to] = l
	pending := d.pending
	d.pending = nil
	for _, m := range pending {
		d.enqueue(m)
	}
	return l
}

// enqueue makes a message wait for being written, in order.
func (d *Delivery) enqueue(m *Message) {
	q := &d.pending
	if l := d.lanes[m.To.Bare()]; l != nil {
		q = &l.waiting
		d.waiting++
		d.waitingBytes += m.Size
	}
	i, _ := slices.BinarySearchFunc(*q, m, InOrder)
	*q = slices.Insert(*q, i, m)
}

// dequeue takes the first message of a queue, as it is written.
func (d *Delivery) dequeue(m *Message) {
	l := d.lanes[m.To.Bare()]
	if l == nil {
		d.pending = d.pending[1:]
		return
	}
	l.waiting = l.waiting[1:]
	l.open++
	m.lane = l
	d.waiting--
	d.waitingBytes -= m.Size
}

// dissolve ends all lanes: what waits in them is pending.
func (d *Delivery) dissolve() {
	for _, l := range d.lanes {
		d.pending = append(d.pending, l.waiting...)
	}
	clear(d.lanes)
	d.waiting, d.waitingBytes = 0, 0
	slices.SortFunc(d.pending, InOrder)
}

// refused handles a bounce. Where it may help, the message is to be sent again, later;
// until then others of the same recipient wait as well, or all others, if it was our
// server that refused it for the rate: that is reported.
func (d *Delivery) refused(m *Message) bool {
	if m.limited == d.o.Retries || !d.isTemporary(m.err) {
		d.settle(m, m.bounced())
		return false
	}
	ours := d.limits(m)
	p, window := &d.pace, max(1, min(d.pace.window, len(d.open))/2)
	if !ours {
		l := d.lane(m.To.Bare())
		p, window = &l.pace, 1
	}
	if !p.refuse(d.o.Retries, window) {
		p.window = windowSize // it has been tried enough: each that waits is tried once
		d.settle(m, m.bounced())
		return false
	}
	d.trace("message to %s refused, %s: trying again in %s", m.To, m.err, time.Until(p.until).Round(time.Millisecond))
	m.limited++
	m.confirmed, m.refusal, m.err, m.told = false, m.err, nil, false // nobody else knows of it any more
	d.takeBack(m)
	return ours
}

// isTemporary reports whether the same message may be taken later.
func (d *Delivery) isTemporary(e *xmpp.StanzaError) bool { return isLimit(e) || d.o.Temporary(e) }

// limits reports whether it was our server that refused a message, for the rate of all:
// it says so in its own or the account's name, or it says so in the recipient's, and
// then before the confirmation. What has a resource of our domain is a client.
func (d *Delivery) limits(m *Message) bool {
	limit := m.err.Condition == xmpp.PolicyViolation
	server := xmpp.JID{Domain: d.account.Domain}
	if by := m.by; by != m.To.Bare() && (by == server || by == d.account) {
		return limit || m.err.Condition == xmpp.ResourceConstraint
	}
	return limit && m.early && (m.by.Resource == "" || m.by.Domain != server.Domain)
}

// served is told of a message that was not refused for now: its recipient can have more
// at a time.
func (d *Delivery) served(m *Message) {
	to := m.To.Bare()
	l := d.lanes[to]
	if l == nil {
		return
	}
	l.recover()
	l.window = min(l.window+1, windowSize)
	if len(l.waiting)+l.open == 0 {
		delete(d.lanes, to)
	}
}
