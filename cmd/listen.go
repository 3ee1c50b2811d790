package cmd

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"regexp/syntax"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

type listener struct {
	env         *Env
	count       int
	total       duration
	idle        duration
	only        []string
	match       string
	priority    int
	noPresence  bool
	xml         bool
	carbons     bool
	durable     string
	keepAlive   duration
	noReconnect bool
	others      bool // not the presence of this session itself
	receipts    bool
	fresh       bool
	handler     handler

	from     map[xmpp.JID]bool // empty: anyone
	kinds    map[string]bool
	messages bool // of any kind are wanted
	pattern  *regexp.Regexp
	printed  int

	waiting   context.Context // ends when nothing more is waited for; a command that runs is not ended by it
	stop      context.CancelCauseFunc
	idleTimer *time.Timer

	at          *position
	fence       *fence          // nil where what was stored is wanted
	connected   bool            // there was a session
	listening   bool            // the session works: what arrives is handed on
	trouble     trouble         // of the sessions before
	elsewhere   string          // where the server has sent us
	malformed   int             // streams in a row that ended in what is no XML, without a stanza
	pending     []string        // ids of what was handed on, and may not be written yet
	owed        []*xmpp.Element // receipts, once what was handed on is final
	uncommitted int             // stanzas that were taken since that was
}

