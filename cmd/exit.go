package cmd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
)

// The exit codes; those of sysexits.h where it has one.
const (
	exitNo          = 1   // it worked, and the answer is no
	exitUsage       = 2   // the command line is wrong
	exitData        = 65  // EX_DATAERR: the input data is wrong
	exitInput       = 66  // EX_NOINPUT: an input file cannot be read
	exitNoUser      = 67  // EX_NOUSER: the recipient does not exist
	exitNoHost      = 68  // EX_NOHOST: the host does not exist
	exitUnavailable = 69  // EX_UNAVAILABLE: refused for good
	exitBug         = 70  // EX_SOFTWARE: a bug in this program
	exitOutput      = 74  // EX_IOERR: the results cannot be written
	exitTemporary   = 75  // EX_TEMPFAIL: try again
	exitProtocol    = 76  // EX_PROTOCOL: TLS or the server's XMPP is not right
	exitNotAllowed  = 77  // EX_NOPERM: wrong password, or not allowed
	exitConfig      = 78  // EX_CONFIG: no account, no password
	exitTimeout     = 124 // as timeout(1)
	exitInterrupt   = 128 + int(syscall.SIGINT)
	exitTerminate   = 128 + int(syscall.SIGTERM)
	exitHangup      = 128 + int(syscall.SIGHUP)
)

// An exitError is an error whose code is already decided.
type exitError struct {
	code  int
	class string
	err   error
	hint  string
	lines []string // printed one by one, instead of err; with --json and exit code 1 the results say it

	details []string // said behind it, one by one; with --json the results say it
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) *exitError {
	return &exitError{code: exitUsage, class: "usage", err: fmt.Errorf(format, args...)}
}

func dataError(format string, args ...any) *exitError {
	return &exitError{code: exitData, class: "data", err: fmt.Errorf(format, args...)}
}

func inputError(format string, args ...any) *exitError {
	return &exitError{code: exitInput, class: "input", err: fmt.Errorf(format, args...)}
}

func configError(hint, format string, args ...any) *exitError {
	return &exitError{code: exitConfig, class: "config", err: fmt.Errorf(format, args...), hint: hint}
}

// noError is the answer no. Each of its lines is reported, unless the results on
// standard output are JSON and say it already.
func noError(lines ...string) *exitError {
	return &exitError{code: exitNo, class: "stanza", err: errors.New(strings.Join(lines, "; ")), lines: lines}
}

// errorRecord is an error on standard error, with --json.
type errorRecord struct {
	Kind      string       `json:"kind"`
	Time      output.Time  `json:"time"`
	Class     string       `json:"class"`
	OK        bool         `json:"ok"`
	ExitCode  int          `json:"exit_code"`
	Retryable bool         `json:"retryable"`
	Message   string       `json:"message"`
	Hint      string       `json:"hint,omitempty"`
	Error     *stanzaError `json:"error,omitempty"`
	JID       string       `json:"jid,omitempty"`
	Host      string       `json:"host,omitempty"`

	lines []string
}

func (r errorRecord) WriteText(t *output.Text) {
	hint := r.Hint
	if hint != "" {
		hint = " (hint: " + hint + ")"
	}
	for _, line := range r.lines {
		t.Printf("xmppkit: %s%s\n", xmpp.Clip(output.Clean(line), maxErrorLine), hint)
		hint = ""
	}
}

// maxErrorLine bounds what is said in an error, in bytes: it may quote others, who can
// write as much as they like.
const maxErrorLine = 1000

// clipped is the record as it is written to standard error. What others have said is
// whole in the results.
func (r errorRecord) clipped() errorRecord {
	r.Message, r.Host = xmpp.Clip(r.Message, maxErrorLine), quote(r.Host)
	if e := r.Error; e != nil {
		r.Error = &stanzaError{e.Condition, e.Type, quote(e.Text), quote(e.By), quote(e.Address)}
	}
	return r
}

// maxQuote is how much of it an error quotes of what others have written, in bytes.
const maxQuote = 200

// quote is what an error shows of an address, a name or an id of others.
func quote(s string) string { return xmpp.Clip(s, maxQuote) }

// stanzaError is the error of a stanza in JSON.
type stanzaError struct {
	Condition string `json:"condition"`
	Type      string `json:"type"`
	Text      string `json:"text,omitempty"`
	By        string `json:"by,omitempty"`
	Address   string `json:"address,omitempty"` // the new one, of gone and redirect
}

