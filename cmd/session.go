package cmd

import (
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
	"xmppkit/cmd/flags"
	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
	"xmppkit/xmpp/xep"
)

// account is ownAccount for a command that does not stay: it binds RES-random where the
// user gives a resource RES, so that it never ends the session of one that does.
func (env *Env) account(ctx context.Context) (xmpp.Options, error) {
	o, err := env.ownAccount(ctx)
	if err != nil || o.JID.Resource == "" {
		return o, err
	}
	o.OwnResource = false
	const random = 8
	if apart, err := o.JID.WithResource(o.JID.Resource + "-" + xmpp.NewID()[:random]); err == nil {
		o.JID = apart
	} else { // it is too long for that
		o.JID = o.JID.Bare()
	}
	return o, nil
}

// ownAccount turns the global flags, and what the configuration file adds to them, into
// what a session needs. It is called before a connection is opened, so that what is
// wrong with them is said at once.
func (env *Env) ownAccount(ctx context.Context) (xmpp.Options, error) {
	ch, err := env.configure(ctx)
	if err != nil {
		return xmpp.Options{}, err
	}
	f := &env.flags
	o := xmpp.Options{Server: f.server, AllowPlain: f.allowPlain, Trace: env.trace, TraceXML: env.traceXML(), Memory: new(xmpp.Memory)}
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
			env.trace("%s is %s", name, value) // Go's TLS heeds them
		}
	}
	o.Password, err = env.password(ctx, o.JID.Bare(), ch)
	return o, err
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
		return nil, exit.Configf("", "%s: %s holds no PEM certificate", env.sourceOf("ca-file"), file)
	}
	return roots, nil
}

// takeNothing is for commands that are not about what arrives by itself.
func takeNothing(*xmpp.Element) bool { return false }

// withinTimeout bounds ctx by what is left of --timeout.
func (env *Env) withinTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	whole := env.flags.timeout
	if whole == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, time.Duration(whole)-env.spent, errTimeout(whole))
}

// withSession opens a session, lets do use it, and closes it. --timeout bounds all
// of it.
func (env *Env) withSession(ctx context.Context, o xmpp.Options, do func(context.Context, *xmpp.Session) error) error {
	ctx, cancel := env.withinTimeout(ctx)
	defer cancel()
	env.stdout.Until(ctx)
	return env.session(ctx, o, do)
}

// session is withSession for one that may not be the only one of its command.
func (env *Env) session(ctx context.Context, o xmpp.Options, do func(context.Context, *xmpp.Session) error) error {
	return of(o.JID, env.attempt(ctx, o, do))
}

// attempt is session for one that may fail and be tried again: its errors are not final,
// and lack the account.
func (env *Env) attempt(ctx context.Context, o xmpp.Options, do func(context.Context, *xmpp.Session) error) error {
	login, cancelLogin := withTimeout(ctx, env.flags.login)
	defer cancelLogin()
	before, unknown := env.remember(&o)
	s, err := env.Dial(login, o)
	if offer, ok := errors.AsType[*sasl.OfferError](err); ok && unknown != nil && offer.PlainForbidden {
		return plainUnknown(env.stateFile("login", o.JID), unknown)
	}
	if stanza, ok := errors.AsType[*xmpp.StanzaError](err); ok && (stanza.Condition == xmpp.Conflict || stanza.Condition == xmpp.ResourceConstraint) {
		return crowded(o, stanza.Condition, "stanza", err)
	}
	if err == nil {
		env.store(o, before)
		err = do(ctx, s)
		_ = s.Close() // what was to be confirmed has been, or err says that it was not
	}
	if stream, ok := errors.AsType[*xmpp.StreamError](err); ok && !stream.Sent && stream.Condition == xmpp.Conflict {
		return crowded(o, stream.Condition, "stream", err)
	}
	return err
}

// of says whose session an error is about. The answer no says so itself.
func of(account xmpp.JID, err error) error {
	var known *exit.Error
	if err == nil || errors.As(err, &known) && known.Code == exit.No {
		return err
	}
	return fmt.Errorf("%s: %w", account.Bare(), err)
}

// lastUntilStopped lets a command last, unless the flag --timeout was given. What the
// default, the file or XMPP_TIMEOUT says bounds its login then, and each of its waits
// for the server.
func (env *Env) lastUntilStopped() {
	if !env.flags.timeoutGiven {
		env.flags.timeout, env.flags.login = 0, env.flags.timeout
	}
}

// withinWait bounds a wait for the server of a command that lasts.
func (env *Env) withinWait(ctx context.Context) (context.Context, context.CancelFunc) {
	return withTimeout(ctx, env.flags.login)
}

const loginTimeout = flags.Duration(30 * time.Second)

// responder is who answers the requests to a session that stays.
func responder(features ...string) xep.Responder {
	return xep.Responder{Name: "xmppkit", Version: programVersion(), Features: features}
}
