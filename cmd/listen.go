package cmd

import (
	"cmp"
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
	carbons    bool
	others     bool // not the presence of this session itself

	from    map[xmpp.JID]bool // empty: anyone
	kinds   map[string]bool
	pattern *regexp.Regexp
	hasIDs  bool // the account announces nsSID
	printed int
}

func newListenCmd(env *Env) *cobra.Command {
	l := &listener{env: env}
	cmd := &cobra.Command{
		Use:   "listen [flags] [JID...]",
		Short: "Print what arrives until stopped",
		Long: `Listen becomes available and prints the messages that arrive, those that were
stored while the account was offline among them: of anyone, or of the JIDs.

Messages with nothing to show, such as typing notifications, are left out unless
--xml is given. With --carbons it also prints copies of what other sessions of the
account send and receive; by sender, the sent ones are of the account itself.

While it runs it answers disco#info, ping, version and time.

Exit codes: 0 stopped by SIGINT, SIGTERM or a reader that went away, --count
reached, or --for or --idle passed; 1 if --count was given and not reached by
then; 69 the server has no carbons; 75 the connection was lost; 124 --timeout
passed.`,
		Example: `  xmppkit listen
  xmppkit listen --json --count 1 --for 1m juliet@example.org | jq -r .body`,
		RunE: l.run,
	}
	fs := cmd.Flags()
	fs.IntVarP(&l.count, "count", "c", 0, "stop after `N` results")
	fs.Var(&l.total, "for", "stop after this `DURATION`")
	fs.Var(&l.idle, "idle", "stop after this `DURATION` without a result")
	fs.StringSliceVar(&l.only, "only", []string{"message"}, "the `KINDS` of stanzas to print: message, presence, iq")
	fs.StringVar(&l.match, "match", "", "print only messages whose body matches the regular expression `RE`")
	fs.IntVar(&l.priority, "priority", 0, "the priority `N` to be available with, -128 to 127; below 0 the server sends no messages to the bare JID")
	fs.BoolVar(&l.noPresence, "no-presence", false, "do not become available")
	fs.BoolVar(&l.carbons, "carbons", false, "print also what other sessions of the account send and receive")
	fs.BoolVar(&l.xml, "xml", false, "print the stanza as well")
	return cmd
}

func (l *listener) run(cmd *cobra.Command, args []string) error {
	if err := l.check(cmd, args); err != nil {
		return err
	}
	if err := l.env.needOutput(); err != nil {
		return err
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
	err = l.env.withSession(ctx, o, func(ctx context.Context, s *xmpp.Session) error { return l.listen(ctx, s, stop) })
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

// listen prints until ctx ends, the count is reached or the session is over.
func (l *listener) listen(ctx context.Context, s *xmpp.Session, stop context.CancelCauseFunc) error {
	l.env.stdout.ctx = ctx
	if l.total > 0 {
		defer time.AfterFunc(time.Duration(l.total), func() { stop(errElapsed) }).Stop()
	}
	rest := func() {}
	if l.idle > 0 {
		idle := time.AfterFunc(time.Duration(l.idle), func() { stop(errElapsed) })
		defer idle.Stop()
		rest = func() { idle.Reset(time.Duration(l.idle)) }
	}
	if err := l.begin(ctx, s); err != nil {
		return err
	}
	l.env.trace("listening")
	for e, err := range s.Stanzas(ctx) {
		if err != nil {
			return l.flush(err)
		}
		if r := l.unpack(s.JID(), e); r != nil {
			if err := l.env.out.Print(r); err != nil {
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

// begin sends what makes the session one that listens. What arrives before the
// answer to that waits in the session.
func (l *listener) begin(ctx context.Context, s *xmpp.Session) error {
	var first []*xmpp.Element
	if !l.noPresence {
		first = append(first, newPresence("", "", l.priority))
	}
	switch {
	case l.carbons:
	case l.noPresence:
		return nil
	default:
		return s.Send(ctx, first...)
	}
	ctx, cancel := withTimeout(ctx, l.env.flags.login)
	defer cancel()
	if _, err := s.Exchange(ctx, enableCarbons(), first...); err != nil {
		return fmt.Errorf("--carbons: %w", err)
	}
	return nil
}

func (l *listener) flush(err error) error {
	if e := l.env.out.Flush(); e != nil {
		return e
	}
	return err
}

// unpack makes the result of what arrived, or of what is in it if that is a carbon
// copy. It returns nil where it is none of the wanted ones.
func (l *listener) unpack(own xmpp.JID, e *xmpp.Element) output.Record {
	carbon, id := "", ""
	if e.Tag == "message" && len(copiesIn(e)) > 0 {
		if e, carbon = openCarbon(own, e, l.carbons); e == nil {
			return nil
		}
	}
	if l.hasIDs {
		id = stanzaID(own, e)
	}
	return l.record(own, e, carbon, id)
}

// record makes the result of a stanza, which came as a carbon copy or not, and has an
// id in the archive or not.
func (l *listener) record(own xmpp.JID, e *xmpp.Element, carbon, id string) output.Record {
	from, err := xmpp.ParseJID(cmp.Or(xmpp.Attr(e, "from"), own.Bare().String())) // RFC 6120, section 8.1.2.1
	if err != nil || !l.kinds[e.Tag] || len(l.from) > 0 && !l.from[from.Bare()] || l.others && from == own {
		return nil
	}
	a := newAddressed(own, e, from)
	if l.xml {
		if b, err := xmpp.XML(e); err == nil {
			a.XML = oneLine(b)
		}
	}
	switch e.Tag {
	case "message":
		m := newMessageRecord(a, own, e)
		m.Carbon, m.StanzaID = carbon, id
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