func newStanzaError(e *xmpp.StanzaError) *stanzaError {
	return &stanzaError{string(e.Condition), e.Type, e.Text, e.By, e.Address}
}

// report prints the error of the command and returns its exit code. It is the only
// place that does.
func (env *Env) report(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	env.talk.last()
	e := classify(ctx, err)
	if e.code == exitInterrupt || e.code == exitTerminate || e.code == exitHangup || err.Error() == "" || e.code == exitNo && e.lines != nil && env.flags.json {
		env.printDetails(e)
		return e.code
	}
	r := errorRecord{
		Kind: "error", Time: output.Time(time.Now()), Class: e.class, ExitCode: e.code,
		Retryable: e.code == exitTemporary || e.code == exitTimeout,
		Message:   e.Error(), Hint: e.hint, JID: env.flags.jid, lines: e.lines,
	}
	if r.lines == nil {
		r.lines = []string{r.Message}
	}
	if s, ok := errors.AsType[*xmpp.StanzaError](err); ok {
		r.Error = newStanzaError(s)
	}
	if d, ok := errors.AsType[*xmpp.DialError](err); ok {
		r.Host, _, _ = strings.Cut(d.Addr, " ") // without the address of the host
	}
	env.printError(r)
	env.printDetails(e)
	return e.code
}

func (env *Env) printDetails(e *exitError) {
	if len(e.details) > 0 && !env.flags.json {
		env.printError(errorRecord{lines: e.details})
	}
}

// warn reports what is wrong without ending the command: that something was lost.
func (env *Env) warn(format string, args ...any) {
	env.warnAs("stream", fmt.Sprintf(format, args...))
}

func (env *Env) warnAs(class, message string) {
	env.printError(errorRecord{
		Kind: "error", Time: output.Time(time.Now()), Class: class, OK: true, Message: message, JID: env.flags.jid, lines: []string{message},
	})
}

// warnSkipped reports a stanza that somebody sent and that is over a limit of ours.
func (env *Env) warnSkipped(own xmpp.JID, stanza *xmpp.Element, over error) {
	from, _ := xmpp.Sender(stanza, own)
	env.warn("skipped a %s from %s: %v", stanza.Tag, quote(newAddressed(own, stanza, from).bare), over)
}

func (env *Env) printError(r errorRecord) {
	p := output.NewPrinter(env.talk, env.flags.json, false)
	if p.Print(r.clipped()) == nil {
		_ = p.Flush()
	}
}

// classify decides the exit code, the class and the hint of any error.
func classify(ctx context.Context, err error) *exitError {
	var (
		exit   *exitError
		write  *output.WriteError
		dial   *xmpp.DialError
		stream *xmpp.StreamError
		auth   *xmpp.AuthError
		stanza *xmpp.StanzaError
		limit  *xmpp.LimitError
	)
	is := func(code int, class, hint string) *exitError {
		return &exitError{code: code, class: class, err: err, hint: hint}
	}
	switch {
	case errors.As(err, &exit):
		e := is(exit.code, exit.class, exit.hint)
		e.lines, e.details = exit.lines, exit.details
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return is(exitTimeout, "timeout", "raise --timeout")
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return is(signalCode(ctx), "timeout", "")
	case errors.As(err, &write):
		return is(exitOutput, "output", "")
	case errors.As(err, &dial):
		return classifyDial(err, dial)
	case errors.As(err, &auth):
		return classifyAuth(err, auth)
	case errors.As(err, &stream):
		code, hint := streamCode(stream)
		return is(code, "stream", hint)
	case errors.As(err, &stanza):
		hint := ""
		if stanza.Condition == xmpp.RemoteServerNotFound {
			hint = unreachable
		}
		return is(stanzaCode(stanza), "stanza", hint)
	case errors.As(err, &limit):
		return is(exitProtocol, "stanza", "")
	case errors.Is(err, xmpp.ErrTooLarge):
		return is(exitData, "data", "send less at a time")
	case errors.Is(err, xmpp.ErrLost):
		return is(exitTemporary, "connect", "try again")
	}
	return is(exitBug, "bug", "this is a mistake in xmppkit; please report it")
}

// signalCode is 128 and the number of the signal that ended ctx.
func signalCode(ctx context.Context) int {
	switch signal, _, _ := strings.Cut(context.Cause(ctx).Error(), " signal"); signal {
	case syscall.SIGTERM.String():
		return exitTerminate
	case syscall.SIGHUP.String():
		return exitHangup
	}
	return exitInterrupt
}

