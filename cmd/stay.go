package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

const (
	// resumableFor is how long the session of a durable listener is to be kept for it.
	resumableFor = 10 * time.Minute

	// manyUncommitted is how many stanzas may be handed on before the server is told of
	// any: it does not keep any number of them.
	manyUncommitted = 100

	// maxMalformed is how often in a row a server may write what is not XML, without a
	// stanza in between.
	maxMalformed = 3
)

// stay listens in one session after another: what ends one for now does not end the
// listening.
func (l *listener) stay(ctx context.Context, o xmpp.Options) error {
	o.Acknowledging = func(r *xmpp.Resumption) {
		if err := l.at.save(r); err != nil {
			l.env.trace("%v", err) // the next result says so
		}
	}
	wait := xmpp.Backoff{Start: time.Second, Max: time.Minute}
	for {
		started, printed := time.Now(), l.printed
		located, err := l.attend(ctx, o)
		if located {
			continue
		}
		if time.Since(started) > time.Minute {
			l.malformed = 0 // these are not in a row
		}
		if !l.comesBack(err) {
			return l.leave(err)
		}
		l.env.flags.login = cmp.Or(l.env.flags.login, loginTimeout) // a server that is silent now may not be the next time
		if l.printed > printed || time.Since(started) > time.Minute {
			wait.Reset()
			l.trouble = trouble{}
		}
		d := wait.Next()
		l.env.trace("%v; trying again in %s", err, d.Round(time.Millisecond))
		if err := l.pause(err, d); err != nil {
			return l.leave(err)
		}
	}
}

// attend listens in one session. A durable listener that is new asks in one before where
// the archive ends, and reports that it did: in the one that it listens in, Prosody 0.12
// would take that for a client that reads the archive, and deliver no stored messages.
func (l *listener) attend(ctx context.Context, o xmpp.Options) (located bool, err error) {
	if l.elsewhere != "" {
		o.Server, l.elsewhere = l.elsewhere, ""
	}
	if l.messages && l.at.isNew() {
		o.JID, o.Manage, o.Resumable = o.JID.Bare(), false, 0
		err = l.env.session(l.waiting, o, func(_ context.Context, s *xmpp.Session) error { return l.locate(s) })
		return err == nil, err
	}
	open := false
	o.Resume = l.at.Session
	err = l.env.session(l.waiting, o, func(_ context.Context, s *xmpp.Session) error {
		open = true
		return l.listen(ctx, s)
	})
	if open && !errors.Is(err, xmpp.ErrLost) || errors.Is(err, xmpp.ErrUseless) {
		l.at.Session = nil // its stream was closed, or is broken
	}
	return false, err
}

// locate asks where the archive ends. Nothing is delivered to a session that is not
// available, so nothing is acknowledged before the answer is in the file.
func (l *listener) locate(s *xmpp.Session) error {
	l.startClocks()
	l.connected = true
	soon, cancel := l.env.withinWait(l.waiting)
	defer cancel()
	has, err := l.hasArchive(soon, s)
	if err != nil {
		return err
	}
	if !has {
		return l.at.settle("", startNone)
	}
	after, err := l.endID(soon, s)
	if err != nil {
		return archiveError(err)
	}
	switch {
	case after == "":
		return l.at.settle("", startEmpty)
	case len(after) > longID:
		return l.at.settle("", startNone)
	default:
		return l.at.settle(after, "")
	}
}

// A trouble is what keeps a listener away.
type trouble struct {
	err   error     // nil while it listens
	since time.Time // also while it listens, but has not done so for long
	told  bool
}

// reportAfter is how long a trouble may last before it is reported.
const reportAfter = time.Minute

// pause waits before the next try. A trouble that lasts is reported, once.
func (l *listener) pause(err error, d time.Duration) error {
	l.listening = false
	t := &l.trouble
	if t.err = err; t.since.IsZero() {
		t.since = time.Now()
	}
	if left := max(0, time.Until(t.since.Add(reportAfter))); !t.told && left < d {
		if err := xmpp.Sleep(l.waiting, left); err != nil {
			return err
		}
		t.told = true
		l.env.warn("%v; trying again", err)
		d -= left
	}
	return xmpp.Sleep(l.waiting, d)
}

// works notes that a session does what it is for.
func (l *listener) works(s *xmpp.Session) {
	l.listening = true
	if l.trouble.err = nil; l.trouble.told {
		l.trouble = trouble{}
		l.env.warn("%s: reconnected", s.JID().Bare())
	}
}

// keptAway is the error of a listener whose time is over while it does not listen: what
// keeps it away, or that the server has not yet answered what comes first.
func (l *listener) keptAway(err error) error {
	if l.trouble.err != nil {
		return l.trouble.err
	}
	return notReady(err)
}

