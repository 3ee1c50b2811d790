package cmd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"xmppkit/cmd/child"
	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/output"
	"xmppkit/xmpp"
)

const (
	maxVariable = 32 << 10 // limit of sender text in a variable of CMD; standard input has all of it
	maxReply    = 64 << 10
	maxReplyXML = 200 << 10 // most servers accept stanzas of 256 KiB, and end the stream after a larger one
	maxThread   = 1 << 10   // of a sender, in a reply

	// How long CMD may take to end before it is killed: when it has run too long, and
	// when listen itself is stopped.
	killAfter     = 2 * time.Second
	killAfterStop = 200 * time.Millisecond

	// closeAfter is how long processes that CMD has left running may hold its input and
	// output.
	closeAfter = 200 * time.Millisecond
)

// A handler runs a command for each result.
type handler struct {
	env     *Env
	args    []string // as given, without a shell
	path    string   // where the command was found
	environ []string // of all runs
	reply   bool
	timeout flags.Duration
	retry   int
	failure string // what to do with a message for which CMD has failed: stop or skip
	anyone  bool
	each    time.Duration // of the waits for the server

	// An unconfirmed reply is resent when its message comes again, without another run
	// of CMD.
	owed   *xmpp.Element
	owedTo facts
}

func (h *handler) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&h.reply, "reply", false, "send the output of CMD back to the sender")
	fs.Var(&h.timeout, "exec-timeout", "end CMD after `DURATION`, and count it as failed")
	fs.IntVar(&h.retry, "exec-retry", 0, "if CMD fails, run it up to `N` more times for the same message")
	h.failure = "stop"
	fs.Var(flags.OneOf{Value: &h.failure, Of: []cobra.Completion{"stop\tend with exit code 1", "skip\tcontinue with the next message"}}, "on-failure", "`ACTION` after the last failed try of CMD: stop, or skip the message")
	fs.BoolVar(&h.anyone, "anyone", false, "run CMD for messages from anyone")
}

// command takes CMD, which follows --, out of the arguments. It returns the JIDs.
func (h *handler) command(cmd *cobra.Command, args []string) ([]string, error) {
	jids, there, changed := args, cmd.ArgsLenAtDash() >= 0, cmd.Flags().Changed
	if there {
		jids, h.args = args[:cmd.ArgsLenAtDash()], args[cmd.ArgsLenAtDash():]
	}
	for _, arg := range jids {
		if strings.HasPrefix(arg, "-") {
			return nil, exit.Usagef("listen: %q is not a JID: flags go before --, and the arguments of CMD after it", arg)
		}
	}
	switch {
	case there && len(h.args) == 0:
		return nil, exit.Usagef("listen: no CMD after --")
	case !there && (h.reply || h.anyone || changed("exec-timeout") || changed("exec-retry") || changed("on-failure")):
		return nil, exit.Usagef("--reply, --exec-timeout, --exec-retry, --on-failure and --anyone need a CMD after --")
	case changed("exec-timeout") && h.timeout == 0:
		return nil, exit.Usagef("--exec-timeout: want a duration above 0")
	case h.retry < 0:
		return nil, exit.Usagef("--exec-retry: want at least 0")
	case h.anyone && len(jids) > 0:
		return nil, exit.Usagef("--anyone and JIDs cannot be combined")
	case there && !h.anyone && len(jids) == 0:
		err := exit.Usagef("listen: CMD needs senders")
		err.Hint = "name their JIDs before --, or pass --anyone"
		return nil, err
	case !there:
		return jids, nil
	}
	var err error
	if h.path, err = exec.LookPath(h.args[0]); err != nil {
		return nil, notRunnable("listen", err)
	}
	h.environ = handlerEnviron(os.Environ())
	return jids, nil
}

