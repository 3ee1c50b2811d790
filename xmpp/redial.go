package xmpp

import (
	"context"
	"errors"
	"time"
)

// A Redial makes one attempt after another at what takes a session, as what ends one session
// need not end what it is for. Its methods are for the goroutine that runs the attempts, and
// for others once they have ended.
type Redial struct {
	// Login is what the next attempt is made with. An attempt may change it for those that
	// follow. Where a server names another one in see-other-host, one attempt is made there.
	Login Options

	// Again reports whether another attempt may do better than the one that ended by err,
	// and after what wait.
	Again func(err error) (wait time.Duration, ok bool)

	// Away, if not nil, is told what keeps all attempts from working, once, when that has
	// lasted for Patience. Back is told that it is over.
	Patience time.Duration
	Away     func(err error)
	Back     func()

	redirect string
	trouble  error     // nil while an attempt works
	since    time.Time // also while one works, but has not done so for long
	told     bool
}

// Run makes attempts until one succeeds, another would do no better, or ctx ends.
func (r *Redial) Run(ctx context.Context, attempt func(ctx context.Context, login Options) error) error {
	for {
		login := r.Login
		if r.redirect != "" {
			login.Server, r.redirect = r.redirect, ""
		}
		err := attempt(ctx, login)
		if err == nil || ctx.Err() != nil {
			return err
		}
		r.redirect = RedirectOf(err)
		wait, again := r.Again(err)
		if !again {
			return err
		}
		if err := r.pause(ctx, err, wait); err != nil {
			return err
		}
	}
}

// pause waits before the next attempt. A trouble that lasts is reported, once.
func (r *Redial) pause(ctx context.Context, err error, d time.Duration) error {
	if r.trouble = err; r.since.IsZero() {
		r.since = time.Now()
	}
	if left := max(0, time.Until(r.since.Add(r.Patience))); r.Away != nil && !r.told && left < d {
		if err := Sleep(ctx, left); err != nil {
			return err
		}
		r.told = true
		r.Away(err)
		d -= left
	}
	return Sleep(ctx, d)
}

// Hindered notes what keeps an attempt that has a session from working yet.
func (r *Redial) Hindered(err error) { r.trouble = err }

// Trouble returns what keeps the attempts from working, nil if nothing does.
func (r *Redial) Trouble() error { return r.trouble }

// Works notes that an attempt does what it is for.
func (r *Redial) Works() {
	if r.trouble = nil; r.told {
		r.Renew()
		r.Back()
	}
}

// Renew makes the trouble that comes next a new one: there was some success.
func (r *Redial) Renew() { r.trouble, r.since, r.told = nil, time.Time{}, false }

// RedirectOf returns the HOST[:PORT] that a server names in see-other-host, or "".
func RedirectOf(err error) string {
	if stream, ok := errors.AsType[*StreamError](err); ok {
		return stream.Host
	}
	return ""
}