func notReady(err error) error {
	return &exit.Error{Code: exit.Temporary, Class: "timeout", Err: err, Hint: "the server does not answer: try again"}
}

// leave keeps the place of a durable listener for the next one.
func (l *listener) leave(err error) error {
	if e := l.at.save(l.at.Session); err == nil {
		err = e
	}
	return err
}

// comesBack reports whether another session may do better than the one that ended by
// err. A first login that fails is an answer.
func (l *listener) comesBack(err error) bool {
	if err == nil || l.noReconnect || !l.connected || l.waiting.Err() != nil {
		return false
	}
	if stream, ok := errors.AsType[*xmpp.StreamError](err); ok {
		switch {
		case stream.Host != "":
			l.elsewhere = stream.Host
			return true
		case stream.Condition == xmpp.PolicyViolation && strings.Contains(stream.Text, "unacked"):
			// Ejabberd 23.01 sends no more than 5,000 stanzas ahead, though it may have
			// sent them in half a second. What they are is in the archive.
			return true
		case stream.Sent:
			l.malformed++
			return l.malformed < maxMalformed
		}
	}
	switch e := classify(l.waiting, err); e.Class {
	case "dns":
		return true // the server was there before
	case "connect", "stream", "timeout", "auth", "stanza", "tls":
		return e.Code == exit.Temporary || e.Code == exit.Timeout
	}
	return false
}

// listen hands on what arrives until ctx ends, the count is reached, the time or the
// session is over. The time is that of waiting: it does not end a command that runs.
func (l *listener) listen(ctx context.Context, s *xmpp.Session) error {
	l.startClocks()
	first := !l.connected
	l.connected, l.pending = true, nil
	if err := l.begin(ctx, s, first); err != nil {
		return l.end(s, err, false)
	}
	if l.idleTimer != nil {
		l.idleTimer.Reset(time.Duration(l.idle)) // it is not over what was just asked for
	}
	l.works(s)
	l.env.trace("listening")
	if l.at.isFresh() {
		if goesOn, err := l.settle(ctx, s); !goesOn {
			return err
		}
	}
	return l.takeAll(ctx, l.waiting, s, func() {})
}

// settled is how long nothing comes after what the server had stored.
const settled = time.Second

var errSettled = errors.New("nothing more is stored")

// settle takes what was stored for a listener that is new, and then reads what came to the
// archive since it asked for its end: a message that comes in the moment in which it
// becomes available can stay in the store (ejabberd 23.01). Not before: of a client that
// reads the archive Prosody 0.12 does not keep what was stored and is not acknowledged. It
// reports whether the listening goes on.
func (l *listener) settle(ctx context.Context, s *xmpp.Session) (goesOn bool, err error) {
	until, stop := context.WithCancelCause(l.waiting)
	defer stop(nil)
	var heard atomic.Bool
	go func() {
		// Not a timer that each stanza sets anew: of those there are many.
		for xmpp.Sleep(until, settled) == nil && heard.Swap(false) {
		}
		stop(errSettled)
	}()
	err = l.takeAll(ctx, until, s, func() { heard.Store(true) })
	if err != errSettled {
		return false, err
	}
	if err := l.commit(ctx, s); err != nil {
		return false, l.end(s, err, true)
	}
	if err := l.catchUp(ctx, s); err != nil {
		return false, l.end(s, err, false)
	}
	return true, nil
}

// takeAll hands on what arrives until that ends.
func (l *listener) takeAll(ctx, until context.Context, s *xmpp.Session, each func()) error {
	for e, err := range s.Stanzas(until) {
		if e != nil {
			each()
			if err = l.take(ctx, s, received{e, err}); err != nil && err != errEnough {
				return l.end(s, err, false)
			}
		}
		if err == nil && (l.handler.path != "" || s.Queued() == 0 || l.uncommitted >= manyUncommitted) {
			// What is ready together is written together; nothing that is ready waits
			// for what is not.
			err = l.commit(ctx, s)
		}
		if err != nil {
			return l.end(s, err, true)
		}
	}
	return nil
}

// errEnough says that --count is reached.
var errEnough = errors.New("all that was asked for has arrived")

// end is what listening in a session ends with. What was handed on has been handed on,
// unless that is what failed; it is acknowledged if that is all that the session has
// yielded.
func (l *listener) end(s *xmpp.Session, err error, all bool) error {
	if flushed := l.flush(s, all); flushed != nil {
		return flushed
	}
	leaving, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if e := l.confirm(leaving, s); e != nil {
		l.env.trace("%d receipts were not sent: %v", len(l.owed), e)
	}
	if err == errEnough {
		return nil
	}
	return err
}