// handlerEnviron is the environment of CMD. It leaves out the password, every variable
// that leads to it, our state directory, and variables that could be mistaken for part of
// the result.
func handlerEnviron(all []string) []string {
	var vars []string
	for _, v := range all {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "XMPP_FROM", "XMPP_TYPE", "XMPP_ID", "XMPP_BODY", "XMPP_ROOM", "XMPP_NICK", "XMPP_TRY", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY":
			continue
		}
		if strings.HasPrefix(name, "XMPP_") && strings.Contains(name, "PASSWORD") {
			continue
		}
		vars = append(vars, v)
	}
	return vars
}

// errSkipped says that a command failed each time and that its message may be skipped.
var errSkipped = errors.New("skipped")

// handle runs the command for a result until it succeeds or has failed too often. With
// --reply it returns once the server has accepted the reply. If ctx ends, the command
// ends too, and the result is not handled. The waits between tries also end with waiting.
// If the connection is lost in the meantime, nothing is run again.
func (h *handler) handle(ctx, waiting context.Context, s *xmpp.Session, r output.Record) error {
	f := factsOf(r)
	wait := xmpp.Backoff{Start: time.Second, Max: time.Minute}
	for try := 1; ; try++ {
		err := h.try(ctx, s, f, r, try)
		switch _, failed := errors.AsType[*exit.Error](err); {
		case !failed:
			return err
		case try <= h.retry:
			d := wait.Next()
			h.env.trace("%v; try %d of %d in %s", err, try+1, h.retry+1, d.Round(time.Millisecond))
			if xmpp.Sleep(waiting, d) == nil {
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		case h.failure == "skip":
			h.env.warnAs("stanza", fmt.Sprintf("%v: skipped", err))
			return errSkipped
		}
		return err
	}
}

// try runs the command for a result once. It returns an exit.Error only if the command
// fails.
func (h *handler) try(ctx context.Context, s *xmpp.Session, f facts, r output.Record, try int) error {
	if h.owed == nil || h.owedTo != f || f.id == "" {
		reply, err := h.answer(ctx, f, r, try)
		if err != nil || reply == nil {
			return err
		}
		h.owed, h.owedTo = reply, f
	}
	soon, cancel := xmpp.WithTimeout(ctx, h.each)
	defer cancel()
	err := s.Flush(soon, h.owed)
	if errors.Is(err, xmpp.ErrTooLarge) {
		h.owed = nil
		return h.failed(f, fmt.Errorf("its output cannot be a reply: %w", err))
	}
	if err != nil {
		return fmt.Errorf("reply to %s: %w", f, err)
	}
	h.owed = nil
	return nil
}

// answer runs the command, and returns the reply, if any.
func (h *handler) answer(ctx context.Context, f facts, r output.Record, try int) (*xmpp.Element, error) {
	h.env.trace("running %s for %s", h.args[0], f)
	out, err := h.run(ctx, f, r, try)
	if ctx.Err() != nil && err != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, h.failed(f, err)
	}
	m, ok := r.(*messageRecord)
	if !h.reply || out == "" || !ok || !m.answerable() {
		return nil, nil
	}
	if err = xmpp.CheckText(out); err == nil && escapedSize(out) > maxReplyXML {
		err = fmt.Errorf("it has more than %d KiB as XML", maxReplyXML>>10)
	}
	if err != nil {
		return nil, h.failed(f, fmt.Errorf("its output cannot be a reply: %w", err))
	}
	return newReply(m, out), nil
}

// failed is the error of a command that has not handled a result. The message stays
// unacked, and so do all that come after it.
func (h *handler) failed(f facts, err error) error {
	e := &exit.Error{Code: exit.No, Class: "stanza", Err: fmt.Errorf("%s: %s: %w", f, h.args[0], err)}
	if f.kind == "message" {
		e.Hint = "the message is not acknowledged: the next listener gets it again"
	}
	return e
}

