package deliver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"xmppkit/xmpp"
)

// A connection is the part of a delivery that happens in one session.
type connection struct {
	d        *Delivery
	link     *link
	resumed  *flight   // was written by the previous connection
	flights  int       // that are not back
	messages int       // in them
	bytes    int       // in them
	deadline time.Time // for a sign of life or, once the source has ended, for everything
	stopping error     // why it writes nothing more
}

// connect continues with what the previous connection left open.
func (d *Delivery) connect(ctx context.Context, s *xmpp.Session) *connection {
	c := &connection{d: d, link: newLink(ctx, s)}
	d.outbox.bound(s.JID())
	if d.ended {
		c.deadline = d.within(d.o.Timeout)
	}
	unconfirmed := d.outbox.unconfirmed()
	if len(unconfirmed) == 0 || !s.Resumed() {
		d.takeBack(lose, unconfirmed...)
		return c
	}
	if d.unacked < 0 {
		d.unacked = len(unconfirmed)
	}
	if s.Unacked() < d.unacked { // the last connection made more progress than the one before
		d.tries = 0
		d.pace.recover()
	}
	d.unacked = s.Unacked()
	c.resumed = &flight{written: true}
	for _, m := range unconfirmed {
		c.resumed.add(m)
	}
	return c
}

// within returns the time after a duration from now; 0 means never.
func (d *Delivery) within(t time.Duration) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Now().Add(t)
}

// run writes and waits until everything is settled, or until it is stopped and all
// flights are back.
func (c *connection) run(ctx context.Context) error {
	d := c.d
	timer := time.NewTimer(0)
	defer timer.Stop()
	var tick <-chan time.Time
	if d.o.Progress != nil {
		t := time.NewTicker(d.o.Every)
		defer t.Stop()
		tick = t.C
	}
	stop := ctx.Done()
	for c.flights > 0 || c.stopping == nil && !d.Done() {
		if len(c.link.answers) == 0 {
			d.tell(d.o.Flush())
		}
		c.checkBroken()
		var source <-chan Chunk
		if c.stopping == nil && d.wants() {
			source = d.o.Source
		}
		var idle <-chan struct{}
		next := c.next()
		if next != nil {
			idle = c.link.idle
		}
		timer.Reset(c.idle())
		select {
		case <-idle:
			c.launch(next)
		case chunk, ok := <-source:
			c.accept(chunk, ok)
		case f := <-c.link.answers:
			c.answered(f)
		case <-d.outbox.woke:
			d.heard()
		case <-timer.C:
			c.expire(time.Now())
		case err := <-c.link.lost:
			c.stop(err)
		case <-stop:
			stop = nil
			c.interrupted(context.Cause(ctx))
		case <-tick:
			d.o.Progress(c.messages)
		}
	}
	d.tell(d.o.Flush())
	c.checkBroken()
	return c.stopping
}

// accept takes the next messages from the source.
func (c *connection) accept(chunk Chunk, ok bool) {
	d := c.d
	if chunk.Taken != nil {
		chunk.Taken()
	}
	for _, m := range chunk.Messages {
		if err := c.tooLarge(m); err != nil {
			if !d.o.Oversized(m, err) {
				chunk.Last = true // and whatever comes after it
				break
			}
			continue
		}
		m.state.receipt = d.o.Receipt
		d.queue.push(m)
	}
	if !ok || chunk.Last {
		d.ended = true
		c.deadline = d.within(d.o.Timeout)
	}
}

// tooLarge refuses a message of a stream if it is too large for the server (XEP-0478).
// Without a stream, the write refuses all messages together.
func (c *connection) tooLarge(m *Message) error {
	most := c.link.s.MaxSize()
	if !c.d.o.Stream || most == 0 || 6*m.Size < most { // no byte takes more than six bytes as XML
		return nil
	}
	if b, err := xmpp.XML(m.Stanza); err == nil && len(b) > most {
		return fmt.Errorf("%w: it has %d bytes, and the server accepts %d", xmpp.ErrTooLarge, len(b), most)
	}
	return nil
}

// next returns the next flight, or nil if nothing can be written now.
func (c *connection) next() *flight {
	switch {
	case c.stopping != nil, time.Now().Before(c.d.pace.until):
		return nil
	case c.resumed != nil:
		return c.resumed
	case c.d.o.Stream:
		return c.d.queue.next(c.fits, flightSize)
	}
	return c.d.queue.next(c.fits, math.MaxInt)
}

