// Package deliver sends messages to the server, and reports what became of each. It
// does not know where they come from, or how the results are shown.
//
// It separates three lifetimes. A Delivery is the whole run: the messages that wait to be
// written, and those not settled yet. A connection is one session. A Message has a state,
// which is a value.
package deliver

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"xmppkit/xmpp"
)

const (
	// The window limits how many messages, and about how many bytes, may be
	// unconfirmed. Beyond it no input is read, so memory is limited even for endless
	// input.
	windowSize  = 1000
	windowBytes = 1 << 20
	// A flight of a stream is small, so that its answer is a sign of life even from a
	// server that accepts only a few kilobytes a second. It also fits into one TLS
	// record: if a connection is cut inside a stanza, Prosody 0.12 cannot resume the
	// session.
	flightSize  = 50
	flightBytes = 12 << 10
	// lastWait is how long to wait for confirmations after a signal.
	lastWait = 500 * time.Millisecond
	// resumable is how long the server is asked to keep a session after a lost
	// connection, if the delivery retries.
	resumable = time.Minute
	// keepAlive is how long a dead server can go unnoticed while there is no input.
	keepAlive = time.Minute
)

// FlightSize is the maximum number of messages of a stream that are written together. A
// larger chunk has no benefit.
const FlightSize = flightSize

// A Chunk holds messages that are ready together.
type Chunk struct {
	Messages []*Message
	Taken    func() // if not nil, is called when they are taken
	Last     bool   // it is the last one
}

// Options configure a delivery. All functions are called by the goroutine that runs it.
type Options struct {
	Login   xmpp.Options
	Source  <-chan Chunk
	Stream  bool // messages are sent as they come, not all together
	Receipt bool // is waited for (XEP-0184)
	Retries int  // after failures in a row

	// Timeout limits each wait for a confirmation or a receipt, and the rest of the run
	// once the source has ended; 0 means no limit.
	Timeout time.Duration

	// Connect opens a session, lets use do its work in it, and closes it.
	Connect func(ctx context.Context, login xmpp.Options, use func(context.Context, *xmpp.Session) error) error
	// Temporary reports whether the same may succeed later.
	Temporary func(error) bool
	// Oversized is called for a message of a stream that is larger than the server
	// accepts. It reports whether to send the messages after it.
	Oversized func(*Message, error) bool
	// Settled is called for each message whose fate is final.
	Settled func(*Message) error
	// Flush is called when there is nothing else to do for the moment. An error from it,
	// or from Settled, ends the delivery.
	Flush func() error
	// Progress, if it is not nil, is called regularly with the number of messages in
	// flight.
	Progress func(inFlight int)
	Every    time.Duration
}

// A Delivery sends messages to the server and reports what became of each.
//
// The answer to the ping after a message confirms it: a server processes a stream in
// order (RFC 6120, section 10.1), so the answer proves that the message has been
// processed and that your server's bounce, if any, has arrived. A message is settled by
// a bounce, by a receipt, or when there is nothing more to wait for.
type Delivery struct {
	o        Options
	account  xmpp.JID
	queue    queue    // is not written
	outbox   *outbox  // is written, and not settled
	settling settling // of that, what is confirmed
	pace     pace     // of all
	ended    bool     // the source has ended
	broken   error    // a result could not be written

	redial  xmpp.Redial
	tries   int // since the last progress
	unacked int // how many stanzas the server had not received when a session was resumed; below 0 if unknown
}

// New makes a delivery.
func New(o Options) *Delivery {
	d := &Delivery{
		o: o, account: o.Login.JID.Bare(), pace: newPace(windowSize), unacked: -1,
		queue: queue{lanes: make(map[xmpp.JID]*lane)}, outbox: newOutbox(o.Login.JID, o.Receipt),
	}
	if !o.Stream {
		d.pace.window = math.MaxInt // all is one flight
	}
	login := o.Login
	login.Watch, login.Take = d.outbox.onStanza, func(*xmpp.Element) bool { return false }
	if o.Retries > 0 {
		login.Manage, login.Resumable = true, resumable
	}
	if o.Stream {
		login.KeepAlive = keepAlive
	}
	d.redial = xmpp.Redial{Login: login, Again: d.again}
	return d
}

// Run delivers until the source has ended and everything is settled, or returns why it
// stopped early. GiveUp then returns what is left.
func (d *Delivery) Run(ctx context.Context) error { return d.redial.Run(ctx, d.attempt) }

// attempt runs one session, from its login to its end.
func (d *Delivery) attempt(ctx context.Context, login xmpp.Options) error {
	err := d.o.Connect(ctx, login, d.session)
	if err != nil {
		d.takeStock()
	}
	return err
}

// again reports whether to try again, and after what wait.
func (d *Delivery) again(err error) (wait time.Duration, ok bool) {
	switch {
	case d.Done(), d.broken != nil, d.tries == d.o.Retries, !d.o.Temporary(err) && !isLimit(err) && xmpp.RedirectOf(err) == "":
		return 0, false
	case errors.Is(err, context.DeadlineExceeded) && d.ended && d.queue.len()+len(d.outbox.unconfirmed()) == 0:
		return 0, false // resending would not bring a receipt
	}
	if isLimit(err) {
		d.pace.window = max(1, min(d.pace.window, windowSize)/2)
	}
	d.tries++
	wait = d.pace.backoff.Next()
	d.trace("try %d of %d in %s: %s", d.tries, d.o.Retries, wait.Round(time.Millisecond), err)
	return wait, true
}

// session delivers in one session. It returns when everything is settled, or when the
// session can no longer be used.
func (d *Delivery) session(ctx context.Context, s *xmpp.Session) error {
	c := d.connect(ctx, s)
	defer c.link.end(nil)
	if d.o.Retries > 0 {
		// If it cannot be resumed, keep at least the resource: receipts and late bounces
		// go there.
		d.redial.Login.JID.Resource = s.JID().Resource
		defer func() { d.redial.Login.Resume = s.Resumption() }()
	}
	err := c.run(ctx)
	if errors.Is(err, context.DeadlineExceeded) && d.tries < d.o.Retries {
		s.Drop() // the next try needs the session, and what has arrived in it
	}
	return err
}

// Done reports whether everything is settled.
func (d *Delivery) Done() bool { return d.ended && d.queue.len() == 0 && d.outbox.empty() }

// wants reports whether there is room for more from the source.
func (d *Delivery) wants() bool {
	return !d.ended && len(d.queue.pending) == 0 && len(d.settling.list)+d.queue.waiting < 10*windowSize && d.settling.bytes+d.queue.bytes < 10*windowBytes
}

// takeStock handles everything that arrived in a session, after its end.
func (d *Delivery) takeStock() {
	d.heard()
	for _, m := range d.outbox.unconfirmed() {
		if m.bounce != nil { // it holds without the confirmation too
			d.bounced(m)
		}
	}
}

// GiveUp returns the messages that are left when the delivery has stopped early, in
// order. It first handles what has arrived in the meantime.
func (d *Delivery) GiveUp() []*Message {
	d.o.Retries = 0
	d.takeStock()
	d.queue.dissolve()
	left := append(d.outbox.unconfirmed(), d.queue.pending...)
	for _, w := range d.settling.list {
		left = append(left, w.m)
	}
	slices.SortFunc(left, InOrder)
	return left
}

func (d *Delivery) trace(format string, args ...any) {
	if d.o.Login.Trace != nil {
		d.o.Login.Trace(format, args...)
	}
}
