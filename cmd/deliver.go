package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/stdio"
	"xmppkit/output"
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
)

// An outgoing message and what became of it.
type outgoing struct {
	to     xmpp.JID
	stanza *xmpp.Element
	secret bool          // its id is random, and nobody else has it
	size   int           // about
	first  int           // line of the input; 0 where it is not from there
	line   int           // the last one, where several are one message
	grace  time.Duration // for bounces behind the confirmation
	lane   *lane         // that has let it go

	number    int  // in the order in which they came
	doubtful  bool // a session that was lost may have brought it
	limited   int  // how often it was refused for the rate
	sent      time.Time
	confirmed bool
	rtt       time.Duration
	due       time.Time         // when nothing more is waited for; zero for never
	err       *xmpp.StanzaError // why it failed
	by        xmpp.JID          // who has bounced it
	early     bool              // and that before the confirmation
	refusal   *xmpp.StanzaError // why it is to be sent again
	received  time.Time         // the receipt
	missing   bool              // it failed for want of a receipt

	told bool // a bounce or receipt has come; guarded by delivery.mu
}

func (m *outgoing) id() string { return xmpp.Attr(m.stanza, "id") }

// lines names where in the input it is from.
func (m *outgoing) lines() string {
	if m.first < m.line {
		return fmt.Sprintf("lines %d-%d", m.first, m.line)
	}
	return fmt.Sprintf("line %d", m.line)
}

// receiptFrom reports whether a receipt counts: of any session of the recipient, however
// the server spells that.
func (m *outgoing) receiptFrom(from xmpp.JID) bool { return from.Bare().Alike(m.to.Bare()) }

// A delivery takes messages to the server and says of each what became of it.
//
// A message is pending until it is written, then open until it is settled. It is
// confirmed by the answer to the ping behind it: as a server works a stream off in
// order (RFC 6120, section 10.1), that proves that it has been processed and that the
// own server's bounce of it is here. It is settled by a bounce, by a receipt, or when
// there is nothing more to wait for.
type delivery struct {
	env     *Env
	o       xmpp.Options
	source  <-chan chunk
	bad     badInput
	stream  bool // messages are sent as they come, and --timeout bounds not the whole
	receipt bool // is waited for (XEP-0184)
	timeout time.Duration
	retries int

	link         *link
	ended        bool  // there is no more to come from the source
	inputErr     error // why, if it is not its end
	count        int   // messages that came
	pending      []*outgoing
	lanes        map[xmpp.JID]*lane // of recipients that refuse messages for now
	waiting      int                // messages in the lanes
	waitingBytes int                // in them, about
	resumed      *flight            // was written by the connection before
	settling     []*outgoing        // confirmed and open, the next to be due first
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
	settled      int
	failed       int
	missing      int             // of those that failed: the receipt
	to           xmpp.JID        // of the first message
	several      bool            // there is more than one recipient
	failures     []*outgoing     // all that failed; of a stream the first
	code         int             // of all that failed, or exit.No where they differ
	progress     *stdio.Progress // nil if nobody looks

	account xmpp.JID
	woke    chan struct{} // holds a token when there is news

	mu   sync.Mutex
	own  xmpp.JID               // of the session
	open map[string][]*outgoing // by id; changed by the delivery alone
	news []news
}

// News is what a stanza from others says of a message: a bounce, or a receipt.
type news struct {
	m    *outgoing
	err  *xmpp.StanzaError
	from xmpp.JID
	at   time.Time
}

// run delivers until the source has ended and all is settled.
func (d *delivery) run(ctx context.Context) error {
	d.open, d.woke = make(map[string][]*outgoing), make(chan struct{}, 1)
	d.lanes = make(map[xmpp.JID]*lane)
	d.pace, d.lacking = newPace(windowSize), -1
	if !d.stream {
		d.pace.window = math.MaxInt // all is one flight
	}
	d.account, d.own, d.o.Take = d.o.JID.Bare(), d.o.JID, d.hear
	if d.retries > 0 {
		d.o.Manage, d.o.Resumable = true, resumable
	}
	if d.stream {
		d.o.KeepAlive = keepAlive
	}
	for {
		err := d.attempt(ctx)
		if err != nil && d.again(ctx, err) {
			continue
		}
		d.clearProgress()
		d.bad.finish()
		if err != nil {
			return of(d.account, d.abandon(ctx, err))
		}
		return of(d.account, d.outcome())
	}
}