func newListenCmd(env *Env) *cobra.Command {
	l := &listener{env: env, handler: handler{env: env}, keepAlive: duration(time.Minute)}
	cmd := &cobra.Command{
		Use: "listen [flags] [JID...] [-- CMD ARG...]",
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
	fs.Var(&l.total, "for", "stop after `DURATION`")
	fs.Var(&l.idle, "idle", "stop after `DURATION` without a result")
	fs.StringSliceVar(&l.only, "only", []string{"message"}, "print these `KINDS`: message, receipt, marker, error, presence, iq")
	fs.StringVar(&l.match, "match", "", "print only messages whose body matches the regular expression `RE`")
	fs.IntVar(&l.priority, "priority", 0, "be available with priority `N`, -128 to 127; below 0 the server delivers no messages to the bare JID here")
	fs.BoolVar(&l.noPresence, "no-presence", false, "do not become available")
	fs.BoolVar(&l.carbons, "carbons", false, "also print what other sessions of the account send and receive")
	fs.BoolVar(&l.receipts, "answer-receipts", false, "send a receipt for each printed message that asks for one (XEP-0184)")
	fs.BoolVar(&l.xml, "xml", false, "also print the XML of each stanza")
	fs.BoolVar(&l.fresh, "new", false, "leave out messages that were stored before listen started")
	fs.StringVar(&l.durable, "durable", "", "continue where the last listener with this `NAME` stopped, even if it was killed")
	fs.BoolVar(&l.noReconnect, "no-reconnect", false, "end when the connection is lost")
	fs.Var(&l.keepAlive, "keepalive", "notice a dead connection within `DURATION`, at least 1s")
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
	o, err := l.env.ownAccount(cmd.Context())
	if err != nil {
		return err
	}
	l.noteNames(o.JID)
	o.HandleIQ = answerRequest
	if l.receipts {
		o.HandleIQ = answerReceiver
	}
	if l.fresh {
		l.fence = new(fence)
	}
	o.Take = func(e *xmpp.Element) bool {
		if e.Tag == "iq" {
			return l.kinds["iq"] // a flood of requests is not kept
		}
		return e.Tag != "message" || !l.fence.leavesOut(o.JID, e)
	}
	o.Manage, o.Pause, o.KeepAlive = true, true, time.Duration(l.keepAlive)
	if l.at = newPosition(o.JID); l.durable != "" {
		if l.at, err = l.env.openPosition(l.durable, o.JID); err != nil {
			return err
		}
		defer l.at.close()
		o.Resumable = resumableFor
	}
	l.env.lastUntilStopped()
	whole, cancel := l.env.withinTimeout(cmd.Context())
	defer cancel()
	ctx, stop := l.env.whileRead(whole)
	defer stop()
	l.waiting, l.stop = context.WithCancelCause(ctx)
	l.env.stdout.Until(l.waiting)
	l.env.wholeLines()
	err = l.stay(ctx, o)
	return l.outcome(cmd.Context(), err)
}

// noteNames warns of senders that may be people, or a CMD.
func (l *listener) noteNames(account xmpp.JID) {
	for jid := range l.from {
		if _, err := exec.LookPath(jid.Domain); err == nil && isWord(account, jid) {
			l.env.noteName(jid.Domain, "CMD goes after --, as in listen ... -- "+jid.Domain)
			continue
		}
		l.env.noteNames(account, jid)
	}
}

func (l *listener) check(cmd *cobra.Command, args []string) error {
	targets, err := l.env.targets(args)
	if err != nil {
		return err
	}
	l.from = make(map[xmpp.JID]bool)
	for _, t := range targets {
		l.from[t.jid.Bare()], l.from[t.typed.Bare()] = true, true
	}
	l.kinds = make(map[string]bool)
	for _, kind := range l.only {
		switch kind {
		case "message", "receipt", "marker", "error":
			l.messages = true
		case "presence", "iq":
		default:
			return exit.Usagef("--only: %q: want message, receipt, marker, error, presence or iq", kind)
		}
		l.kinds[kind] = true
	}
	if l.pattern, err = regexp.Compile(l.match); err != nil {
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			return exit.Usagef("--match: %s: %q", e.Code, e.Expr)
		}
		return exit.Usagef("--match: %w", err)
	}
	switch {
	case len(l.only) == 0:
		return exit.Usagef("--only: want at least one of message, receipt, marker, error, presence, iq")
	case cmd.Flags().Changed("count") && l.count < 1:
		return exit.Usagef("--count: want at least 1")
	case cmd.Flags().Changed("for") && l.total == 0, cmd.Flags().Changed("idle") && l.idle == 0:
		return exit.Usagef("--for, --idle: want a duration above 0")
	case l.priority < -128 || l.priority > 127:
		return exit.Usagef("--priority: want -128 to 127")
	case cmd.Flags().Changed("durable") && !durableName(l.durable):
		return exit.Usagef("--durable: want at most 64 letters, digits, or any of . _ -")
	case l.durable != "" && l.fresh:
		return exit.Usagef("--durable and --new exclude each other")
	case l.durable != "" && l.env.flags.noCache:
		return exit.Usagef("--durable and --no-cache exclude each other")
	case time.Duration(l.keepAlive) < time.Second:
		return exit.Usagef("--keepalive: want at least 1s")
	case l.noPresence && cmd.Flags().Changed("priority"):
		return exit.Usagef("--priority and --no-presence exclude each other")
	}
	return nil
}

// Why listening ended, where that is not an error.
var (
	errElapsed = errors.New("the time is over")
)

// outcome turns the reason that ended the listening into the answer of the command.
func (l *listener) outcome(ctx context.Context, err error) error {
	write, written := errors.AsType[*output.WriteError](err)
	switch {
	case err == nil, errors.Is(err, errReaderGone), ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil
	case written && errors.Is(write, syscall.EPIPE):
		return nil
	case errors.Is(err, errElapsed) && !l.listening:
		return l.keptAway(err)
	case errors.Is(err, errElapsed) && l.count > 0:
		return exit.Negative(fmt.Sprintf("timed out: %d of %d results arrived", l.printed, l.count))
	case errors.Is(err, errElapsed):
		return nil
	}
	return err
}

// An arrival is a stanza for the listener.
type arrival struct {
	stanza *xmpp.Element
	carbon string // sent or received, if it came in a carbon copy
	id     string // in the archive, "" if it is not there
}

