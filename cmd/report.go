package cmd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"xmppkit/cmd/child"
	"xmppkit/cmd/exit"
	"xmppkit/cmd/stdio"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
)

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

// maxErrorLine limits an error in bytes: it may quote others, who can write as much as
// they like.
const maxErrorLine = 1000

// clipped shortens the record for standard error. The results have the texts of others
// in full.
func (r errorRecord) clipped() errorRecord {
	r.Message, r.Host = xmpp.Clip(r.Message, maxErrorLine), quote(r.Host)
	if e := r.Error; e != nil {
		r.Error = &stanzaError{e.Condition, e.Type, quote(e.Text), quote(e.By), quote(e.Address)}
	}
	return r
}

// report prints the error of the command and returns its exit code. Nothing else does.
func (env *Env) report(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	env.stderr.Last()
	e := classify(ctx, err)
	if e.Code == exit.Interrupt || e.Code == exit.Terminate || e.Code == exit.Hangup || err.Error() == "" || e.Code == exit.No && e.Lines != nil && env.flags.json {
		env.printDetails(e)
		return e.Code
	}
	r := errorRecord{
		Kind: "error", Time: output.Time(time.Now()), Class: e.Class, ExitCode: e.Code,
		Retryable: e.Code == exit.Temporary || e.Code == exit.Timeout,
		Message:   e.Error(), Hint: e.Hint, JID: env.flags.jid, lines: e.Lines,
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
	return e.Code
}

func (env *Env) printDetails(e *exit.Error) {
	if len(e.Details) > 0 && !env.flags.json {
		env.printError(errorRecord{lines: e.Details})
	}
}

// warn reports a problem, such as a loss, and the command continues.
func (env *Env) warn(format string, args ...any) {
	env.warnAs("stream", fmt.Sprintf(format, args...))
}

func (env *Env) warnAs(class, message string) { env.warnWith(class, message, "") }

func (env *Env) warnWith(class, message, hint string) {
	env.printError(errorRecord{
		Kind: "error", Time: output.Time(time.Now()), Class: class, OK: true, Message: message, Hint: hint, JID: env.flags.jid, lines: []string{message},
	})
}

// warnSkipped reports a stanza that was skipped because it exceeds a limit of ours.
func (env *Env) warnSkipped(own xmpp.JID, stanza *xmpp.Element, over error) {
	from, _ := xmpp.Sender(stanza, own)
	env.warn("skipped a %s from %s: %v", stanza.Tag, quote(newAddressed(own, stanza, from).bare), over)
}

func (env *Env) printError(r errorRecord) {
	p := output.NewPrinter(env.stderr, env.flags.json, false)
	if p.Print(r.clipped()) == nil {
		_ = p.Flush()
	}
}

// classify decides the exit code, the class and the hint of any error.
func classify(ctx context.Context, err error) *exit.Error {
	var (
		known  *exit.Error
		write  *output.WriteError
		dial   *xmpp.DialError
		stream *xmpp.StreamError
		auth   *xmpp.AuthError
		stanza *xmpp.StanzaError
		limit  *xmpp.LimitError
	)
	is := func(code int, class, hint string) *exit.Error {
		return &exit.Error{Code: code, Class: class, Err: err, Hint: hint}
	}
	switch {
	case errors.As(err, &known):
		e := is(known.Code, known.Class, known.Hint)
		e.Lines, e.Details = known.Lines, known.Details
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return is(exit.Timeout, "timeout", "raise --timeout")
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return is(signalCode(ctx), "timeout", "")
	case errors.Is(err, stdio.ErrClosed):
		return is(exit.Output, "output", discard)
	case errors.As(err, &write):
		return is(exit.Output, "output", "")
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
		return is(exit.Protocol, "stanza", "")
	case errors.Is(err, xmpp.ErrTooLarge):
		return is(exit.Data, "data", "send smaller messages")
	case errors.Is(err, xmpp.ErrLost):
		return is(exit.Temporary, "connect", "try again")
	}
	return is(exit.Bug, "bug", "this is a bug in xmppkit; please report it")
}

// signalCode is 128 and the number of the signal that ended ctx.
func signalCode(ctx context.Context) int {
	if s, ok := errors.AsType[signalError](context.Cause(ctx)); ok {
		return 128 + int(s.Signal)
	}
	return exit.Interrupt
}

// notRunnable is the error of a program that cannot be run, with the exit code of a
// shell.
func notRunnable(who string, err error) error {
	e := &exit.Error{Code: child.Code(err), Class: "input", Err: fmt.Errorf("%s: %w", who, err)}
	if lookup, ok := errors.AsType[*exec.Error](err); ok && errors.Is(err, exec.ErrNotFound) {
		e.Err = fmt.Errorf("%s: %q was not found on PATH", who, lookup.Name)
	}
	return e
}

func classifyDial(err error, d *xmpp.DialError) *exit.Error {
	var dns *net.DNSError
	var unknown x509.UnknownAuthorityError
	e := &exit.Error{Code: exit.Temporary, Class: d.Op, Err: err}
	switch {
	case errors.Is(err, xmpp.ErrNotXMPP):
		e.Code, e.Hint = exit.Protocol, "not an XMPP server? check --server and its port"
	case errors.Is(err, xmpp.ErrDirectTLS):
		e.Code, e.Hint = exit.Protocol, "--tls direct"
	case errors.Is(err, xmpp.ErrStartTLS):
		e.Code, e.Hint = exit.Protocol, "--tls starttls"
	case d.Op == "stream":
		e.Code = exit.Protocol
	case errors.As(err, &dns) && dns.IsNotFound:
		e.Code, e.Hint = exit.NoHost, "check the domain of the JID, or name the server with --server"
	case d.Op == "tls" && d.Pin != "":
		e.Code = exit.Protocol
		e.Hint = "if you have verified in another way that this is the right server: --tls-pin " + d.Pin
		if errors.As(err, &unknown) {
			e.Hint = "pass the CA certificate with --ca-file; or, " + e.Hint
		}
	case d.Op == "tls":
		e.Code, e.Hint = exit.Protocol, "xmppkit requires TLS: check --tls and the port"
	case d.Op == "dns":
		e.Hint = "try again, or name the server with --server"
	case d.Op == "connect":
		e.Hint = "is the server up? --server sets another one"
	}
	return e
}

func classifyAuth(err error, a *xmpp.AuthError) *exit.Error {
	e := &exit.Error{Code: exit.NotAllowed, Class: "auth", Err: err}
	var offer *sasl.OfferError
	switch {
	case errors.As(err, &offer):
		e.Hint = offer.Hint
		if offer.PlainOnly {
			e.Hint = "--allow-plain sends the password itself to the server, inside TLS"
		}
	case errors.Is(err, sasl.ErrPassword):
		e.Code, e.Class = exit.Config, "config"
	case errors.Is(err, sasl.ErrServer):
		e.Code, e.Hint = exit.Protocol, "do not log in until you know why: someone may be intercepting the connection"
	case a.Condition == xmpp.TemporaryAuthFailure:
		e.Code, e.Hint = exit.Temporary, "try again"
	case a.Condition == xmpp.NotAuthorized:
		e.Hint = "check the account and its password"
	}
	return e
}

// streamCode follows RFC 6120, section 4.9.3. For a conflict see crowded.
func streamCode(e *xmpp.StreamError) (code int, hint string) {
	if e.Sent {
		return exit.Protocol, ""
	}
	switch e.Condition {
	case "host-unknown", "host-gone":
		return exit.NoHost, "the server does not serve this domain: check the JID"
	case xmpp.NotAuthorized, xmpp.PolicyViolation:
		return exit.NotAllowed, ""
	case "system-shutdown", "reset", "connection-timeout", xmpp.ResourceConstraint, xmpp.InternalServerError, xmpp.RemoteConnectionFailed:
		return exit.Temporary, "try again"
	}
	return exit.Protocol, ""
}

// unreachable is the hint if your server cannot reach another one.
const unreachable = "check the domain; if it is right, try again later"

// crowded is the error of a session that another session of the account replaced, or that
// the server refused because there are too many. It is permanent only if the user chose
// the resource: then the replacement may be intended.
func crowded(o xmpp.Options, condition xmpp.Condition, class string, err error) error {
	if condition == xmpp.Conflict && o.OwnResource {
		return &exit.Error{Code: exit.Unavailable, Class: class, Err: err,
			Hint: fmt.Sprintf("another session took the resource %q: use another one", o.JID.Resource)}
	}
	return &exit.Error{Code: exit.Temporary, Class: class, Err: err,
		Hint: "this account has too many sessions: end one of them, or try again later"}
}

// stanzaCode follows RFC 6120, section 8.3.
func stanzaCode(e *xmpp.StanzaError) int {
	switch e.Condition {
	case xmpp.ItemNotFound:
		return exit.NoUser
	case xmpp.RemoteServerNotFound, xmpp.ResourceConstraint:
		// Servers also report the first one for a server that is only down temporarily.
		return exit.Temporary
	case xmpp.Conflict, xmpp.ServiceUnavailable, xmpp.FeatureNotImplemented, xmpp.Gone:
		if e.Type != "wait" {
			return exit.Unavailable
		}
	case "forbidden", "not-allowed", "registration-required", xmpp.NotAuthorized, "subscription-required", xmpp.PolicyViolation:
		if e.Type != "wait" {
			return exit.NotAllowed
		}
	}
	switch e.Type {
	case "wait":
		return exit.Temporary
	case "auth":
		return exit.NotAllowed
	}
	return exit.Unavailable
}

// wholeLines makes results start at the beginning of a line.
func (env *Env) wholeLines() {
	env.stdout.WholeLines(func() {
		env.warnAs("output", "standard output ended in the middle of a line: results start on a new line")
	})
}

// failedAnswer returns the problem with an answer: it is an error, or it exceeds a limit.
// Other answers may still be fine.
func failedAnswer(err error) (*xmpp.StanzaError, bool) {
	if over, ok := errors.AsType[*xmpp.LimitError](err); ok {
		return &xmpp.StanzaError{Condition: xmpp.UndefinedCondition, Type: "cancel", Text: "the answer exceeds a limit: " + over.Reason}, true
	}
	return errors.AsType[*xmpp.StanzaError](err)
}