func (d *delivery) attempt(ctx context.Context) error {
	if !d.stream {
		var cancel context.CancelFunc
		ctx, cancel = d.env.withinTimeout(ctx)
		defer cancel()
		d.env.spent = 0 // that was of the first attempt
	}
	d.env.stdout.Until(ctx)
	o := d.o
	if d.elsewhere != "" {
		o.Server, d.elsewhere = d.elsewhere, ""
	}
	return d.env.attempt(ctx, o, d.deliver)
}

// again waits until it is time to try again, unless that is of no use.
func (d *delivery) again(ctx context.Context, err error) bool {
	d.takeStock()
	code := classify(ctx, err).Code
	if stream, ok := errors.AsType[*xmpp.StreamError](err); ok {
		d.elsewhere = stream.Host
	}
	switch {
	case d.done(), ctx.Err() != nil, d.tries == d.retries, code != exit.Temporary && code != exit.Timeout && !isLimit(err) && d.elsewhere == "":
		return false
	case code == exit.Timeout && d.ended && len(d.pending)+d.waiting+len(d.unconfirmed()) == 0:
		return false // to send again brings no receipt
	}
	if isLimit(err) {
		d.pace.window = max(1, min(d.pace.window, windowSize)/2)
	}
	d.tries++
	wait := d.pace.backoff.next()
	d.env.trace("try %d of %d in %s: %s", d.tries, d.retries, wait.Round(time.Millisecond), err)
	return sleep(ctx, wait) == nil
}

// takeStock handles, after a session has ended, all that came in it.
func (d *delivery) takeStock() {
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
func (d *delivery) deliver(ctx context.Context, s *xmpp.Session) error {
	d.link = newLink(ctx, s)
	defer d.link.end(nil)
	if d.retries > 0 {
		// Where it cannot be resumed, the resource at least stays the same: receipts and
		// late bounces go there.
		d.o.JID.Resource = s.JID().Resource
		defer func() { d.o.Resume = s.Resumption() }()
	}
	d.begin(s)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var tick <-chan time.Time
	if d.progress != nil {
		t := time.NewTicker(stdio.ProgressEvery)
		defer t.Stop()
		tick = t.C
	}
	stop := ctx.Done()
	for d.under > 0 || d.stopping == nil && !d.done() {
		if len(d.link.answers) == 0 {
			d.output(d.env.out.Flush())
		}
		var source <-chan chunk
		if d.wants() {
			source = d.source
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
			d.progress.Show("%d sent, %.0f/s, %d unconfirmed", d.settled-d.failed, d.progress.Rate(d.settled-d.failed), d.messages)
		}
	}
	d.output(d.env.out.Flush())
	if errors.Is(d.stopping, context.DeadlineExceeded) && d.tries < d.retries {
		s.Drop() // the next try is to find the session, and what has arrived in it
	}
	return d.stopping
}

// done reports whether all is settled.
func (d *delivery) done() bool {
	return d.ended && len(d.pending)+d.waiting == 0 && len(d.open) == 0
}

// wants reports whether there is place for more from the source.
func (d *delivery) wants() bool {
	return !d.ended && d.stopping == nil && len(d.pending) == 0 && len(d.settling)+d.waiting < 10*windowSize && d.held+d.waitingBytes < 10*windowBytes
}

// begin takes up what a connection before left open.
func (d *delivery) begin(s *xmpp.Session) {
	d.mu.Lock()
	d.own = s.JID()
	d.mu.Unlock()
	d.under, d.messages, d.bytes = 0, 0, 0
	d.stopping, d.deadline, d.resumed = nil, time.Time{}, nil
	if d.ended {
		d.deadline = d.within(d.timeout)
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
			d.resumed.bytes += m.size
		}
		return
	}
	for _, m := range unconfirmed {
		m.doubtful = true
	}
	d.takeBack(unconfirmed...)
}

