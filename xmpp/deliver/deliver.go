// Package deliver takes messages to the server, and tells what became of each. It knows
// neither where they come from nor how that is shown.
package deliver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
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
	// lastWait is how long confirmations are waited for behind a signal.
	lastWait = 500 * time.Millisecond
	// resumable is how long a server is asked to keep a session whose connection was
	// lost, with --retry.
	resumable = time.Minute
	// keepAlive is how long a dead server goes unnoticed while there is no input.
	keepAlive = time.Minute
	// FlightSize is how many messages of a stream are written together at most: a source
	// hands on no more in one chunk.
	FlightSize = flightSize
)

// A Message is one stanza to one recipient, and what became of it.
type Message struct {
	To     xmpp.JID
	Stanza *xmpp.Element
	Secret bool          // its id is random, and nobody else has it
	Size   int           // in bytes, about
	First  int           // line of the input; 0 where it is not from there
	Last   int           // line, where several are one message
	Grace  time.Duration // how long bounces are waited for after the confirmation

	lane      *lane // that has let it go
	open      bool  // it may have been written, or is about to be
	number    int   // in the order in which they came
	doubtful  bool  // a session that was lost may have brought it
	limited   int   // how often it was refused for the rate
	sent      time.Time
	confirmed bool
	rtt       time.Duration
	due       time.Time         // when nothing more is waited for; zero for never
	err       *xmpp.StanzaError // why it failed
	by        xmpp.JID          // who has bounced it
	early     bool              // and that before the confirmation
	refusal   *xmpp.StanzaError // why it is to be sent again
	received  time.Time         // the receipt
	fate      Fate              // once it is settled

	wanted bool // a receipt is

	told bool // a bounce or receipt has come; guarded by delivery.mu
}

// ID returns the id of the stanza.
func (m *Message) ID() string { return xmpp.Attr(m.Stanza, "id") }

// Err returns why a message was refused, be it for now.
func (m *Message) Err() *xmpp.StanzaError {
	if m.err != nil {
		return m.err
	}
	return m.refusal
}

// Took returns how long it took until the message was confirmed, or its receipt came.
func (m *Message) Took() time.Duration {
	if m.fate == Received {
		return m.received.Sub(m.sent)
	}
	return m.rtt
}

// A Fate is what is known of a message.
type Fate int

const (
	Unsent      Fate = iota // it has certainly not been sent
	Refused                 // refused for now, and not sent again yet
	Unconfirmed             // it may or may not have been sent
	MayBounce               // accepted by the server; bounces are still waited for
	Unreceived              // accepted by the server; its receipt is still waited for

	Accepted // by the server, and no bounce has come in time
	Received // its receipt has come
	Bounced  // refused, before it was confirmed that the server processed it
	Returned // refused, after that or with it
	Overdue  // accepted, and no receipt has come in time
)

// Fate returns what is known of the message.
func (m *Message) Fate() Fate {
	switch {
	case m.fate != Unsent:
		return m.fate
	case m.confirmed && m.wanted:
		return Unreceived
	case m.confirmed:
		return MayBounce
	case m.doubtful, m.open:
		return Unconfirmed
	case m.refusal != nil:
		return Refused
	}
	return Unsent
}

// bounced is the fate of a message whose bounce is final.
func (m *Message) bounced() Fate {
	if m.confirmed {
		return Returned
	}
	return Bounced
}

// receiptFrom reports whether a receipt counts: of any session of the recipient, however
// the server spells that.
func (m *Message) receiptFrom(from xmpp.JID) bool { return from.Bare().Alike(m.To.Bare()) }

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
	Stream  bool // messages are sent as they come, and not all at a time
	Receipt bool // is waited for (XEP-0184)
	Retries int  // after failures in a row

	// Timeout bounds each wait for a confirmation or a receipt, and all that is left once
	// the source has ended; 0 for none. Overdue is the error then.
	Timeout time.Duration
	Overdue error

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
// A message is pending until it is written, then open until it is settled. It is
// confirmed by the answer to the ping behind it: as a server works a stream off in
// order (RFC 6120, section 10.1), that proves that it has been processed and that the
// own server's bounce of it is here. It is settled by a bounce, by a receipt, or when
// there is nothing more to wait for.
type Delivery struct {
	o Options

	link         *link
	ended        bool // there is no more to come from the source
	count        int  // messages that came
	pending      []*Message
	lanes        map[xmpp.JID]*lane // of recipients that refuse messages for now
	waiting      int                // messages in the lanes
	waitingBytes int                // in them, about
	resumed      *flight            // was written by the connection before
	settling     []*Message         // confirmed and open, the next to be due first
	held         int                // bytes in them, about
	tries        int                // to go on, since the last progress
	lacking      int                // what the server had not got when a session was resumed; below 0 if nothing is known
	pace         pace               // of all
	under        int                // flights that are not back
	messages     int                // in them
	bytes        int                // in them
	elsewhere    string             // where the server has sent us, for one try
	deadline     time.Time          // for a sign of life or, when the source has ended, for all
	stopping     error              // why nothing more is written in this session

	account xmpp.JID
	woke    chan struct{} // holds a token when there is news

	mu   sync.Mutex
	own  xmpp.JID              // of the session
	open map[string][]*Message // by id; changed by the delivery alone
	news []news
}