func classifyDial(err error, d *xmpp.DialError) *exitError {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	e := &exitError{code: exitTemporary, class: d.Op, err: err}
	switch {
	case errors.Is(err, xmpp.ErrNotXMPP):
		e.code, e.hint = exitProtocol, "not an XMPP server? check --server and its port"
	case errors.Is(err, xmpp.ErrDirectTLS):
		e.code, e.hint = exitProtocol, "--tls direct"
	case errors.Is(err, xmpp.ErrStartTLS):
		e.code, e.hint = exitProtocol, "--tls starttls"
	case d.Op == "stream":
		e.code = exitProtocol
	case errors.As(err, &dns) && dns.IsNotFound:
		e.code, e.hint = exitNoHost, "check the domain of the JID, or name the server with --server"
	case d.Op == "tls" && d.Pin != "":
		e.code = exitProtocol
		e.hint = "if you know by another way that this is the right server: --tls-pin " + d.Pin
		if errors.As(err, &unknown) {
			e.hint = "name the authority with --ca-file; or, " + e.hint
		}
	case d.Op == "tls":
		e.code, e.hint = exitProtocol, "there is no way around TLS; is --tls right for this port?"
	case d.Op == "dns":
		e.hint = "try again, or name the server with --server"
	case d.Op == "connect":
		e.hint = "is the server up? --server names another"
	}
	return e
}

func classifyAuth(err error, a *xmpp.AuthError) *exitError {
	e := &exitError{code: exitNotAllowed, class: "auth", err: err}
	var offer *sasl.OfferError
	switch {
	case errors.As(err, &offer):
		e.hint = offer.Hint
		if offer.PlainOnly {
			e.hint = "--allow-plain hands the server the password itself, inside TLS"
		}
	case errors.Is(err, sasl.ErrPassword):
		e.code, e.class = exitConfig, "config"
	case errors.Is(err, sasl.ErrServer):
		e.code, e.hint = exitProtocol, "do not log in here until you know why: someone may be in between"
	case a.Condition == xmpp.TemporaryAuthFailure:
		e.code, e.hint = exitTemporary, "try again"
	case a.Condition == xmpp.NotAuthorized:
		e.hint = "check the account and its password"
	}
	return e
}

// streamCode follows RFC 6120, section 4.9.3. A conflict is not its to judge: see crowded.
func streamCode(e *xmpp.StreamError) (code int, hint string) {
	if e.Sent {
		return exitProtocol, ""
	}
	switch e.Condition {
	case "host-unknown", "host-gone":
		return exitNoHost, "the server does not serve this domain: check the JID"
	case xmpp.NotAuthorized, xmpp.PolicyViolation:
		return exitNotAllowed, ""
	case "system-shutdown", "reset", "connection-timeout", xmpp.ResourceConstraint, xmpp.InternalServerError, xmpp.RemoteConnectionFailed:
		return exitTemporary, "try again"
	}
	return exitProtocol, ""
}

// unreachable is the hint for a server that another one cannot reach.
const unreachable = "check the domain; if it is right, try again later"

// crowded is the error of a session that had to make way for others of the account, or
// found no room beside them. Only where it bound the user's own resource that may be what
// they wanted.
func crowded(o xmpp.Options, condition xmpp.Condition, class string, err error) error {
	if condition == xmpp.Conflict && o.OwnResource {
		return &exitError{code: exitUnavailable, class: class, err: err,
			hint: fmt.Sprintf("another session took the resource %q: use another one", o.JID.Resource)}
	}
	return &exitError{code: exitTemporary, class: class, err: err,
		hint: "there are too many sessions of this account: end one of them, or try again later"}
}

// stanzaCode follows RFC 6120, section 8.3.
func stanzaCode(e *xmpp.StanzaError) int {
	switch e.Condition {
	case xmpp.ItemNotFound:
		return exitNoUser
	case xmpp.RemoteServerNotFound, xmpp.ResourceConstraint:
		// Servers say the first also of one that is only down for the moment.
		return exitTemporary
	case xmpp.Conflict, xmpp.ServiceUnavailable, xmpp.FeatureNotImplemented, xmpp.Gone:
		if e.Type != "wait" {
			return exitUnavailable
		}
	case "forbidden", "not-allowed", "registration-required", xmpp.NotAuthorized, "subscription-required", xmpp.PolicyViolation:
		if e.Type != "wait" {
			return exitNotAllowed
		}
	}
	switch e.Type {
	case "wait":
		return exitTemporary
	case "auth":
		return exitNotAllowed
	}
	return exitUnavailable
}
