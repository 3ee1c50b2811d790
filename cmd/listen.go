package cmd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/output"
	"xmppkit/xmpp"
)

type listener struct {
	env        *Env
	count      int
	total      duration
	idle       duration
	only       []string
	match      string
	priority   int
	noPresence bool
	xml        bool
	others     bool // not the presence of this session itself
	handler    handler

	from    map[xmpp.JID]bool // empty: anyone
	kinds   map[string]bool
	pattern *regexp.Regexp
	printed int
}

func newListenCmd(env *Env) *cobra.Command {
	l := &listener{env: env, handler: handler{env: env}}
	cmd := &cobra.Command{
		Use:   "listen [flags] [JID...] [-- CMD ARG...]",
		Short: "Print what arrives, or run CMD for it, until stopped",
		Long: `Listen becomes available and prints the messages that arrive, those that were
stored while the account was offline among them: of anyone, or of the JIDs.

Messages with nothing to show, such as typing notifications, are left out unless
--xml is given. While it runs it answers disco#info, ping, version and time.

With CMD nothing is printed: CMD is run for each result, one at a time and never
through a shell. It has the line of --json on its standard input, and XMPP_FROM,
XMPP_TYPE, XMPP_ID and XMPP_BODY in its environment, empty where there is nothing
and cut at 32 KiB, but no XMPP_PASSWORD, XMPP_PASSWORD_FILE or XMPP_PASSWORD_COMMAND.
All of that is what a sender has written: quote it, and let no shell parse it. As
anyone can send anything, CMD wants JIDs, or --anyone.

A CMD that fails, or takes longer than --exec-timeout, ends listen. Its message is
not acknowledged: the next listener gets it again. To end CMD, its process group is
sent SIGTERM, and SIGKILL if any of it is left after 2s, or after 200ms where listen
itself was stopped. --for and --idle wait until CMD has ended.

What CMD prints is printed or, with --reply, sent back as one message of at most
64 KiB, without the last line break; nothing printed, nothing sent. Only chat and
normal messages of others that say something are answered, those that were stored
while nobody listened among them. Beware of whom you answer: two programs that
answer each other do so for ever.

Exit codes: 0 stopped by SIGINT, SIGTERM or a reader that went away, --count
reached, or --for or --idle passed; 1 if --count was given and not reached by
then, or CMD failed; 75 the connection was lost; 124 --timeout passed; 126 CMD
cannot be run; 127 there is no CMD.`,
		Example: `  xmppkit listen
  xmppkit listen --json --count 1 --for 1m juliet@example.org | jq -r .body
  xmppkit listen juliet@example.org --reply --exec-timeout 10s -- uptime
  xmppkit listen --anyone -- sh -c 'printf "%s\n" "$XMPP_BODY" >>inbox'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			jids, err := l.handler.command(cmd, args)
			if err != nil {
				return err
			}
			return l.run(cmd, jids)
		},
	}
	fs := cmd.Flags()
	fs.IntVarP(&l.count, "count", "c", 0, "stop after `N` results")
	fs.Var(&l.total, "for", "stop after this `DURATION`")
	fs.Var(&l.idle, "idle", "stop after this `DURATION` without a result")
	fs.StringSliceVar(&l.only, "only", []string{"message"}, "the `KINDS` of stanzas to print: message, presence, iq")
	fs.StringVar(&l.match, "match", "", "print only messages whose body matches the regular expression `RE`")
	fs.IntVar(&l.priority, "priority", 0, "the priority `N` to be available with, -128 to 127; below 0 the server sends no messages to the bare JID")
	fs.BoolVar(&l.noPresence, "no-presence", false, "do not become available")
	fs.BoolVar(&l.xml, "xml", false, "print the stanza as well")
	l.handler.addFlags(cmd)
	return cmd
}

func (l *listener) run(cmd *cobra.Command, args []string) error {
	if err := l.check(cmd, args); err != nil {
		return err
	}
	if !l.handler.reply {
		if err := l.env.needOutput(); err != nil {
			return err
		}
	}
	o, err := l.env.account(cmd.Context())
	if err != nil {
		return err
	}
	o.HandleIQ = answerRequest
	l.env.lastUntilStopped(cmd)
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	if l.env.OutGone != nil {
		go func() {
			if l.env.OutGone(ctx) {
				stop(errReaderGone)
			}
		}()
	}
	err = l.env.withSession(ctx, o, func(ctx context.Context, s *xmpp.Session) error { return l.listen(ctx, s) })
	return l.outcome(cmd.Context(), err)
}

func (l *listener) check(cmd *cobra.Command, args []string) error {
	targets, err := parseTargets(args)
	if err != nil {
		return err
	}
	l.from = make(map[xmpp.JID]bool)
	for _, t := range targets {
		l.from[t.jid.Bare()] = true
	}
	l.kinds = make(map[string]bool)
	for _, kind := range l.only {
		switch kind {
		case "message", "presence", "iq":
			l.kinds[kind] = true
		default:
			return usageError("--only: %q is none of message, presence, iq", kind)
		}
	}
	if l.pattern, err = regexp.Compile(l.match); err != nil {
		return usageError("--match: %w", err)
	}
	switch {
	case len(l.only) == 0:
		return usageError("--only: want at least one of message, presence, iq")
	case cmd.Flags().Changed("count") && l.count < 1:
		return usageError("--count: want at least 1")
	case cmd.Flags().Changed("for") && l.total == 0, cmd.Flags().Changed("idle") && l.idle == 0:
		return usageError("--for, --idle: want a duration above 0")
	case l.priority < -128 || l.priority > 127:
		return usageError("--priority: want -128 to 127")
	case l.noPresence && cmd.Flags().Changed("priority"):
		return usageError("--priority and --no-presence exclude each other")
	}
	return nil
}

// Why listening ended, where that is not an error.
var (
	errReaderGone = errors.New("the reader of standard output is gone")
	errElapsed    = errors.New("time is over")
)

// outcome turns the reason that ended the listening into the answer of the command.
func (l *listener) outcome(ctx context.Context, err error) error {
	write, written := errors.AsType[*output.WriteError](err)
	switch {
	case err == nil, errors.Is(err, errReaderGone), ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil
	case written && errors.Is(write, syscall.EPIPE):
		return nil
	case errors.Is(err, errElapsed) && l.count > 0:
		return noError(fmt.Sprintf("%d of %d arrived before the time was over", l.printed, l.count))
	case errors.Is(err, errElapsed):
		return nil
	}
	return err
}

// listen prints, or runs the command, until ctx ends, the count is reached, the time or
// the session is over. The time is that of waiting: it does not end a command that runs.
func (l *listener) listen(ctx context.Context, s *xmpp.Session) error {
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	l.env.stdout.ctx = waiting
	if l.total > 0 {
		defer time.AfterFunc(time.Duration(l.total), func() { stop(errElapsed) }).Stop()
	}
	work, rest := func() {}, func() {}
	if l.idle > 0 {
		idle := time.AfterFunc(time.Duration(l.idle), func() { stop(errElapsed) })
		defer idle.Stop()
		work, rest = func() { idle.Stop() }, func() { idle.Reset(time.Duration(l.idle)) }
	}
	if !l.noPresence {
		if err := s.Send(ctx, newPresence("", "", l.priority)); err != nil {
			return err
		}
	}
	l.env.trace("listening")
	for e, err := range s.Stanzas(waiting) {
		if err != nil {
			return l.flush(err)
		}
		if r := l.record(s, e); r != nil {
			if l.handler.path == "" {
				err = l.env.out.Print(r)
			} else if err = context.Cause(waiting); err == nil {
				work()
				err = l.handler.handle(ctx, s, r)
			}
			if err != nil {
				return err
			}
			if l.printed++; l.printed == l.count {
				break
			}
			rest()
		}
		// What is ready together is written together; nothing that is ready waits
		// for what is not.
		if s.Queued() == 0 {
			if err := l.flush(nil); err != nil {
				return err
			}
		}
	}
	return l.flush(nil)
}

func (l *listener) flush(err error) error {
	if e := l.env.out.Flush(); e != nil {
		return e
	}
	return err
}

// record makes the result of a stanza, or nil where it is none of the wanted ones.
func (l *listener) record(s *xmpp.Session, e *xmpp.Element) output.Record {
	from, err := s.From(e)
	if err != nil || !l.kinds[e.Tag] || len(l.from) > 0 && !l.from[from.Bare()] || l.others && from == s.JID() {
		return nil
	}
	a := newAddressed(s, e, from)
	if l.xml {
		if b, err := xmpp.XML(e); err == nil {
			a.XML = oneLine(b)
		}
	}
	switch e.Tag {
	case "message":
		m := newMessageRecord(a, s, e)
		if m.empty() && !l.xml || l.match != "" && (m.Body == nil || !l.pattern.MatchString(*m.Body)) {
			return nil
		}
		return m
	case "presence":
		if l.match != "" || !knownPresence(a.typ) {
			return nil
		}
		return newPresenceRecord(a, e)
	}
	if l.match != "" {
		return nil
	}
	return newIQRecord(a, e)
}

const (
	nsVersion = "jabber:iq:version" // XEP-0092
	nsTime    = "urn:xmpp:time"     // XEP-0202
)

// answerRequest answers the requests that a listener answers; whatever else is
// asked, and of whomever, is refused alike.
func answerRequest(_ context.Context, iq *xmpp.Element) *xmpp.Element {
	if xmpp.Attr(iq, "type") != "get" {
		return nil
	}
	for payload := range xmpp.Elements(iq) {
		switch {
		case xmpp.Is(payload, xmpp.NSPing, "ping"):
			return xmpp.Result(iq)
		case xmpp.Is(payload, xmpp.NSDiscoInfo, "query") && xmpp.Attr(payload, "node") == "":
			info := xmpp.NewElement(xmpp.NSDiscoInfo, "query")
			xmpp.Add(info, xmpp.NewElement(xmpp.NSDiscoInfo, "identity", "category", "client", "type", "bot", "name", "xmppkit"))
			for _, feature := range []string{xmpp.NSDiscoInfo, xmpp.NSPing, nsVersion, nsTime} {
				xmpp.Add(info, xmpp.NewElement(xmpp.NSDiscoInfo, "feature", "var", feature))
			}
			return xmpp.Result(iq, info)
		case xmpp.Is(payload, nsVersion, "query"):
			return xmpp.Result(iq, xmpp.Add(xmpp.NewElement(nsVersion, "query"),
				xmpp.NewText(nsVersion, "name", "xmppkit"), xmpp.NewText(nsVersion, "version", version())))
		case xmpp.Is(payload, nsTime, "time"):
			return xmpp.Result(iq, xmpp.Add(xmpp.NewElement(nsTime, "time"),
				xmpp.NewText(nsTime, "tzo", "+00:00"), xmpp.NewText(nsTime, "utc", time.Now().UTC().Format(time.RFC3339))))
		}
	}
	return nil
}
