// Package receive passes on what arrives for an account, each stanza once, over many
// sessions. It reconnects, resumes sessions, reads missed messages from the archive, and
// acknowledges handled stanzas to the server. It does not know what is done with a stanza, or
// how anything is shown.
//
// It separates three lifetimes. A Receiver is the whole run, a connection is one session,
// and an Arrival is one stanza.
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
	// patientWait limits each wait for the server after the first lost connection, if it
	// has no other limit: a server that is silent now may answer the next time.
	patientWait = 30 * time.Second

	// lasting is how long a session must last, or trouble must stay away, to count as
	// success.
	lasting = time.Minute

	// maxMalformed is how often in a row a server may send malformed XML without a
	// message in between.
	maxMalformed = 3
)

// Options configure a Receiver. All functions are called by the goroutine that runs it.
type Options struct {
	Login     xmpp.Options
	Position  *Position     // how far it has come
	Presence  *xmpp.Element // the presence to send; nil to stay unavailable
	Messages  bool          // wanted: missed messages are read from the archive
	Carbons   bool          // are asked for
	New       bool          // leaves out messages that were stored before the start
	Reconnect bool          // after a loss

	// Wait limits each wait for the server; 0 means no limit.
	Wait time.Duration
	// Patience is how long the connection is lost before that is reported as Away.
	Patience time.Duration

	// Connect opens a session, lets use do its work in it, and closes it.
	Connect func(ctx context.Context, login xmpp.Options, use func(context.Context, *xmpp.Session) error) error
	// Temporary reports whether the same may succeed later.
	Temporary func(error) bool
	// Handle handles a stanza. If it fails, it is called again for the same message.
	Handle func(ctx context.Context, s *xmpp.Session, a Arrival) (Verdict, error)
	// Flush makes handled stanzas final. If it is nil, a stanza is final when Handle returns,
	// and is acknowledged before the next one is handled.
	Flush func() error
	// Settled, if not nil, is called in each new session when the server has sent everything
	// that it sends to a session that becomes available.
	Settled func() (Verdict, error)
	// Tell is called with events that a user may want to know.
	Tell func(Event)
}

// A Verdict is the result of a call of Handle.
type Verdict struct {
	Used   bool          // the stanza counts as a result
	After  *xmpp.Element // is sent once the stanza is final; nil for nothing
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
	listening bool      // the session works: stanzas are passed on
	malformed int       // streams in a row that ended with malformed XML, without a message
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
			r.trace("%v", err) // the next result reports it
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

// Run receives until ctx or waiting ends, a Verdict ends the run, or another session would
// not help. The end of waiting does not interrupt the handling of a stanza; the end of ctx
// does.
func (r *Receiver) Run(ctx, waiting context.Context) error {
	err := r.redial.Run(waiting, func(_ context.Context, login xmpp.Options) error {
		r.started, r.used = time.Now(), false
		return r.attempt(ctx, waiting, login)
	})
	if e := r.at.save(r.at.Session); err == nil {
		err = e // it keeps the position for the next listener
	}
	return err
}

// Away reports whether no session works, and why. The reason is nil if the server has not
// yet answered the first requests.
func (r *Receiver) Away() (trouble error, away bool) { return r.redial.Trouble(), !r.listening }

// attempt receives in one session. A new durable listener first finds the end of the
// archive, in a session of its own: Prosody 0.12 delivers no stored messages to a session
// that has queried the archive.
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
		r.at.Session = nil // its stream is closed or broken
	}
	return err
}

// again decides whether to try again after an attempt that ended with err, and when.
func (r *Receiver) again(err error) (time.Duration, bool) {
	lasted := time.Since(r.started) > lasting
	if lasted {
		r.malformed = 0 // not in a row
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

// isTemporary reports whether another session may succeed after one that ended with
// err.
func (r *Receiver) isTemporary(err error) bool {
	if stream, ok := errors.AsType[*xmpp.StreamError](err); ok {
		switch {
		case xmpp.RedirectOf(err) != "":
			return true
		case stream.Condition == xmpp.PolicyViolation && strings.Contains(stream.Text, "unacked"):
			// Ejabberd 23.01 ends a session with more than 5,000 unacked stanzas, even
			// if it has sent them within half a second. They are in the archive.
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
