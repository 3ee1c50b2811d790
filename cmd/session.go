package cmd

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"xmppkit/cmd/config"
	"xmppkit/cmd/exit"
	"xmppkit/cmd/files"
	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
	"xmppkit/xmpp/xep"
)

// A login is what a command needs for its sessions. It is made once, before a connection is
// opened, so that mistakes are reported first.
type login struct {
	xmpp.Options
	limits limits
}

// limits are how long a command may take; 0 means no limit.
type limits struct {
	whole time.Duration // all of it
	spent time.Duration // of that, before the first connection
	each  time.Duration // the login and each wait for the server, of a command that runs until stopped
}

// A stay says how a command differs from one with a short session.
type stay struct {
	lasts bool // until it is stopped, unless the flag --timeout was given
	own   bool // in a session with exactly the resource that the user gives
	stdin bool // which it reads itself
}

// account returns the login of a command with a short session.
func (env *Env) account(ctx context.Context) (login, error) { return env.login(ctx, stay{}) }

// login turns the global flags and the configuration file into what a session needs. If the
// user gives a resource RES, a command binds RES-random, unless it owns the resource. So it
// never ends the session of a command that owns RES.
func (env *Env) login(ctx context.Context, s stay) (login, error) {
	o, spent, err := env.options(ctx, s.stdin)
	l := login{Options: o, limits: env.limits(s.lasts)}
	l.limits.spent = spent
	if err != nil || o.JID.Resource == "" || s.own {
		return l, err
	}
	l.OwnResource = false
	const random = 8
	if apart, err := o.JID.WithResource(o.JID.Resource + "-" + xmpp.NewID()[:random]); err == nil {
		l.JID = apart
	} else { // it is too long for that
		l.JID = o.JID.Bare()
	}
	return l, nil
}

// limits returns the limits of a command that has just started. If it runs until
// stopped, the default, the file or XMPP_TIMEOUT limits its login and each wait for the
// server.
func (env *Env) limits(lasts bool) limits {
	d := time.Duration(env.flags.timeout)
	if lasts && !env.flags.timeoutGiven {
		return limits{each: d}
	}
	return limits{whole: d}
}

// loginTimeout limits a login that has no other limit.
const loginTimeout = 30 * time.Second

// again returns the limits after a lost connection: a server that is silent now may
// answer the next time.
func (l limits) again() limits {
	l.each = cmp.Or(l.each, loginTimeout)
	return l
}

// bound limits ctx to the time that the command has left.
func (l limits) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if l.whole == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, l.whole-l.spent, errTimeout(l.whole))
}

// within limits ctx to the time that the command has left, and with it the wait for a
// reader of the results.
func (env *Env) within(ctx context.Context, l limits) (context.Context, context.CancelFunc) {
	ctx, cancel := l.bound(ctx)
	env.stdout.Until(ctx)
	return ctx, cancel
}

// options returns the options of the account, without those that a command adds, and how
// much of --timeout has been used.
func (env *Env) options(ctx context.Context, stdin bool) (o xmpp.Options, spent time.Duration, err error) {
	started := time.Now()
	ch, err := env.configure(ctx, stdin)
	spent = time.Since(started)
	if err != nil {
		return o, spent, err
	}
	if o, err = env.connection(ctx); err != nil {
		return o, spent, err
	}
	started = time.Now()
	var typed bool
	if o.Password, typed, err = env.password(ctx, o.JID.Bare(), ch, stdin); !typed { // a person's time does not count
		spent += time.Since(started)
	}
	return o, spent, err
}