// run runs the command and returns the text of the reply.
func (h *handler) run(ctx context.Context, f facts, r output.Record, try int) (string, error) {
	stdin, err := output.AppendJSON(nil, r)
	if err != nil {
		return "", err
	}
	run, cancel := withTimeout(ctx, h.timeout)
	defer cancel()
	reply := &replyBuffer{}
	c := &child.Child{
		Path: h.path, Args: h.args,
		Env:    append(h.environ[:len(h.environ):len(h.environ)], f.variables(try)...),
		Stdin:  bytes.NewReader(append(stdin, '\n')), // it is no error if CMD does not read it
		Stdout: h.env.Out, Stderr: h.env.Err,
		Group: true, Grace: func() time.Duration { return patience(ctx) }, Linger: closeAfter,
	}
	if h.reply {
		c.Stdout = reply
	}
	err = c.Run(run)
	switch {
	case reply.full:
		return "", fmt.Errorf("it printed more than %d KiB, too much for a reply", maxReply>>10)
	case ctx.Err() == nil && run.Err() != nil && err != nil:
		return "", fmt.Errorf("it took longer than --exec-timeout %s", &h.timeout)
	case err != nil:
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(reply.String(), "\n"), "\r"), nil
}

// patience is how long a command may take to end by itself.
func patience(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return killAfterStop
	}
	return killAfter
}

// A replyBuffer collects the output of a command up to a limit.
type replyBuffer struct {
	strings.Builder
	full bool
}

func (b *replyBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxReply {
		b.full = true
		return 0, errors.New("too large")
	}
	return b.Builder.Write(p)
}

// facts are what the environment of a command, and errors, show of a result.
type facts struct{ kind, from, typ, id, body string }

func factsOf(r output.Record) facts {
	switch r := r.(type) {
	case *messageRecord:
		f := facts{r.Kind, r.From, r.Type, r.ID, ""}
		if r.Body != nil {
			f.body = *r.Body
		}
		return f
	case *presenceRecord:
		return facts{r.Kind, r.From, r.Type, r.ID, ""}
	case *iqRecord:
		return facts{r.Kind, r.From, r.Type, r.ID, ""}
	}
	return facts{}
}

func (f facts) String() string {
	return fmt.Sprintf("%s %s of %s", f.kind, cmp.Or(truncate(f.id, 100), "without an id"), quote(f.from))
}

// variables always returns the same names, so that a script need not check which are
// set.
func (f facts) variables(try int) []string {
	return []string{
		"XMPP_FROM=" + truncate(f.from, maxVariable), "XMPP_TYPE=" + truncate(f.typ, maxVariable),
		"XMPP_ID=" + truncate(f.id, maxVariable), "XMPP_BODY=" + truncate(f.body, maxVariable),
		"XMPP_TRY=" + strconv.Itoa(try),
	}
}

// truncate cuts a text to at most max bytes, between two characters.
func truncate(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

// answerable reports whether a program may reply to a message. Not to an error, which
// could start a loop (RFC 6120, section 8.3.1); not to a message for many, from this
// account, or without text, such as a receipt. It may reply to a stored message: its
// sender still waits.
func (r *messageRecord) answerable() bool {
	asks := said(r.Body) || r.Body == nil && (said(r.Subject) || r.URL != "" || r.Encrypted != "" || r.attention)
	return asks && (r.Type == "chat" || r.Type == "normal") && !r.Self && r.Carbon == "" && !r.nowhere
}

// newReply makes a reply to the sender, in the same conversation (RFC 6121, sections
// 5.1 and 5.2.5).
func newReply(m *messageRecord, body string) *xmpp.Element {
	reply := xmpp.NewElement(xmpp.NSClient, "message", "to", m.From, "type", m.Type, "id", xmpp.NewID())
	xmpp.Add(reply, xmpp.NewText(xmpp.NSClient, "body", body))
	if m.Thread != "" && len(m.Thread) <= maxThread {
		xmpp.Add(reply, xmpp.NewText(xmpp.NSClient, "thread", m.Thread))
	}
	return reply
}