// commit makes what was handed on final: it is written, then noted, and then the server
// is told (XEP-0198), so that one of them has it at any time.
func (l *listener) commit(ctx context.Context, s *xmpp.Session) error {
	if err := l.flush(s, true); err != nil {
		return err
	}
	if err := l.confirm(ctx, s); err != nil {
		return err
	}
	return s.Acknowledge(ctx)
}

func (l *listener) flush(s *xmpp.Session, all bool) error {
	if err := l.env.out.Flush(); err != nil {
		return err
	}
	l.uncommitted = 0
	if all {
		s.Handled()
	}
	return l.note(s)
}

// confirm sends the receipts for what was handed on, now that this is final. Where they
// cannot be sent the next session does so.
func (l *listener) confirm(ctx context.Context, s *xmpp.Session) error {
	if len(l.owed) == 0 {
		return nil
	}
	if err := s.Send(ctx, l.owed...); err != nil {
		return err
	}
	l.owed = nil
	return nil
}

// note keeps the position behind what was handed on.
func (l *listener) note(s *xmpp.Session) error {
	l.at.pass(l.pending)
	l.pending = l.pending[:0]
	return l.at.save(s.Resumption())
}

// A received stanza is one that is not whole where it is over a limit.
type received struct {
	stanza *xmpp.Element
	over   error
}

// take hands on a stanza that has arrived by itself.
func (l *listener) take(ctx context.Context, s *xmpp.Session, r received) error {
	l.uncommitted++
	if r.stanza.Tag == "message" { // presences come with each login
		l.malformed = 0
	}
	a, ok := l.unpack(s.JID(), r.stanza)
	switch {
	case !ok:
		l.pass(a.id)
		return nil
	case r.over != nil:
		l.skip(s.JID(), a, r.over)
		return nil
	}
	return l.handOn(ctx, s, a)
}

// skip reports a stanza that is over a limit, and passes its place in the archive: nothing
// that comes after it waits for it.
func (l *listener) skip(own xmpp.JID, a arrival, over error) {
	if l.at.has(a.id) {
		return
	}
	l.pass(a.id)
	from, _ := xmpp.Sender(a.stanza, own)
	if (l.kinds[a.stanza.Tag] || a.stanza.Tag == "message" && l.messages) && l.wanted(from) {
		l.env.warnSkipped(own, a.stanza, over)
	}
}

// pass notes that there is nothing more to do for the message of an id, "" for none.
func (l *listener) pass(id string) {
	if id != "" && !l.at.has(id) {
		l.at.mark(id)
		l.pending = append(l.pending, id)
	}
}

// handOn prints the result of a stanza, or runs the command for it, unless that was done
// before.
func (l *listener) handOn(ctx context.Context, s *xmpp.Session, a arrival) error {
	if l.at.has(a.id) {
		return nil
	}
	var r output.Record
	if !l.fence.leavesOut(s.JID(), a.stanza) {
		r = l.record(s.JID(), a)
	}
	var err error
	if r != nil {
		var matched bool
		if matched, err = l.matched(r); matched {
			err = l.emit(ctx, s, r)
		}
	}
	if err != nil && err != errEnough {
		return err
	}
	l.pass(a.id)
	if l.handler.path != "" {
		if err := l.note(s); err != nil {
			return err
		}
	}
	return err
}

func (l *listener) emit(ctx context.Context, s *xmpp.Session, r output.Record) error {
	skipped := false
	if l.handler.path == "" {
		if err := l.env.out.Print(r); err != nil {
			return err
		}
	} else {
		if err := context.Cause(l.waiting); err != nil {
			return err
		}
		if l.idleTimer != nil {
			l.idleTimer.Stop() // a command that runs is not idle
		}
		err := l.handler.handle(ctx, l.waiting, s, r)
		if skipped = err == errSkipped; err != nil && !skipped {
			return err
		}
	}
	if m, ok := r.(*messageRecord); ok && l.receipts && !skipped && m.wantsReceipt() {
		l.owed = append(l.owed, newReceipt(m))
	}
	if l.printed++; l.printed == l.count {
		return errEnough
	}
	if l.idleTimer != nil {
		l.idleTimer.Reset(time.Duration(l.idle))
	}
	return nil
}

// startClocks begins the time of --for and --idle, once.
func (l *listener) startClocks() {
	if l.connected {
		return
	}
	if l.total > 0 {
		time.AfterFunc(time.Duration(l.total), func() { l.stop(errElapsed) })
	}
	if l.idle > 0 {
		l.idleTimer = time.AfterFunc(time.Duration(l.idle+cmp.Or(l.env.flags.login, loginTimeout)), func() { l.stop(errElapsed) })
	}
}

