package receive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

const (
	// manyUncommitted is how many handled stanzas may stay unacked: the server does not
	// keep an unlimited number.
	manyUncommitted = 100

	// settled is the quiet period after the stored messages, and settledAll the one after
	// the presences of others. If presences change all the time, settleTries ends the wait.
	settled     = time.Second
	settledAll  = 2 * time.Second
	settleTries = 4

	// farewell limits the time for the last writes of a session.
	farewell = 500 * time.Millisecond
)

// A connection is one session of a run.
type connection struct {
	*Receiver
	s       *xmpp.Session
	ctx     context.Context // of the run
	waiting context.Context // ends when the wait is over; it does not end what is being handled
	first   bool            // of the run

	pending     []string // ids of handled messages that are not final yet
	uncommitted int      // stanzas handled since then
}

func (r *Receiver) connection(ctx, waiting context.Context, s *xmpp.Session) *connection {
	c := &connection{Receiver: r, s: s, ctx: ctx, waiting: waiting, first: !r.connected}
	if c.first {
		r.connected = true
		c.tell(Event{Kind: Open})
	}
	return c
}

func (c *connection) tell(e Event) {
	e.Account = c.s.JID().Bare()
	c.o.Tell(e)
}

// soon limits a wait for the server.
func (c *connection) soon() (context.Context, context.CancelFunc) {
	return xmpp.WithTimeout(c.waiting, c.o.Wait)
}

// locate finds the end of the archive. The session is not available yet and gets no
// messages, so nothing is acknowledged before the answer is in the file.
func (c *connection) locate() error {
	soon, cancel := c.soon()
	defer cancel()
	has, err := c.hasArchive(soon)
	if err != nil {
		return err
	}
	if !has {
		return c.at.settle("", startNone)
	}
	after, err := c.endID(soon)
	switch {
	case err != nil:
		return &xep.ArchiveError{Err: err}
	case after == "":
		return c.at.settle("", startEmpty)
	case len(after) > longID:
		return c.at.settle("", startNone)
	}
	return c.at.settle(after, "")
}

// listen passes on what arrives until ctx ends, a Verdict ends the run, waiting ends or
// the session ends. The end of waiting does not interrupt the handling of a stanza.
func (c *connection) listen() error {
	if err := c.begin(); err != nil {
		return c.end(err, false)
	}
	c.works()
	c.tell(Event{Kind: Listening})
	c.trace("listening")
	goesOn, err := true, error(nil)
	switch {
	case c.at.isFresh():
		goesOn, err = c.settle(settled, math.MaxInt, c.catchUp)
	case c.o.Settled != nil && !c.s.Resumed():
		goesOn, err = c.settle(settledAll, settleTries, c.tellSettled)
	}
	if !goesOn {
		return err
	}
	return c.takeAll(c.waiting, func() {})
}

func (c *connection) tellSettled() error {
	v, err := c.o.Settled()
	if err == nil && v.Enough {
		err = errEnough
	}
	return err
}

// works notes that the session works.
func (c *connection) works() {
	c.listening = true
	c.redial.Works()
}

var errSettled = errors.New("nothing more comes")

// settle handles what the server sends at the beginning of a session, until nothing comes
// for a quiet period, or after that many periods in any case. Then it calls then. It
// reports whether listening continues.
//
// A new listener then reads the archive from the end that it found: a message that arrives at
// the moment when the session becomes available can stay in the offline store (ejabberd
// 23.01). It must not read the archive earlier: Prosody 0.12 then no longer keeps unacked
// stored messages for it.
func (c *connection) settle(quiet time.Duration, most int, then func() error) (goesOn bool, err error) {
	until, stop := context.WithCancelCause(c.waiting)
	defer stop(nil)
	var heard atomic.Bool
	go func() {
		// A timer that each stanza resets would cost too much.
		for range most {
			if xmpp.Sleep(until, quiet) != nil || !heard.Swap(false) {
				break
			}
		}
		stop(errSettled)
	}()
	err = c.takeAll(until, func() { heard.Store(true) })
	if err != errSettled {
		return false, err
	}
	if err := c.commit(); err != nil {
		return false, c.end(err, true)
	}
	if err := then(); err != nil {
		return false, c.end(err, false)
	}
	return true, nil
}

// takeAll passes on what arrives until the end.
func (c *connection) takeAll(until context.Context, each func()) error {
	for e, err := range c.s.Stanzas(until) {
		if e != nil {
			each()
			if err = c.take(received{e, err}); err != nil && err != errEnough {
				return c.end(err, false)
			}
		}
		if err == nil && c.isTimeToCommit() {
			err = c.commit()
		}
		if err != nil {
			return c.end(err, true)
		}
	}
	return nil
}

// isTimeToCommit reports whether to commit now. Stanzas that are ready together are
// committed together; none waits for one that is not ready.
func (c *connection) isTimeToCommit() bool {
	return c.o.Flush == nil || c.s.Queued() == 0 || c.uncommitted >= manyUncommitted
}

// errEnough is the cause when a Verdict has ended the run.
var errEnough = errors.New("all that was wanted has arrived")

// end finishes listening in a session. Handled stanzas have been committed, unless that
// failed. They are acknowledged if they are all that the session has yielded.
func (c *connection) end(err error, all bool) error {
	if flushed := c.flush(all); flushed != nil {
		return flushed
	}
	leaving, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if e := c.confirm(leaving); e != nil {
		c.trace("%d receipts were not sent: %v", len(c.after), e)
	}
	if err == errEnough {
		return nil
	}
	return err
}