// unpack takes what arrived out of what it came in. It reports false for what nobody is
// to see: a forged carbon copy, which has a place in the archive all the same, or a result
// of no query (XEP-0313, section 8).
func (l *listener) unpack(own xmpp.JID, e *xmpp.Element) (a arrival, ok bool) {
	if xep.IsArchiveResult(own, e) {
		return a, false
	}
	a.stanza, ok = e, true
	if e.Tag == "message" && xep.IsCarbon(e) {
		var copied *xmpp.Element
		if copied, a.carbon = xep.OpenCarbon(own, e, l.carbons); copied != nil {
			a.stanza = copied
		} else {
			ok = false
		}
	}
	if l.at.HasIDs {
		a.id = xep.StanzaID(own, a.stanza)
	}
	return a, ok
}

// record makes the result of a stanza, or nil where it is none of the wanted ones.
func (l *listener) record(own xmpp.JID, got arrival) output.Record {
	e := got.stanza
	from, _ := xmpp.Sender(e, own) // the zero JID if it is no address, which is nobody's
	if e.Tag != "message" && !l.kinds[e.Tag] || !l.wanted(from) || l.others && from == own {
		return nil
	}
	a := newAddressed(own, e, from)
	if l.xml {
		if b, err := xmpp.XML(e); err == nil {
			a.XML = output.OneLine(b)
		}
	}
	switch e.Tag {
	case "message":
		m := newMessageRecord(a, own, e)
		m.Carbon, m.StanzaID = got.carbon, got.id
		if !m.is(l.kinds) {
			return nil
		}
		return m
	case "presence":
		if !knownPresence(a.typ) {
			return nil
		}
		return newPresenceRecord(a, e)
	}
	return newIQRecord(a, e)
}

// matched reports whether a result is one that --match selects.
func (l *listener) matched(r output.Record) (bool, error) {
	if l.match == "" {
		return true, nil
	}
	m, ok := r.(*messageRecord)
	if !ok || m.Body == nil {
		return false, nil
	}
	ok, err := matches(l.waiting, l.pattern, *m.Body)
	if err == errSlowMatch {
		l.env.warn("skipped a message from %s: %v", quote(m.FromBare), err)
		return false, nil
	}
	return ok, err
}

// wanted reports whether the JIDs select a sender. They select whom they name as they were
// typed, and whom RFC 7622 takes for the same account.
func (l *listener) wanted(from xmpp.JID) bool {
	if len(l.from) == 0 || l.from[from.Bare()] {
		return true
	}
	normal, err := xmpp.ParseJID(from.Bare().String())
	return err == nil && l.from[normal]
}

const nsVersion = "jabber:iq:version" // XEP-0092

// answerRequest answers the requests that a listener answers; whatever else is
// asked, and of whomever, is refused alike.
func answerRequest(_ context.Context, iq *xmpp.Element) *xmpp.Element {
	return answerAs(iq, xmpp.NSDiscoInfo, xmpp.NSPing, nsVersion, xep.NSTime)
}

// answerReceiver is answerRequest of a listener that sends receipts.
func answerReceiver(_ context.Context, iq *xmpp.Element) *xmpp.Element {
	return answerAs(iq, xmpp.NSDiscoInfo, xmpp.NSPing, nsVersion, xep.NSTime, xep.NSReceipts)
}

// answerAs answers as one that has these features.
func answerAs(iq *xmpp.Element, features ...string) *xmpp.Element {
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
			for _, feature := range features {
				xmpp.Add(info, xmpp.NewElement(xmpp.NSDiscoInfo, "feature", "var", feature))
			}
			return xmpp.Result(iq, info)
		case xmpp.Is(payload, nsVersion, "query"):
			return xmpp.Result(iq, xmpp.Add(xmpp.NewElement(nsVersion, "query"),
				xmpp.NewText(nsVersion, "name", "xmppkit"), xmpp.NewText(nsVersion, "version", programVersion())))
		case xmpp.Is(payload, xep.NSTime, "time"):
			return xmpp.Result(iq, xmpp.Add(xmpp.NewElement(xep.NSTime, "time"),
				xmpp.NewText(xep.NSTime, "tzo", "+00:00"), xmpp.NewText(xep.NSTime, "utc", time.Now().UTC().Format(time.RFC3339))))
		}
	}
	return nil
}
