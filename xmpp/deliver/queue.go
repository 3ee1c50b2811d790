package deliver

import (
	"maps"
	"slices"
	"time"

	"xmppkit/xmpp"
)

// A pace limits the rate of messages to somebody who refuses them temporarily
// (XEP-0205, section 4), with pauses that double each time.
type pace struct {
	backoff xmpp.Backoff
	tries   int       // refused in a row
	until   time.Time // nothing is written before this
	window  int       // how many may be in flight
}

func newPace(window int) pace {
	return pace{backoff: xmpp.Backoff{Start: time.Second, Max: time.Minute}, window: window}
}

// refuse handles a refusal. It starts a pause, unless there is one, and reports whether
// there is another try.
func (p *pace) refuse(tries, window int) bool {
	now := time.Now()
	switch {
	case now.Before(p.until):
		return true // part of the same try: these were in flight together
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

// widen allows more messages at a time, after a flight without a refusal by a rate
// limit.
func (p *pace) widen() {
	p.recover()
	if p.window < windowSize {
		p.window = min(2*p.window, windowSize)
	}
}

// A lane holds the messages of a recipient who refuses them temporarily, so that
// messages to others do not wait. It tries one message, and after each success one more
// at a time.
type lane struct {
	pace
	open    int        // messages that the lane has released and that are not settled
	waiting []*Message // in order
}

// A queue holds the messages that wait to be written.
type queue struct {
	count   int // messages that came
	pending []*Message
	lanes   map[xmpp.JID]*lane // of recipients that refuse messages temporarily
	waiting int                // messages in the lanes
	bytes   int                // in them, about
}

func (q *queue) len() int { return len(q.pending) + q.waiting }

// push adds a new message.
func (q *queue) push(m *Message) {
	q.count++
	m.number = q.count
	q.put(m)
}

// put inserts a message in order.
func (q *queue) put(m *Message) {
	all := &q.pending
	if l := q.lanes[m.To.Bare()]; l != nil {
		all = &l.waiting
		q.waiting++
		q.bytes += m.Size
	}
	i, _ := slices.BinarySearchFunc(*all, m, InOrder)
	*all = slices.Insert(*all, i, m)
}

// pop removes the first message of its recipient's lane, or of the queue, because it is
// being written.
func (q *queue) pop(m *Message) {
	l := q.lanes[m.To.Bare()]
	if l == nil {
		q.pending = q.pending[1:]
		return
	}
	l.waiting = l.waiting[1:]
	l.open++
	m.lane = l
	q.waiting--
	q.bytes -= m.Size
}

// lane returns the lane of a recipient, and makes it if necessary. It then holds all
// unwritten messages of that recipient.
func (q *queue) lane(to xmpp.JID) *lane {
	l := q.lanes[to]
	if l != nil {
		return l
	}
	if len(q.lanes) >= windowSize { // lanes that have given up remain, but not for ever
		maps.DeleteFunc(q.lanes, func(_ xmpp.JID, l *lane) bool { return len(l.waiting)+l.open == 0 })
	}
	l = &lane{pace: newPace(1)}
	q.lanes[to] = l
	all := q.pending
	q.pending = nil
	for _, m := range all {
		q.put(m)
	}
	return l
}

// served handles a message that was not temporarily refused: its recipient can get more
// at a time.
func (q *queue) served(m *Message) {
	to := m.To.Bare()
	l := q.lanes[to]
	if l == nil {
		return
	}
	l.recover()
	l.window = min(l.window+1, windowSize)
	if len(l.waiting)+l.open == 0 {
		delete(q.lanes, to)
	}
}

// next fills a flight with the messages that may be written now. At least half of a
// full flight is for messages that are in no lane.
func (q *queue) next(fits func(*flight, *Message) bool, most int) *flight {
	f := new(flight)
	now := time.Now()
	for _, l := range q.lanes {
		for i, m := range l.waiting {
			if now.Before(l.until) || l.open+i >= l.window || !fits(f, m) || len(q.pending) > 0 && len(f.messages) >= most/2 {
				break
			}
			f.add(m)
		}
	}
	for _, m := range q.pending {
		if !fits(f, m) {
			break
		}
		f.add(m)
	}
	if len(f.messages) == 0 {
		return nil
	}
	return f
}

// pauses calls wait with the end of each lane's pause.
func (q *queue) pauses(wait func(until time.Time)) {
	for _, l := range q.lanes {
		if len(l.waiting) > 0 && time.Now().Before(l.until) {
			wait(l.until)
		}
	}
}

// dissolve ends all lanes: their messages become pending.
func (q *queue) dissolve() {
	for _, l := range q.lanes {
		q.pending = append(q.pending, l.waiting...)
	}
	clear(q.lanes)
	q.waiting, q.bytes = 0, 0
	slices.SortFunc(q.pending, InOrder)
}