// commit makes handled stanzas final. It flushes the results, then saves the position, then
// acknowledges to the server (XEP-0198), so that a message always exists in at least one
// place.
func (c *connection) commit() error {
	if err := c.flush(true); err != nil {
		return err
	}
	if err := c.confirm(c.ctx); err != nil {
		return err
	}
	return c.s.Acknowledge(c.ctx)
}

func (c *connection) flush(all bool) error {
	if c.o.Flush != nil {
		if err := c.o.Flush(); err != nil {
			return err
		}
	}
	c.uncommitted = 0
	if all {
		c.s.Handled()
	}
	return c.note()
}

// confirm sends the receipts of handled messages, now that these are final. If it fails,
// the next session sends them.
func (c *connection) confirm(ctx context.Context) error {
	if len(c.after) == 0 {
		return nil
	}
	if err := c.s.Send(ctx, c.after...); err != nil {
		return err
	}
	c.after = nil
	return nil
}

// note saves the position after the handled messages.
func (c *connection) note() error {
	c.at.pass(c.pending)
	c.pending = c.pending[:0]
	return c.at.save(c.s.Resumption())
}

// begin becomes available and passes on what was missed. A resumed session has missed
// nothing, unless the previous one was still catching up.
func (c *connection) begin() error {
	missed := c.at.begin(c.s.Resumed()) // before anything is sent that can make the session resumable
	soon, cancel := c.soon()
	defer cancel()
	if c.o.Carbons && (c.first || !c.s.Resumed()) { // the resumed session may be another listener's
		if _, err := c.s.IQ(soon, xep.EnableCarbons()); err != nil {
			return fmt.Errorf("enable carbons: %w", err)
		}
	}
	if c.s.Resumed() && !missed {
		if c.first && c.o.Presence != nil { // it may have been another priority
			if err := c.s.Send(c.ctx, c.o.Presence); err != nil {
				return err
			}
		}
		return c.commit()
	}
	hasArchive, err := c.enter(soon)
	if err != nil {
		return err
	}
	switch {
	case missed && hasArchive && c.o.Messages:
		return c.catchUp()
	case missed && c.o.Messages:
		c.tell(Event{Kind: Missed})
	}
	if !hasArchive || !c.at.isFresh() {
		c.at.caughtUp()
	}
	return c.commit() // from here on the session can be resumed
}

// enter queries the features of the account and then becomes available. The order matters:
// otherwise the stored messages would arrive before the answer, and may be more than the
// queue can hold.
func (c *connection) enter(ctx context.Context) (hasArchive bool, err error) {
	if hasArchive, err = c.hasArchive(ctx); err == nil {
		err = c.fence.raise(ctx, c.s)
	}
	if err == nil && c.o.Presence != nil {
		// Prosody 0.12 delivers no stored messages to who has asked for the archive before.
		err = c.s.Send(ctx, c.o.Presence)
	}
	if err == nil {
		c.fence.cross(c.waiting, c.s)
	}
	return hasArchive, err
}

const (
	// infoTries is how often a session queries the features of the account.
	infoTries = 5
	// infoWait is how long it waits for an answer before it tries again.
	infoWait = 10 * time.Second
)

// hasArchive queries whether the account has trusted ids (XEP-0359), and an archive with
// those ids. If the server refuses temporarily or is silent, the answer is unknown, and
// hasArchive asks again.
func (c *connection) hasArchive(ctx context.Context) (bool, error) {
	if !c.o.Messages {
		return false, nil // nothing is missed
	}
	wait := xmpp.Backoff{Start: time.Second, Max: 10 * time.Second}
	for {
		account, err := c.accountInfo(ctx)
		if err == nil {
			c.at.trust(account.Has(xep.NSStanzaID))
			return account.Has(xep.NSStanzaID) && account.Has(xep.NSArchive), nil
		}
		if ctx.Err() != nil || !isAnswerOrSilence(err) || wait.Tries() == infoTries {
			return false, err
		}
		c.redial.Hindered(fmt.Errorf("%s: %w", c.s.JID().Bare(), err))
		if xmpp.Sleep(ctx, wait.Next()) == nil {
			continue
		}
		if cause := context.Cause(c.waiting); cause != nil { // an earlier answer is more specific
			err = fmt.Errorf("%v: %w", err, cause)
		}
		return false, err
	}
}

// isAnswerOrSilence reports whether the session still works after a failed request.
func isAnswerOrSilence(err error) bool {
	if _, ok := errors.AsType[*xmpp.StreamError](err); ok {
		return false
	}
	_, refused := errors.AsType[*xmpp.StanzaError](err)
	_, over := errors.AsType[*xmpp.LimitError](err)
	return refused || over || errors.Is(err, context.DeadlineExceeded)
}

// accountInfo returns no features if the server refuses for good.
func (c *connection) accountInfo(ctx context.Context) (xep.DiscoInfo, error) {
	ctx, cancel := xmpp.WithTimeout(ctx, infoWait)
	defer cancel()
	answer, err := c.s.IQ(ctx, xmpp.NewIQ("get", c.s.JID().Bare(), xmpp.NewElement(xep.NSDiscoInfo, "query")))
	refused, ok := errors.AsType[*xmpp.StanzaError](err)
	if ok && !c.o.Temporary(refused) {
		return xep.DiscoInfo{}, nil
	}
	query := xmpp.Child(answer, xep.NSDiscoInfo, "query")
	if err == nil && query == nil {
		err = &xmpp.StanzaError{Condition: xmpp.UndefinedCondition, Type: "wait", Text: "the answer is empty"}
	}
	if err != nil {
		return xep.DiscoInfo{}, fmt.Errorf("query the features of the account: %w", err)
	}
	return xep.DiscoInfoOf(query), nil
}
