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
	// manyUncommitted is how many stanzas may be handled before the server is told of any:
	// it does not keep any number of them.
	manyUncommitted = 100

	// settled is how long nothing comes after what the server had stored, and settledAll
	// after the presences of others. Where somebody always comes or goes it is never quiet:
	// settleTries ends that.
	settled     = time.Second
	settledAll  = 2 * time.Second
	settleTries = 4

	// farewell bounds how long the last words of a session may take.
	farewell = 500 * time.Millisecond
)

// A connection is one session of a run.
type connection struct {
	*Receiver
	s       *xmpp.Session
	ctx     context.Context // of the run
	waiting context.Context // ends when the wait is over; it does not end what is being handled
	first   bool            // of the run

	pending     []string // ids of what was handled, and may not be final yet
	uncommitted int      // stanzas that were taken since that was
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

// soon bounds what the server is waited for.
func (c *connection) soon() (context.Context, context.CancelFunc) {
	return xmpp.WithTimeout(c.waiting, c.o.Wait)
}

// locate asks where the archive ends. Nothing is delivered to a session that is not
// available, so nothing is acknowledged before the answer is in the file.
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
		return &ArchiveError{err}
	case after == "":
		return c.at.settle("", startEmpty)
	case len(after) > longID:
		return c.at.settle("", startNone)
	}
	return c.at.settle(after, "")
}

// listen hands on what arrives until ctx ends, it is enough, or the time or the session is
// over. The time is that of waiting: it does not end what handles a stanza.
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

// works notes that the session does what it is for.
func (c *connection) works() {
	c.listening = true
	c.redial.Works()
}

var errSettled = errors.New("nothing more comes")

// settle takes what comes by itself at the beginning, until nothing has for a while, or for
// most of such whiles, and then does what is to follow. It reports whether the listening goes on.
//
// A listener that is new reads then what came to the archive since it asked for its end: a
// message that comes in the moment in which it becomes available can stay in the store
// (ejabberd 23.01). Not before: of a client that reads the archive Prosody 0.12 does not keep
// what was stored and is not acknowledged.
func (c *connection) settle(quiet time.Duration, most int, then func() error) (goesOn bool, err error) {
	until, stop := context.WithCancelCause(c.waiting)
	defer stop(nil)
	var heard atomic.Bool
	go func() {
		// Not a timer that each stanza sets anew: of those there are many.
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

// takeAll hands on what arrives until that ends.
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

// isTimeToCommit reports whether what was handled is to be made final now. What is ready
// together is so together; nothing that is ready waits for what is not.
func (c *connection) isTimeToCommit() bool {
	return c.o.Flush == nil || c.s.Queued() == 0 || c.uncommitted >= manyUncommitted
}

// errEnough says that a Verdict has ended the run.
var errEnough = errors.New("all that was wanted has arrived")

// end is what listening in a session ends with. What was handled has been made final, unless
// that is what failed; it is acknowledged if that is all that the session has yielded.
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

// commit makes what was handled final: it is written, then noted, and then the server is told
// (XEP-0198), so that one of them has it at any time.
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

// confirm sends what is to follow what was handled, now that this is final. Where it cannot
// be sent the next session does so.
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

// note keeps the position after what was handled.
func (c *connection) note() error {
	c.at.pass(c.pending)
	c.pending = c.pending[:0]
	return c.at.save(c.s.Resumption())
}

// begin becomes available and hands on what has been missed. A session that goes on where
// another stopped has missed nothing, unless that one was still catching up.
func (c *connection) begin() error {
	missed := c.at.begin(c.s.Resumed()) // before anything is sent that can make the session resumable
	soon, cancel := c.soon()
	defer cancel()
	if c.o.Carbons && (c.first || !c.s.Resumed()) { // the one that is resumed may be another listener's
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
	return c.commit() // by now it is known how to resume the session
}

// enter asks what the account has and becomes available. Not before: what was stored would
// come in front of the answer, and be more than can wait for it.
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
	// infoTries is how often a session asks what the account has.
	infoTries = 5
	// infoWait is how long it waits for an answer before it asks again.
	infoWait = 10 * time.Second
)

// hasArchive asks what the account has, ids that can be trusted (XEP-0359) and an archive
// with those ids. A server that refuses to say so for now, or is silent, has not said that
// there is none: it is asked again.
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
		if cause := context.Cause(c.waiting); cause != nil { // there was an answer, which says more
			err = fmt.Errorf("%v: %w", err, cause)
		}
		return false, err
	}
}

// isAnswerOrSilence reports whether the session that a question failed in still works.
func isAnswerOrSilence(err error) bool {
	if _, ok := errors.AsType[*xmpp.StreamError](err); ok {
		return false
	}
	_, refused := errors.AsType[*xmpp.StanzaError](err)
	_, over := errors.AsType[*xmpp.LimitError](err)
	return refused || over || errors.Is(err, context.DeadlineExceeded)
}

// accountInfo returns none where the server says that it will not tell.
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