// unconfirmed returns the open messages that are not confirmed, in order.
func (d *delivery) unconfirmed() []*outgoing {
	var all []*outgoing
	for _, same := range d.open {
		for _, m := range same {
			if !m.confirmed {
				all = append(all, m)
			}
		}
	}
	slices.SortFunc(all, inOrder)
	return all
}

func inOrder(a, b *outgoing) int { return a.number - b.number }

// within returns when a duration from now is over, 0 being never.
func (d *delivery) within(t time.Duration) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Now().Add(t)
}

// accept takes what the source has.
func (d *delivery) accept(c chunk, ok bool) {
	for _, m := range c.messages {
		if err := d.tooLarge(m); err != nil {
			if d.bad.stop {
				c.err = err // and whatever comes after it
				break
			}
			if c.large != m.line { // once, whoever it was for
				c.large, c.bad = m.line, append(c.bad, err)
			}
			continue
		}
		d.count++
		m.number = d.count
		d.to = cmp.Or(d.to, m.to)
		d.several = d.several || m.to != d.to
		d.enqueue(m)
	}
	if len(c.bad)+c.skipped > 0 {
		d.clearProgress()
		d.bad.report(c)
	}
	if d.inputErr = c.err; !ok || c.err != nil {
		d.ended = true
		d.deadline = d.within(d.timeout)
	}
}

// tooLarge refuses a message of a stream that the server would not take (XEP-0478).
// What is no stream is refused as a whole when it is written.
func (d *delivery) tooLarge(m *outgoing) error {
	most := d.link.s.MaxSize()
	if !d.stream || most == 0 || 6*m.size < most { // no character takes more than six as XML
		return nil
	}
	if b, err := xmpp.XML(m.stanza); err == nil && len(b) > most {
		return exit.Dataf("standard input: %s: %w: it has %d bytes, and the server accepts %d", m.lines(), xmpp.ErrTooLarge, len(b), most)
	}
	return nil
}

// next returns the flight that can be written now, or nil. What is pending has half of
// it at least.
func (d *delivery) next() *flight {
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
			if now.Before(l.until) || l.open+i >= l.window || !d.fits(f, m) || d.stream && len(d.pending) > 0 && len(f.messages) >= flightSize/2 {
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
func (d *delivery) fits(f *flight, m *outgoing) bool {
	n := len(f.messages)
	if d.messages+n >= d.pace.window {
		return false
	}
	full := d.messages+n > 0 && d.bytes+f.bytes+m.size > windowBytes || n == flightSize || n > 0 && f.bytes+m.size > flightBytes
	return !d.stream || !full
}

// launch hands a flight to the link. From now on it may be written, and heard of.
func (d *delivery) launch(f *flight) {
	if f == d.resumed {
		d.resumed = nil
	} else {
		for _, m := range f.messages {
			d.dequeue(m)
		}
		now := time.Now()
		d.mu.Lock()
		for _, m := range f.messages {
			m.sent = now
			d.open[m.id()] = append(d.open[m.id()], m)
		}
		d.mu.Unlock()
	}
	d.under++
	d.messages += len(f.messages)
	d.bytes += f.bytes
	if d.under == 1 && !d.ended {
		d.deadline = d.within(d.timeout)
	}
	d.link.flights <- f
}

// answered is told that a flight has come back.
func (d *delivery) answered(f *flight) {
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
	d.env.trace("confirmed by %s after %v ms", d.link.s.Server(), milliseconds(f.rtt))
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
		limited = limited || m.limited > 0 && d.lanes[m.to.Bare()] == nil // until it is settled
		switch {
		case m.err != nil:
			limited = d.refused(m) || limited
		case d.receipt:
			d.await(m, d.timeout)
		case m.grace > 0:
			d.await(m, m.grace)
		default:
			d.settle(m, nil)
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
			d.deadline = d.within(d.timeout)
		}
	}
}

// takeBack makes open messages wait for being written again.
func (d *delivery) takeBack(messages ...*outgoing) {
	for _, m := range messages {
		d.close(m)
		d.enqueue(m)
	}
}

// await waits for a bounce or receipt of a message that is confirmed. Of one delivery
// all have the same time, or none.
func (d *delivery) await(m *outgoing, t time.Duration) {
	m.due = d.within(t)
	d.settling = append(d.settling, m)
	d.held += m.size
}

// hear is told every stanza before whatever comes behind it, by the session's reader.
// It keeps what it needs of bounces and receipts, and lets all go.
func (d *delivery) hear(e *xmpp.Element) bool {
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
		case bounce && xmpp.Answers(from, m.to, d.own, m.secret):
			n.err = keptError(e)
		case bounce, !d.receipt, !m.receiptFrom(from):
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

// maxReason is how much is kept of what a bounce says, in bytes: all that failed may be
// wanted at the end.
const maxReason = 4 << 10

// keptError is the error in a stanza, fit to be kept when the stanza is gone.
func keptError(e *xmpp.Element) *xmpp.StanzaError {
	err := xmpp.ErrorOf(e)
	for _, s := range []*string{&err.Text, &err.By, &err.Address} {
		*s = strings.Clone(xmpp.Clip(*s, maxReason))
	}
	return err
}

// heard handles the news. A bounce of what is not confirmed yet waits for that.
func (d *delivery) heard() {
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
			d.settle(n.m, nil)
		case n.m.confirmed:
			d.refused(n.m)
		}
	}
}