// connection turns the global flags into the options of a session, without its
// password.
func (env *Env) connection(ctx context.Context) (o xmpp.Options, err error) {
	f := &env.flags
	o = xmpp.Options{Server: f.server, AllowPlain: f.allowPlain, Trace: env.trace, TraceXML: env.traceXML(), Memory: new(xmpp.Memory)}
	if f.jid == "" {
		return o, env.noAccount()
	}
	if o.JID, err = config.ParseAccount(f.jid); err != nil {
		return o, exit.Usagef("%w", err)
	}
	if o.JID.Resource == "" && f.resource != "" {
		if o.JID, err = o.JID.WithResource(f.resource); err != nil {
			return o, exit.Configf("", "resource: %w", err)
		}
	}
	o.OwnResource = o.JID.Resource != ""
	env.noteProfile(o.JID)
	if o.TLS, err = xmpp.ParseTLSMode(f.tls); err != nil {
		return o, exit.Usagef("%s: %w", env.sourceOf("tls"), err)
	}
	if f.server != "" {
		if _, _, err := xmpp.SplitServer(f.server); err != nil {
			return o, exit.Usagef("%s: %w", env.sourceOf("server"), err)
		}
	}
	for _, s := range f.pins {
		pin, err := xmpp.ParsePin(s)
		if err != nil {
			return o, exit.Usagef("%s: %w", env.sourceOf("tls-pin"), err)
		}
		o.Pins = append(o.Pins, pin)
	}
	wait, cancel := withTimeout(ctx, f.timeout)
	defer cancel()
	if f.caFile, err = env.belowHome(env.sourceOf("ca-file"), f.caFile); err != nil {
		return o, err
	}
	if o.RootCAs, err = env.readRoots(wait, f.caFile); err != nil {
		return o, err
	}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG"} {
		if value := env.Getenv(name); value != "" {
			env.trace("%s is %s", name, value) // Go's TLS reads them
		}
	}
	return o, nil
}

func (env *Env) readRoots(ctx context.Context, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := files.ReadAll(ctx, func() (io.ReadCloser, error) { return os.Open(file) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", env.sourceOf("ca-file"), err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, exit.Configf("", "%s: %s contains no PEM certificate", env.sourceOf("ca-file"), file)
	}
	return roots, nil
}

// takeNothing is for commands that ignore incoming stanzas.
func takeNothing(*xmpp.Element) bool { return false }

// withSession opens a session, calls do with it, and closes it. --timeout limits all of
// this.
func (env *Env) withSession(ctx context.Context, l login, do func(context.Context, *xmpp.Session) error) error {
	ctx, cancel := env.within(ctx, l.limits)
	defer cancel()
	return env.session(ctx, l, do)
}

// session is withSession for a command that may open several sessions.
func (env *Env) session(ctx context.Context, l login, do func(context.Context, *xmpp.Session) error) error {
	return of(l.JID, env.attempt(ctx, l, do))
}

// attempt is session for one that may be tried again: its errors are not final, and do
// not name the account.
func (env *Env) attempt(ctx context.Context, l login, do func(context.Context, *xmpp.Session) error) error {
	o := l.Options
	before, unknown := env.remember(&o)
	soon, cancel := xmpp.WithTimeout(ctx, l.limits.each)
	defer cancel()
	s, err := env.Dial(soon, o)
	if offer, ok := errors.AsType[*sasl.OfferError](err); ok && unknown != nil && offer.PlainForbidden {
		return plainUnknown(env.stateFile("login", o.JID), unknown)
	}
	if stanza, ok := errors.AsType[*xmpp.StanzaError](err); ok && (stanza.Condition == xmpp.Conflict || stanza.Condition == xmpp.ResourceConstraint) {
		return crowded(o, stanza.Condition, "stanza", err)
	}
	if err == nil {
		env.store(o, before)
		err = do(ctx, s)
		_ = s.Close() // everything is confirmed, or err says that it is not
	}
	if stream, ok := errors.AsType[*xmpp.StreamError](err); ok && !stream.Sent && stream.Condition == xmpp.Conflict {
		return crowded(o, stream.Condition, "stream", err)
	}
	return err
}

// of adds the account to an error. The answer "no" already names it.
func of(account xmpp.JID, err error) error {
	var known *exit.Error
	if err == nil || errors.As(err, &known) && known.Code == exit.No {
		return err
	}
	return fmt.Errorf("%s: %w", account.Bare(), err)
}

// responder answers the requests to a session that stays open.
func responder(features ...string) xep.Responder {
	return xep.Responder{Name: "xmppkit", Version: programVersion(), Features: features}
}
