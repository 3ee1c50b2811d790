// Package deliver takes messages to the server, and tells what became of each. It knows
// neither where they come from nor how that is shown.
//
// Three lifetimes are apart in it. A Delivery is the whole run: what waits to be written,
// and what is not settled yet. A connection is one session, made anew for each. A Message
// has a state, which is a value.
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
	// The window bounds what may be written and not confirmed, in messages and, about,
	// in bytes. Beyond it nothing is read, so memory is bounded on endless input.
	windowSize  = 1000
	windowBytes = 1 << 20
	// A flight of a stream is small enough for its answer to be a sign of life where a
	// server takes only some kilobytes a second, and to be one TLS record: where a
	// connection is cut inside of a stanza, Prosody 0.12 cannot resume the session.
	flightSize  = 50
	flightBytes = 12 << 10
	// lastWait is how long confirmations are waited for after a signal.
	lastWait = 500 * time.Millisecond
	// resumable is how long a server is asked to keep a session whose connection was
	// lost, where it is tried again.
	resumable = time.Minute
	// keepAlive is how long a dead server goes unnoticed while there is no input.
	keepAlive = time.Minute
)

// FlightSize is how many messages of a stream are written together at most. There is no
// use in a larger chunk.
const FlightSize = flightSize

// A Chunk holds messages that are ready together.
type Chunk struct {
	Messages []*Message
	Taken    func() // is called when they are taken, if it is not nil
	Last     bool   // nothing comes after it
}

// Options say what is to be delivered, how, and who is told of it. All functions are
// called by the goroutine that runs the delivery.
type Options struct {
	Login   xmpp.Options
	Source  <-chan Chunk
	Stream  bool // messages are sent as they come, and not all together
	Receipt bool // is waited for (XEP-0184)
	Retries int  // after failures in a row

	// Timeout bounds each wait for a confirmation or a receipt, and all that is left once
	// the source has ended; 0 for none.
	Timeout time.Duration

	// Connect opens a session, lets use do its work in it, and closes it.
	Connect func(ctx context.Context, login xmpp.Options, use func(context.Context, *xmpp.Session) error) error
	// Temporary reports whether the same may succeed later.
	Temporary func(error) bool
	// Oversized is told of a message of a stream that is larger than the server accepts.
	// It reports whether the messages after it are to be sent.
	Oversized func(*Message, error) bool
	// Settled is told of each message whose fate is final.
	Settled func(*Message) error
	// Flush is called where there is nothing else to do for the moment. An error of it, or
	// of Settled, ends the delivery.
	Flush func() error
	// Progress, if it is not nil, is told every so often how many messages are in flight.
	Progress func(inFlight int)
	Every    time.Duration
}

// A Delivery takes messages to the server and says of each what became of it.
//
// A message is confirmed by the answer to the ping after it: as a server works a stream
// off in order (RFC 6120, section 10.1), that proves that it has been processed and that
// your server's bounce of it is here. It is settled by a bounce, by a receipt, or when
// there is nothing more to wait for.
type Delivery struct {
	o        Options
	account  xmpp.JID
	queue    queue    // is not written
	outbox   *outbox  // is written, and not settled
	settling settling // of that, what is confirmed
	pace     pace     // of all
	ended    bool     // there is no more to come from the source
	broken   error    // what came of a message could not be told

	redial  xmpp.Redial
	tries   int // to go on, since the last progress
	unacked int // what the server had not got when a session was resumed; below 0 if nothing is known
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
	login.Watch, login.Take = d.outbox.hear, func(*xmpp.Element) bool { return false }
	if o.Retries > 0 {
		login.Manage, login.Resumable = true, resumable
	}
	if o.Stream {
		login.KeepAlive = keepAlive
	}
	d.redial = xmpp.Redial{Login: login, Again: d.again}
	return d
}

// Run delivers until the source has ended and all is settled, or returns why it is broken
// off: GiveUp tells what is left then.
func (d *Delivery) Run(ctx context.Context) error { return d.redial.Run(ctx, d.attempt) }

// attempt is one session, from its login to its end.
func (d *Delivery) attempt(ctx context.Context, login xmpp.Options) error {
	err := d.o.Connect(ctx, login, d.session)
	if err != nil {
		d.takeStock()
	}
	return err
}

// again reports whether it is of use to try again, and after what wait.
func (d *Delivery) again(err error) (wait time.Duration, ok bool) {
	switch {
	case d.Done(), d.broken != nil, d.tries == d.o.Retries, !d.o.Temporary(err) && !isLimit(err) && xmpp.RedirectOf(err) == "":
		return 0, false
	case errors.Is(err, context.DeadlineExceeded) && d.ended && d.queue.len()+len(d.outbox.unconfirmed()) == 0:
		return 0, false // to send again brings no receipt
	}
	if isLimit(err) {
		d.pace.window = max(1, min(d.pace.window, windowSize)/2)
	}
	d.tries++
	wait = d.pace.backoff.Next()
	d.trace("try %d of %d in %s: %s", d.tries, d.o.Retries, wait.Round(time.Millisecond), err)
	return wait, true
}

// session is what is done in a session. It returns when all is settled, or when the
// session is of no use any more.
func (d *Delivery) session(ctx context.Context, s *xmpp.Session) error {
	c := d.connect(ctx, s)
	defer c.link.end(nil)
	if d.o.Retries > 0 {
		// Where it cannot be resumed, the resource at least stays the same: receipts and
		// late bounces go there.
		d.redial.Login.JID.Resource = s.JID().Resource
		defer func() { d.redial.Login.Resume = s.Resumption() }()
	}
	err := c.run(ctx)
	if errors.Is(err, context.DeadlineExceeded) && d.tries < d.o.Retries {
		s.Drop() // the next try is to find the session, and what has arrived in it
	}
	return err
}

// Done reports whether all is settled.
func (d *Delivery) Done() bool { return d.ended && d.queue.len() == 0 && d.outbox.empty() }

// wants reports whether there is room for more from the source.
func (d *Delivery) wants() bool {
	return !d.ended && len(d.queue.pending) == 0 && len(d.settling.list)+d.queue.waiting < 10*windowSize && d.settling.bytes+d.queue.bytes < 10*windowBytes
}

// takeStock handles, after a session has ended, all that came in it.
func (d *Delivery) takeStock() {
	d.heard()
	for _, m := range d.outbox.unconfirmed() {
		if m.bounce != nil { // it is as true without the confirmation
			d.bounced(m)
		}
	}
}

// GiveUp returns all messages that are left when the delivery was broken off, in order.
// What has come in the meantime is handled before.
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