// idle returns how long there is nothing to do, if nothing happens.
func (d *delivery) idle() time.Duration {
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
func (d *delivery) expire(now time.Time) {
	d.heard() // nothing is settled over news of it
	past := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	for len(d.settling) > 0 && past(d.settling[0].due) {
		if d.receipt {
			d.settle(d.settling[0], leftover{record: d.noReceipt()}.why(d.settling[0], errTimeout(d.timeout)))
		} else {
			d.settle(d.settling[0], nil)
		}
	}
	if past(d.deadline) && d.link.ctx.Err() == nil {
		d.stop(errTimeout(d.timeout))
		d.link.end(d.stopping)
	}
}

// interrupted ends it: at once where the time is over, and else when what has been
// written is confirmed, or was given the time for that.
func (d *delivery) interrupted(cause error) {
	d.stop(cause)
	if errors.Is(cause, context.DeadlineExceeded) {
		d.link.end(cause)
		return
	}
	time.AfterFunc(lastWait, func() { d.link.end(cause) })
}

func (d *delivery) stop(err error) {
	if d.stopping == nil {
		d.stopping = err
	}
}

// output stops where results cannot be written.
func (d *delivery) output(err error) {
	if err != nil {
		d.stop(err)
		d.link.end(err)
	}
}

func (d *delivery) isOpen(m *outgoing) bool { return slices.Contains(d.open[m.id()], m) }

// close takes a message out of the open ones.
func (d *delivery) close(m *outgoing) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := m.id()
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
		d.held -= m.size
	}
}

// settle says what became of a message: err, or nil for success.
func (d *delivery) settle(m *outgoing, err *xmpp.StanzaError) {
	d.close(m)
	d.settled++
	if err == nil && m.limited > 0 {
		d.pace.recover()
	}
	if m.err == nil || !isTemporary(m.err) {
		d.served(m)
	}
	if err != nil {
		d.failed++
		if m.missing = m.err == nil; m.missing {
			d.missing++
		}
		m.err = err
		e := d.failure(m)
		if !d.stream || d.failures == nil {
			d.failures = append(d.failures, m)
		}
		if d.stream {
			d.say(e.Error())
		}
		if d.code = cmp.Or(d.code, e.Code); d.code != e.Code {
			d.code = exit.No
		}
	}
	d.print(m, err)
}