// fits reports whether there is room for a message in a flight, and in the window.
func (c *connection) fits(f *flight, m *Message) bool {
	n := len(f.messages)
	if c.messages+n >= c.d.pace.window {
		return false
	}
	full := c.messages+n > 0 && c.bytes+f.bytes+m.Size > windowBytes || n == flightSize || n > 0 && f.bytes+m.Size > flightBytes
	return !c.d.o.Stream || !full
}

// launch passes a flight to the link. From now on it may be written, and answers may
// come.
func (c *connection) launch(f *flight) {
	if f == c.resumed {
		c.resumed = nil
	} else {
		now := time.Now()
		for _, m := range f.messages {
			c.d.queue.pop(m)
			m.sent = now
			m.on(launch)
		}
		c.d.outbox.add(f.messages)
	}
	c.flights++
	c.messages += len(f.messages)
	c.bytes += f.bytes
	if c.flights == 1 && !c.d.ended {
		c.deadline = c.d.within(c.d.o.Timeout)
	}
	c.link.flights <- f
}

// answered handles a flight that has come back.
func (c *connection) answered(f *flight) {
	d := c.d
	c.flights--
	c.messages -= len(f.messages)
	c.bytes -= f.bytes
	if f.err != nil {
		c.stop(f.err)
		if f.unsent && !f.written {
			d.takeBack(spare, f.messages...)
		}
		return
	}
	d.trace("confirmed by %s after %v ms", c.link.s.Server(), float64(f.rtt.Round(time.Microsecond))/float64(time.Millisecond))
	d.heard() // its bounces came before the answer
	limited := false
	for _, m := range f.messages {
		if m.isOpen() { // otherwise a receipt has settled it
			limited = d.confirmed(m, f.rtt) || limited
		}
	}
	d.tries, d.unacked = 0, -1
	if !limited {
		d.pace.widen()
	}
	if !d.ended {
		c.deadline = time.Time{}
		if c.flights > 0 {
			c.deadline = d.within(d.o.Timeout)
		}
	}
}

// confirmed handles a message that the server has processed. It reports whether the server
// may still be limiting the rate.
func (d *Delivery) confirmed(m *Message, rtt time.Duration) (limited bool) {
	m.on(confirm)
	m.took = rtt
	if m.bounce == nil {
		d.pace.tries = 0
	}
	limited = m.limited > 0 && d.queue.lanes[m.To.Bare()] == nil // until it is settled
	switch {
	case m.bounce != nil:
		return d.bounced(m) || limited
	case d.o.Receipt:
		d.settling.add(m, d.within(d.o.Timeout))
	case m.Grace > 0:
		d.settling.add(m, d.within(m.Grace))
	default:
		d.settle(m, silence)
	}
	return limited
}

// idle returns how long to wait if nothing happens.
func (c *connection) idle() time.Duration {
	rest := time.Hour
	until := func(t time.Time) {
		if !t.IsZero() {
			rest = min(rest, max(0, time.Until(t)))
		}
	}
	if list := c.d.settling.list; len(list) > 0 {
		until(list[0].due)
	}
	if c.link.ctx.Err() == nil {
		until(c.deadline)
	}
	if c.stopping == nil {
		if time.Now().Before(c.d.pace.until) {
			until(c.d.pace.until)
		}
		c.d.queue.pauses(until)
	}
	return rest
}

// expire handles what has timed out.
func (c *connection) expire(now time.Time) {
	d := c.d
	d.heard() // news of a message must be handled before it is settled
	for m := d.settling.due(now); m != nil; m = d.settling.due(now) {
		d.settle(m, silence)
	}
	if !c.deadline.IsZero() && !now.Before(c.deadline) && c.link.ctx.Err() == nil {
		c.stop(xmpp.TimeoutError(d.o.Timeout))
		c.link.end(c.stopping)
	}
}

// interrupted ends the connection: immediately if the time is over, otherwise once
// everything written is confirmed or lastWait has passed.
func (c *connection) interrupted(cause error) {
	c.stop(cause)
	if errors.Is(cause, context.DeadlineExceeded) {
		c.link.end(cause)
		return
	}
	time.AfterFunc(lastWait, func() { c.link.end(cause) })
}

func (c *connection) stop(err error) {
	if c.stopping == nil {
		c.stopping = err
	}
}

// checkBroken stops if results cannot be written.
func (c *connection) checkBroken() {
	if err := c.d.broken; err != nil {
		c.stop(err)
		c.link.end(err)
	}
}