// News is what a stanza from others says of a message: a bounce, or a receipt.
type news struct {
	m    *Message
	err  *xmpp.StanzaError
	from xmpp.JID
	at   time.Time
}

// New makes a delivery.
func New(o Options) *Delivery {
	d := &Delivery{
		o: o, account: o.Login.JID.Bare(), own: o.Login.JID, pace: newPace(windowSize), lacking: -1,
		lanes: make(map[xmpp.JID]*lane), open: make(map[string][]*Message), woke: make(chan struct{}, 1),
	}
	if !o.Stream {
		d.pace.window = math.MaxInt // all is one flight
	}
	d.o.Login.Take = d.hear
	if o.Retries > 0 {
		d.o.Login.Manage, d.o.Login.Resumable = true, resumable
	}
	if o.Stream {
		d.o.Login.KeepAlive = keepAlive
	}
	return d
}

// Run delivers until the source has ended and all is settled, or returns why it is broken
// off: GiveUp tells what is left then.
func (d *Delivery) Run(ctx context.Context) error {
	for {
		err := d.attempt(ctx)
		if err == nil || !d.again(ctx, err) {
			return err
		}
	}
}

func (d *Delivery) attempt(ctx context.Context) error {
	login := d.o.Login
	if d.elsewhere != "" {
		login.Server, d.elsewhere = d.elsewhere, ""
	}
	return d.o.Connect(ctx, login, d.deliver)
}

// again waits until it is time to try again, unless that is of no use.
func (d *Delivery) again(ctx context.Context, err error) bool {
	d.takeStock()
	if stream, ok := errors.AsType[*xmpp.StreamError](err); ok {
		d.elsewhere = stream.Host
	}
	switch {
	case d.Done(), ctx.Err() != nil, d.tries == d.o.Retries, !d.o.Temporary(err) && !isLimit(err) && d.elsewhere == "":
		return false
	case errors.Is(err, context.DeadlineExceeded) && d.ended && len(d.pending)+d.waiting+len(d.unconfirmed()) == 0:
		return false // to send again brings no receipt
	}
	if isLimit(err) {
		d.pace.window = max(1, min(d.pace.window, windowSize)/2)
	}
	d.tries++
	wait := d.pace.backoff.Next()
	d.trace("try %d of %d in %s: %s", d.tries, d.o.Retries, wait.Round(time.Millisecond), err)
	return xmpp.Sleep(ctx, wait) == nil
}

func (d *Delivery) trace(format string, args ...any) {
	if d.o.Login.Trace != nil {
		d.o.Login.Trace(format, args...)
	}
}

// GiveUp returns all messages that are left when the delivery was broken off, in order.
// What has come in the meantime is handled before.
func (d *Delivery) GiveUp() []*Message {
	d.o.Retries = 0
	d.takeStock()
	d.dissolve()
	left := append(d.unconfirmed(), d.pending...)
	left = append(left, d.settling...)
	slices.SortFunc(left, InOrder)
	return left
}

// takeStock handles, after a session has ended, all that came in it.
func (d *Delivery) takeStock() {
	d.heard()
	for _, m := range d.unconfirmed() {
		if m.err != nil { // the bounce is as true without the confirmation
			d.refused(m)
		}
	}
}

// isLimit reports whether an error says that it was too much at a time (XEP-0205,
// section 4), or otherwise to wait.
func isLimit(err error) bool {
	limit := func(c xmpp.Condition) bool { return c == xmpp.PolicyViolation || c == xmpp.ResourceConstraint }
	if e, ok := errors.AsType[*xmpp.StreamError](err); ok {
		return !e.Sent && limit(e.Condition)
	}
	e, ok := errors.AsType[*xmpp.StanzaError](err)
	return ok && (e.Type == "wait" || e.Condition == xmpp.RemoteServerNotFound || limit(e.Condition))
}

