// Package receive hands on what arrives for an account, each stanza once, over many sessions:
// it reconnects, resumes sessions, reads what was missed from the archive, and acknowledges
// to the server what was handled. It knows neither what is done with a stanza nor how
// anything is shown.
//
// Three lifetimes are apart: the run is a Receiver, one session in it is a connection, which
// is made anew each time, and one stanza is an Arrival.
package receive

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"xmppkit/xmpp"
)

const (
	// patientWait bounds the waits for a server after the first loss, where they have no
	// other bound: a server that is silent now may not be the next time.
	patientWait = 30 * time.Second

	// lasting is how long a session has to last, or a trouble to be away, to count as
	// success.
	lasting = time.Minute

	// maxMalformed is how often in a row a server may write what is not XML, without a
	// message in between.
	maxMalformed = 3
)

// Options say what is handed on, and to whom. All functions are called by the goroutine that
// runs the receiver.
type Options struct {
	Login     xmpp.Options
	Position  *Position     // how far it has come
	Presence  *xmpp.Element // what it becomes available by; nil if it does not
	Messages  bool          // are wanted: what was missed is read from the archive
	Carbons   bool          // are asked for
	New       bool          // leaves out the messages that were stored before it began
	Reconnect bool          // after a loss

	// Wait bounds each wait for the server; 0 for none.
	Wait time.Duration
	// Patience is how long nothing works before that is reported as Away.
	Patience time.Duration

	// Connect opens a session, lets use do its work in it, and closes it.
	Connect func(ctx context.Context, login xmpp.Options, use func(context.Context, *xmpp.Session) error) error
	// Temporary reports whether the same may succeed later.
	Temporary func(error) bool
	// Handle handles what arrived. Of one message, it is called again where it fails.
	Handle func(ctx context.Context, s *xmpp.Session, a Arrival) (Verdict, error)
	// Flush makes final what was handled. Where it is nil, that is final when Handle returns,
	// and each stanza is acknowledged before the next is handled.
	Flush func() error
	// Settled, if not nil, is called in each new session when no more comes of what a server
	// sends by itself to one that becomes available.
	Settled func() (Verdict, error)
	// Tell is told what a user may want to know.
	Tell func(Event)
}

// A Verdict is what came of a call.
type Verdict struct {
	Used   bool          // it is one of those that the receiver is there for
	After  *xmpp.Element // is sent once that is final; nil for nothing
	Enough bool          // no more is wanted: the run ends
}

// A Receiver is one run.
type Receiver struct {
	o       Options
	at      *Position
	fence   *fence // nil where what was stored is wanted
	redial  xmpp.Redial
	backoff xmpp.Backoff

	started   time.Time // the attempt
	used      bool      // something has come in it
	connected bool      // there was a session
	listening bool      // the session works: what arrives is handed on
	malformed int       // streams in a row that ended in what is no XML, without a message
	after     []*xmpp.Element
}

// New makes a receiver.
func New(o Options) *Receiver {
	r := &Receiver{o: o, at: o.Position, backoff: xmpp.Backoff{Start: time.Second, Max: time.Minute}}
	if o.New {
		r.fence = new(fence)
	}
	take := o.Login.Take
	o.Login.Take = func(e *xmpp.Element) bool {
		return (take == nil || take(e)) && (e.Tag != "message" || !r.fence.leavesOut(o.Login.JID, e))
	}
	o.Login.Manage, o.Login.Pause = true, true
	o.Login.Acknowledging = func(session *xmpp.Resumption) {
		if err := r.at.save(session); err != nil {
			r.trace("%v", err) // the next result says so
		}
	}
	account := o.Login.JID.Bare()
	r.redial = xmpp.Redial{
		Login: o.Login, Again: r.again, Patience: o.Patience,
		Away: func(err error) { o.Tell(Event{Kind: Away, Account: account, Err: err}) },
		Back: func() { o.Tell(Event{Kind: Back, Account: account}) },
	}
	return r
}

// Run receives until ctx or waiting ends, until a Verdict says that it is enough, or until
// another session would do no better. The end of waiting does not end what handles a stanza:
// that goes on until it is done, or ctx ends.
func (r *Receiver) Run(ctx, waiting context.Context) error {
	err := r.redial.Run(waiting, func(_ context.Context, login xmpp.Options) error {
		r.started, r.used = time.Now(), false
		return r.attempt(ctx, waiting, login)
	})
	if e := r.at.save(r.at.Session); err == nil {
		err = e // it keeps the place for the next one
	}
	return err
}

// Away reports whether there is no session that works, and what keeps it away: nil where the
// server has not yet answered what comes first.
func (r *Receiver) Away() (trouble error, away bool) { return r.redial.Trouble(), !r.listening }

// attempt receives in one session. A durable listener that is new asks in one before where
// the archive ends: in the one that it listens in, Prosody 0.12 would take that for a client
// that reads the archive, and deliver no stored messages.
func (r *Receiver) attempt(ctx, waiting context.Context, login xmpp.Options) error {
	if r.o.Messages && r.at.isNew() {
		asking := login
		asking.JID, asking.Manage, asking.Resumable = login.JID.Bare(), false, 0
		err := r.o.Connect(waiting, asking, func(_ context.Context, s *xmpp.Session) error {
			return r.connection(ctx, waiting, s).locate()
		})
		if err != nil {
			return err
		}
		login.Server = r.redial.Login.Server
	}
	open := false
	login.Resume = r.at.Session
	err := r.o.Connect(waiting, login, func(_ context.Context, s *xmpp.Session) error {
		open = true
		return r.connection(ctx, waiting, s).listen()
	})
	if open && !errors.Is(err, xmpp.ErrLost) || errors.Is(err, xmpp.ErrUseless) {
		r.at.Session = nil // its stream was closed, or is broken
	}
	return err
}

// again decides whether there is another attempt after one that ended by err, and when.
func (r *Receiver) again(err error) (time.Duration, bool) {
	lasted := time.Since(r.started) > lasting
	if lasted {
		r.malformed = 0 // these are not in a row
	}
	if !r.o.Reconnect || !r.connected || !r.isTemporary(err) {
		return 0, false
	}
	r.listening = false
	r.o.Wait = cmp.Or(r.o.Wait, patientWait)
	if r.used || lasted {
		r.backoff.Reset()
		r.redial.Renew()
	}
	d := r.backoff.Next()
	r.o.Tell(Event{Kind: Retry, Account: r.o.Login.JID.Bare(), Err: err, Wait: d})
	return d, true
}

// isTemporary reports whether another session may do better than the one that ended by err.
func (r *Receiver) isTemporary(err error) bool {
	if stream, ok := errors.AsType[*xmpp.StreamError](err); ok {
		switch {
		case xmpp.RedirectOf(err) != "":
			return true
		case stream.Condition == xmpp.PolicyViolation && strings.Contains(stream.Text, "unacked"):
			// Ejabberd 23.01 sends no more than 5,000 stanzas ahead, though it may have
			// sent them in half a second. What they are is in the archive.
			return true
		case stream.Sent:
			r.malformed++
			return r.malformed < maxMalformed
		}
	}
	return r.o.Temporary(err)
}

func (r *Receiver) trace(format string, args ...any) {
	if r.o.Login.Trace != nil {
		r.o.Login.Trace(format, args...)
	}
}
