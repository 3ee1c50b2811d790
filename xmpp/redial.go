package xmpp

import (
	"context"
	"errors"
	"time"
)

// A Redial repeats an attempt that needs a session, because the end of one session need not
// end the work. Its methods are for the goroutine that runs the attempts, and for others
// once they have ended.
type Redial struct {
	// Login has the options of the next attempt. An attempt may change it for later ones.
	// If a server redirects with see-other-host, one attempt goes to the other server.
	Login Options

	// Again reports whether another attempt may succeed after one that ended with err,
	// and after what wait.
	Again func(err error) (wait time.Duration, ok bool)

	// Away, if not nil, is called once with the reason when no attempt has worked for
	// Patience. Back is called when that is over.
	Patience time.Duration
	Away     func(err error)
	Back     func()

	redirect string
	trouble  error     // nil while an attempt works
	since    time.Time // also while one works, but not for long yet
	told     bool
}

// Run makes attempts until one succeeds, another would not help, or ctx ends.
func (r *Redial) Run(ctx context.Context, attempt func(ctx context.Context, login Options) error) error {
	for {
		login := r.Login
		if r.redirect != "" {
			login.Server, r.redirect = r.redirect, ""
		}
		err := attempt(ctx, login)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil && errors.Is(err, ErrLost):
			return context.Cause(ctx) // its end interrupts a write, and with it the connection
		case ctx.Err() != nil:
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

// pause waits before the next attempt. It reports lasting trouble, once.
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

// Hindered notes why an attempt that has a session does not work yet.
func (r *Redial) Hindered(err error) { r.trouble = err }

// Trouble returns why the attempts do not work, or nil.
func (r *Redial) Trouble() error { return r.trouble }

// Works notes that an attempt works.
func (r *Redial) Works() {
	if r.trouble = nil; r.told {
		r.Renew()
		r.Back()
	}
}

// Renew notes some success: the next trouble counts as a new one.
func (r *Redial) Renew() { r.trouble, r.since, r.told = nil, time.Time{}, false }

// RedirectOf returns the HOST[:PORT] that a server names in see-other-host, or "".
func RedirectOf(err error) string {
	if stream, ok := errors.AsType[*StreamError](err); ok {
		return stream.Host
	}
	return ""
}