// print prints the result of a message.
func (d *delivery) print(m *outgoing, err *xmpp.StanzaError) {
	r := sentRecord{Kind: "sent", Time: output.Time(time.Now()), To: m.to.String(), Type: xmpp.Attr(m.stanza, "type"), ID: m.id(), OK: err == nil, Ack: "none"}
	switch {
	case !m.received.IsZero():
		r.Ack, r.AckMS = "receipt", new(milliseconds(m.received.Sub(m.sent)))
	case m.confirmed:
		r.Ack, r.AckMS = "server", new(milliseconds(m.rtt))
	}
	if err != nil {
		r.Error = newStanzaError(err)
	}
	d.output(d.env.out.Print(r))
}

func (d *delivery) clearProgress() {
	if d.progress != nil {
		d.progress.Clear()
	}
}

// say prints a failure at once, unless the results say it.
func (d *delivery) say(text string) {
	d.clearProgress()
	if !d.env.flags.json {
		d.env.printError(errorRecord{lines: []string{fmt.Sprintf("%s: %s", d.account, text)}})
	}
}

// outcome is the answer of the command once all is settled.
func (d *delivery) outcome() error {
	switch {
	case d.inputErr != nil:
		return d.inputErr
	case d.failed == 0:
		return d.bad.outcome()
	}
	slices.SortFunc(d.failures, inOrder)
	first := d.failure(d.failures[0])
	lines := []string{fmt.Sprintf("%d of %d messages failed", d.failed, d.settled)}
	if !d.stream { // else each has been reported
		lines = nil
		for _, m := range d.failures {
			lines = append(lines, d.failure(m).Error())
		}
		if d.failed > 1 && d.failed == d.settled {
			lines = append(lines, fmt.Sprintf("%d of %d messages failed", d.failed, d.settled))
		}
	}
	for i := range lines {
		lines[i] = fmt.Sprintf("%s: %s", d.account, lines[i])
	}
	sum := &exit.Error{Code: d.code, Class: first.Class, Hint: first.Hint, Lines: lines}
	bad, wrong := errors.AsType[*exit.Error](d.bad.outcome())
	switch {
	case d.settled == 1 && !d.stream:
		return first
	case d.missing > 0: // the time was over, whatever became of the others
		sum.Code, sum.Class, sum.Hint = exit.Timeout, "timeout", "raise --timeout"
		sum.Err = fmt.Errorf("no receipt for %d of %d messages", d.missing, d.settled)
	case wrong:
		bad.Lines = append(lines, fmt.Sprintf("%s: %s", d.account, bad.Err))
		return bad
	case d.failed < d.settled, d.code == exit.No:
		return exit.Negative(lines...)
	default:
		sum.Err = fmt.Errorf("%d of %d messages failed, the first: %w", d.failed, d.settled, first.Err)
	}
	return sum
}

// failure is the error of a message that failed.
func (d *delivery) failure(m *outgoing) *exit.Error {
	var e *exit.Error
	if m.missing {
		e = &exit.Error{Code: exit.Timeout, Class: "timeout", Err: fmt.Errorf("message %s to %s: %w", m.id(), m.to, m.err), Hint: "raise --timeout"}
	} else {
		e = bounceError(d.account, m)
	}
	if m.line > 0 {
		e.Err = fmt.Errorf("%s: %w", m.lines(), e.Err)
	}
	return e
}

// signalled reports whether a signal has ended ctx, and not the time.
func signalled(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}

// abandon says of each message that is left how far it came, and returns the error.
func (d *delivery) abandon(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		cause = context.Cause(ctx) // a signal, be it while waiting for the next try
	}
	_, unwritten := errors.AsType[*output.WriteError](cause)
	if unwritten || !d.stream && errors.Is(cause, xmpp.ErrTooLarge) {
		return cause // nobody reads, or nothing was sent
	}
	d.retries = 0
	d.takeStock()
	d.dissolve()
	if err := d.env.out.Flush(); err != nil {
		return err
	}
	if d.done() && !signalled(ctx) {
		return d.outcome() // it does not matter any more how the session ended
	}
	left := d.leftovers()
	for _, l := range left {
		for _, m := range l.messages {
			d.print(m, l.why(m, cause))
		}
	}
	if err := d.env.out.Flush(); err != nil {
		return err
	}
	return d.broken(ctx, cause, left)
}
