package cmd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"xmppkit/xmpp"
)

// account turns the global flags into what a session needs. It is called before a
// connection is opened, so that what is wrong with them is said at once.
func (env *Env) account(ctx context.Context) (xmpp.Options, error) {
	f := &env.flags
	o := xmpp.Options{Server: f.server, TLS: xmpp.TLSMode(f.tls), AllowPlain: f.allowPlain, Trace: env.trace, TraceXML: env.traceXML(), Memory: new(xmpp.Memory)}
	if f.jid == "" {
		return o, configError("--jid or XMPP_JID", "no account")
	}
	t, err := parseTarget(f.jid)
	if err != nil {
		return o, fmt.Errorf("--jid: %w", err)
	}
	o.JID = t.jid
	if o.JID.Local == "" {
		return o, usageError("--jid: %q is a server, not an account: want user@domain", f.jid)
	}
	switch o.TLS {
	case xmpp.TLSAuto, xmpp.TLSDirect, xmpp.TLSStartTLS:
	default:
		return o, usageError("--tls: %q is none of auto, direct, starttls", f.tls)
	}
	if f.server != "" {
		if _, _, err := xmpp.SplitServer(f.server); err != nil {
			return o, usageError("--server: %w", err)
		}
	}
	for _, s := range f.pins {
		pin, err := xmpp.ParsePin(s)
		if err != nil {
			return o, usageError("--tls-pin: %w", err)
		}
		o.Pins = append(o.Pins, pin)
	}
	if o.RootCAs, err = readRoots(ctx, f.caFile); err != nil {
		return o, err
	}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG"} {
		if value := env.Getenv(name); value != "" {
			env.trace("%s is %s", name, value) // Go's TLS heeds them
		}
	}
	o.Password, err = env.password(o.JID)
	return o, err
}

func readRoots(ctx context.Context, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := readAll(ctx, func() (io.ReadCloser, error) { return os.Open(file) })
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, configError("", "--ca-file: %s holds no PEM certificate", file)
	}
	return roots, nil
}

func (env *Env) password(account xmpp.JID) (xmpp.Secret, error) {
	if p := env.Getenv("XMPP_PASSWORD"); p != "" {
		return xmpp.Secret(p), nil
	}
	p, err := env.ReadPassword(fmt.Sprintf("Password of %s: ", account.Bare()))
	if err != nil || p == "" {
		return "", configError("set XMPP_PASSWORD, or run it on a terminal, where it is asked for", "no password for %s", account.Bare())
	}
	return xmpp.Secret(p), nil
}

// takeNothing is for commands that are not about what arrives by itself.
func takeNothing(*xmpp.Element) bool { return false }

// errTimeout is the cause that ends a context when --timeout has passed.
type errTimeout time.Duration

func (e errTimeout) Error() string {
	d := duration(e)
	return "no answer within " + d.String()
}
func (e errTimeout) Is(target error) bool { return target == context.DeadlineExceeded }

// withTimeout bounds ctx by a duration, 0 being none.
func withTimeout(ctx context.Context, d duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, time.Duration(d), errTimeout(d))
}

// withSession opens a session, lets do use it, and closes it. --timeout bounds all
// of it.
func (env *Env) withSession(ctx context.Context, o xmpp.Options, do func(context.Context, *xmpp.Session) error) error {
	ctx, cancel := withTimeout(ctx, env.flags.timeout)
	defer cancel()
	login, cancelLogin := withTimeout(ctx, env.flags.login)
	defer cancelLogin()
	env.stdout.ctx = ctx
	before := env.remember(&o)
	s, err := env.Dial(login, o)
	if err != nil {
		return fmt.Errorf("%s: %w", o.JID.Bare(), err)
	}
	env.store(o, before)
	err = do(ctx, s)
	_ = s.Close() // what was to be confirmed has been, or err says that it was not
	var exit *exitError
	if err == nil || errors.As(err, &exit) && exit.code == exitNo {
		return err
	}
	return fmt.Errorf("%s: %w", o.JID.Bare(), err)
}

// loginTimeout bounds the login of a command that is not bounded itself.
const loginTimeout = duration(30 * time.Second)