// deliver is what is done in a session. It returns when all is settled, or when the
// session is of no use any more.
func (d *Delivery) deliver(ctx context.Context, s *xmpp.Session) error {
	d.link = newLink(ctx, s)
	defer d.link.end(nil)
	if d.o.Retries > 0 {
		// Where it cannot be resumed, the resource at least stays the same: receipts and
		// late bounces go there.
		d.o.Login.JID.Resource = s.JID().Resource
		defer func() { d.o.Login.Resume = s.Resumption() }()
	}
	d.begin(s)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var tick <-chan time.Time
	if d.o.Progress != nil {
		t := time.NewTicker(d.o.Every)
		defer t.Stop()
		tick = t.C
	}
	stop := ctx.Done()
	for d.under > 0 || d.stopping == nil && !d.Done() {
		if len(d.link.answers) == 0 {
			d.output(d.o.Flush())
		}
		var source <-chan Chunk
		if d.wants() {
			source = d.o.Source
		}
		var idle <-chan struct{}
		next := d.next()
		if next != nil {
			idle = d.link.idle
		}
		timer.Reset(d.idle())
		select {
		case <-idle:
			d.launch(next)
		case c, ok := <-source:
			d.accept(c, ok)
		case f := <-d.link.answers:
			d.answered(f)
		case <-d.woke:
			d.heard()
		case <-timer.C:
			d.expire(time.Now())
		case err := <-d.link.lost:
			d.stop(err)
		case <-stop:
			stop = nil
			d.interrupted(context.Cause(ctx))
		case <-tick:
			d.o.Progress(d.messages)
		}
	}
	d.output(d.o.Flush())
	if errors.Is(d.stopping, context.DeadlineExceeded) && d.tries < d.o.Retries {
		s.Drop() // the next try is to find the session, and what has arrived in it
	}
	return d.stopping
}

// Done reports whether all is settled.
func (d *Delivery) Done() bool {
	return d.ended && len(d.pending)+d.waiting == 0 && len(d.open) == 0
}

// wants reports whether there is place for more from the source.
func (d *Delivery) wants() bool {
	return !d.ended && d.stopping == nil && len(d.pending) == 0 && len(d.settling)+d.waiting < 10*windowSize && d.held+d.waitingBytes < 10*windowBytes
}

// begin takes up what a connection before left open.
func (d *Delivery) begin(s *xmpp.Session) {
	d.mu.Lock()
	d.own = s.JID()
	d.mu.Unlock()
	d.under, d.messages, d.bytes = 0, 0, 0
	d.stopping, d.deadline, d.resumed = nil, time.Time{}, nil
	if d.ended {
		d.deadline = d.within(d.o.Timeout)
	}
	unconfirmed := d.unconfirmed()
	if len(unconfirmed) > 0 && s.Resumed() {
		if d.lacking < 0 {
			d.lacking = len(unconfirmed)
		}
		if s.Lacking() < d.lacking { // the last connection has come further than the one before
			d.tries = 0
			d.pace.recover()
		}
		d.lacking = s.Lacking()
		d.resumed = &flight{messages: unconfirmed, written: true}
		for _, m := range unconfirmed {
			d.resumed.bytes += m.Size
		}
		return
	}
	for _, m := range unconfirmed {
		m.doubtful = true
	}
	d.takeBack(unconfirmed...)
}

// unconfirmed returns the open messages that are not confirmed, in order.
func (d *Delivery) unconfirmed() []*Message {
	var all []*Message
	for _, same := range d.open {
		for _, m := range same {
			if !m.confirmed {
				all = append(all, m)
			}
		}
	}
	slices.SortFunc(all, InOrder)
	return all
}

// InOrder compares messages by when they came.
func InOrder(a, b *Message) int { return a.number - b.number }

// within returns when a duration from now is over, 0 being never.
func (d *Delivery) within(t time.Duration) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Now().Add(t)
}

// accept takes what the source has.
func (d *Delivery) accept(c Chunk, ok bool) {
	if c.Taken != nil {
		c.Taken()
	}
	for _, m := range c.Messages {
		if err := d.tooLarge(m); err != nil {
			if !d.o.Oversized(m, err) {
				c.Last = true // and whatever comes after it
				break
			}
			continue
		}
		d.count++
		m.number = d.count
		d.enqueue(m)
	}
	if !ok || c.Last {
		d.ended = true
		d.deadline = d.within(d.o.Timeout)
	}
}