// begin becomes available and hands on what has been missed. A session that goes on
// where another stopped has missed nothing, unless that one was still catching up.
func (l *listener) begin(ctx context.Context, s *xmpp.Session, first bool) error {
	missed := l.at.begin(s.Resumed()) // before anything is sent that can make the session resumable
	soon, cancel := l.env.withinWait(l.waiting)
	defer cancel()
	if l.carbons && (first || !s.Resumed()) { // the one that is resumed may be another listener's
		if _, err := s.IQ(soon, xep.EnableCarbons()); err != nil {
			return fmt.Errorf("--carbons: %w", err)
		}
	}
	if s.Resumed() && !missed {
		if first && !l.noPresence { // it may have been another priority
			if err := s.Send(ctx, newPresence("", "", l.priority)); err != nil {
				return err
			}
		}
		return l.commit(ctx, s)
	}
	hasArchive, err := l.enter(soon, s)
	if err != nil {
		return err
	}
	switch {
	case missed && hasArchive && l.messages:
		return l.catchUp(ctx, s)
	case missed && l.messages:
		l.env.warn("%s: reconnected, and there is no archive: messages that arrived meanwhile and were not stored are lost", s.JID().Bare())
	}
	if !hasArchive || !l.at.isFresh() {
		l.at.caughtUp()
	}
	return l.commit(ctx, s) // by now it is known how to resume the session
}

// enter asks what the account has and becomes available. Not before: what was stored would
// come in front of the answer, and be more than can wait for it.
func (l *listener) enter(ctx context.Context, s *xmpp.Session) (hasArchive bool, err error) {
	if hasArchive, err = l.hasArchive(ctx, s); err == nil {
		err = l.fence.raise(ctx, s)
	}
	if err == nil && !l.noPresence {
		// Prosody 0.12 delivers no stored messages to who has asked for the archive before.
		err = s.Send(ctx, newPresence("", "", l.priority))
	}
	if err == nil {
		l.fence.cross(l.waiting, s)
	}
	return hasArchive, err
}

const (
	// infoTries is how often a session asks what the account has.
	infoTries = 5
	// infoWait is how long it waits for an answer before it asks again.
	infoWait = duration(10 * time.Second)
)

// hasArchive asks what the account has, ids that can be trusted (XEP-0359) and an archive
// with those ids. A server that refuses to say so for now, or is silent, has not said that
// there is none: it is asked again.
func (l *listener) hasArchive(ctx context.Context, s *xmpp.Session) (bool, error) {
	if !l.messages {
		return false, nil // nothing is missed
	}
	wait := xmpp.Backoff{Start: time.Second, Max: 10 * time.Second}
	for {
		account, err := l.accountInfo(ctx, s)
		if err == nil {
			l.at.trust(account.Has(xep.NSStanzaID))
			return account.Has(xep.NSStanzaID) && account.Has(xep.NSArchive), nil
		}
		e := classify(l.waiting, err)
		if ctx.Err() != nil || e.Class != "stanza" && e.Class != "timeout" || wait.Tries() == infoTries {
			return false, err
		}
		l.trouble.err = of(s.JID(), err)
		if xmpp.Sleep(ctx, wait.Next()) == nil {
			continue
		}
		if cause := context.Cause(l.waiting); cause != nil { // there was an answer, which says more
			err = fmt.Errorf("%v: %w", err, cause)
		}
		return false, err
	}
}

// accountInfo returns none where the server says that it will not tell.
func (l *listener) accountInfo(ctx context.Context, s *xmpp.Session) (xep.DiscoInfo, error) {
	ctx, cancel := withTimeout(ctx, infoWait)
	defer cancel()
	info, err := s.IQ(ctx, xmpp.NewIQ("get", s.JID().Bare(), xmpp.NewElement(xmpp.NSDiscoInfo, "query")))
	refused, ok := errors.AsType[*xmpp.StanzaError](err)
	if ok && stanzaCode(refused) != exit.Temporary {
		return xep.DiscoInfo{}, nil
	}
	query := xmpp.Child(info, xmpp.NSDiscoInfo, "query")
	if err == nil && query == nil {
		err = &xmpp.StanzaError{Condition: xmpp.UndefinedCondition, Type: "wait", Text: "the answer is empty"}
	}
	if err != nil {
		return xep.DiscoInfo{}, fmt.Errorf("ask what the account has: %w", err)
	}
	return xep.DiscoInfoOf(query), nil
}