// tooLarge refuses a message of a stream that the server would not take (XEP-0478).
// What is no stream is refused as a whole when it is written.
func (d *Delivery) tooLarge(m *Message) error {
	most := d.link.s.MaxSize()
	if !d.o.Stream || most == 0 || 6*m.Size < most { // no character takes more than six as XML
		return nil
	}
	if b, err := xmpp.XML(m.Stanza); err == nil && len(b) > most {
		return fmt.Errorf("%w: it has %d bytes, and the server accepts %d", xmpp.ErrTooLarge, len(b), most)
	}
	return nil
}

// next returns the flight that can be written now, or nil. What is pending has half of
// it at least.
func (d *Delivery) next() *flight {
	now := time.Now()
	switch {
	case d.stopping != nil, now.Before(d.pace.until):
		return nil
	case d.resumed != nil:
		return d.resumed
	}
	f := new(flight)
	for _, l := range d.lanes {
		for i, m := range l.waiting {
			if now.Before(l.until) || l.open+i >= l.window || !d.fits(f, m) || d.o.Stream && len(d.pending) > 0 && len(f.messages) >= flightSize/2 {
				break
			}
			f.add(m)
		}
	}
	for _, m := range d.pending {
		if !d.fits(f, m) {
			break
		}
		f.add(m)
	}
	if len(f.messages) == 0 {
		return nil
	}
	return f
}

// fits reports whether there is room for a message in a flight, and in the window.
func (d *Delivery) fits(f *flight, m *Message) bool {
	n := len(f.messages)
	if d.messages+n >= d.pace.window {
		return false
	}
	full := d.messages+n > 0 && d.bytes+f.bytes+m.Size > windowBytes || n == flightSize || n > 0 && f.bytes+m.Size > flightBytes
	return !d.o.Stream || !full
}

// launch hands a flight to the link. From now on it may be written, and heard of.
func (d *Delivery) launch(f *flight) {
	if f == d.resumed {
		d.resumed = nil
	} else {
		for _, m := range f.messages {
			d.dequeue(m)
		}
		now := time.Now()
		d.mu.Lock()
		for _, m := range f.messages {
			m.sent, m.open = now, true
			d.open[m.ID()] = append(d.open[m.ID()], m)
		}
		d.mu.Unlock()
	}
	d.under++
	d.messages += len(f.messages)
	d.bytes += f.bytes
	if d.under == 1 && !d.ended {
		d.deadline = d.within(d.o.Timeout)
	}
	d.link.flights <- f
}

// answered is told that a flight has come back.
func (d *Delivery) answered(f *flight) {
	d.under--
	d.messages -= len(f.messages)
	d.bytes -= f.bytes
	if f.err != nil {
		d.stop(f.err)
		if f.unsent && !f.written {
			d.takeBack(f.messages...)
		}
		return
	}
	d.trace("confirmed by %s after %v ms", d.link.s.Server(), float64(f.rtt.Round(time.Microsecond))/float64(time.Millisecond))
	d.heard() // its bounces came before the answer
	limited := false
	for _, m := range f.messages {
		if !d.isOpen(m) {
			continue // by a receipt
		}
		m.confirmed, m.rtt = true, f.rtt
		if m.err == nil {
			d.pace.tries = 0
		}
		limited = limited || m.limited > 0 && d.lanes[m.To.Bare()] == nil // until it is settled
		switch {
		case m.err != nil:
			limited = d.refused(m) || limited
		case d.o.Receipt:
			m.wanted = true
			d.await(m, d.o.Timeout)
		case m.Grace > 0:
			d.await(m, m.Grace)
		default:
			d.settle(m, Accepted)
		}
	}
	d.tries, d.lacking = 0, -1
	if !limited {
		d.pace.recover()
		if d.pace.window < windowSize {
			d.pace.window = min(2*d.pace.window, windowSize)
		}
	}
	if !d.ended {
		d.deadline = time.Time{}
		if d.under > 0 {
			d.deadline = d.within(d.o.Timeout)
		}
	}
}

// takeBack makes open messages wait for being written again.
func (d *Delivery) takeBack(messages ...*Message) {
	for _, m := range messages {
		d.close(m)
		d.enqueue(m)
	}
}

// await waits for a bounce or receipt of a message that is confirmed. Of one delivery
// all have the same time, or none.
func (d *Delivery) await(m *Message, t time.Duration) {
	m.due = d.within(t)
	d.settling = append(d.settling, m)
	d.held += m.Size
}

// hear is told every stanza before whatever comes behind it, by the session's reader.
// It keeps what it needs of bounces and receipts, and lets all go.
func (d *Delivery) hear(e *xmpp.Element) bool {
	if !xmpp.Is(e, xmpp.NSClient, "message") {
		return false
	}
	bounce := xmpp.Attr(e, "type") == "error"
	id := xmpp.Attr(e, "id")
	if !bounce {
		received := xmpp.Child(e, xep.NSReceipts, "received")
		if received == nil {
			return false
		}
		id = xmpp.Attr(received, "id")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	from, err := xmpp.Sender(e, d.own)
	if err != nil {
		return false
	}
	for _, m := range d.open[id] {
		n := news{m: m, from: from, at: time.Now()}
		switch {
		case m.told:
			continue
		case bounce && xmpp.Answers(from, m.To, d.own, m.Secret):
			n.err = xmpp.KeptErrorOf(e)
		case bounce, !d.o.Receipt, !m.receiptFrom(from):
			continue
		}
		m.told = true
		d.news = append(d.news, n)
		select {
		case d.woke <- struct{}{}:
		default:
		}
		break
	}
	return false
}

// heard handles the news. A bounce of what is not confirmed yet waits for that.
func (d *Delivery) heard() {
	d.mu.Lock()
	all := d.news
	d.news = nil
	d.mu.Unlock()
	for _, n := range all {
		if !d.isOpen(n.m) {
			continue // it was settled in between
		}
		n.m.err, n.m.by, n.m.early = n.err, n.from, !n.m.confirmed
		switch {
		case n.err == nil:
			n.m.received = n.at
			d.settle(n.m, Received)
		case n.m.confirmed:
			d.refused(n.m)
		}
	}
}

// idle returns how long there is nothing to do, if nothing happens.
func (d *Delivery) idle() time.Duration {
	rest := time.Hour
	until := func(t time.Time) {
		if !t.IsZero() {
			rest = min(rest, max(0, time.Until(t)))
		}
	}
	if len(d.settling) > 0 {
		until(d.settling[0].due)
	}
	if d.link.ctx.Err() == nil {
		until(d.deadline)
	}
	if d.stopping == nil && time.Now().Before(d.pace.until) {
		until(d.pace.until)
	}
	for _, l := range d.lanes {
		if d.stopping == nil && len(l.waiting) > 0 && time.Now().Before(l.until) {
			until(l.until)
		}
	}
	return rest
}

// expire does what it is time for.
func (d *Delivery) expire(now time.Time) {
	d.heard() // nothing is settled over news of it
	past := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	for len(d.settling) > 0 && past(d.settling[0].due) {
		if d.o.Receipt {
			d.settle(d.settling[0], Overdue)
		} else {
			d.settle(d.settling[0], Accepted)
		}
	}
	if past(d.deadline) && d.link.ctx.Err() == nil {
		d.stop(d.o.Overdue)
		d.link.end(d.stopping)
	}
}

// interrupted ends it: at once where the time is over, and else when what has been
// written is confirmed, or was given the time for that.
func (d *Delivery) interrupted(cause error) {
	d.stop(cause)
	if errors.Is(cause, context.DeadlineExceeded) {
		d.link.end(cause)
		return
	}
	time.AfterFunc(lastWait, func() { d.link.end(cause) })
}

func (d *Delivery) stop(err error) {
	if d.stopping == nil {
		d.stopping = err
	}
}

// output stops where results cannot be written.
func (d *Delivery) output(err error) {
	if err != nil {
		d.stop(err)
		d.link.end(err)
	}
}

func (d *Delivery) isOpen(m *Message) bool { return slices.Contains(d.open[m.ID()], m) }

// close takes a message out of the open ones.
func (d *Delivery) close(m *Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.open = false
	id := m.ID()
	same := d.open[id]
	switch i := slices.Index(same, m); {
	case i < 0:
	case len(same) > 1:
		d.open[id] = slices.Delete(same, i, i+1)
	default:
		delete(d.open, id)
	}
	if m.lane != nil {
		m.lane.open--
		m.lane = nil
	}
	if i := slices.Index(d.settling, m); i >= 0 {
		d.settling = slices.Delete(d.settling, i, i+1)
		d.held -= m.Size
	}
}

// settle says what became of a message at last.
func (d *Delivery) settle(m *Message, fate Fate) {
	d.close(m)
	m.fate = fate
	if m.limited > 0 && (fate == Accepted || fate == Received) {
		d.pace.recover()
	}
	if m.err == nil || !d.isTemporary(m.err) {
		d.served(m)
	}
	d.output(d.o.Settled(m))
}
