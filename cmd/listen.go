package cmd

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/receive"
	"xmppkit/xmpp/xep"
)

const (
	// resumableFor is how long the server is asked to keep the session of a durable
	// listener.
	resumableFor = 10 * time.Minute

	// reportAfter is how long the connection is lost before listen reports it.
	reportAfter = time.Minute
)

// A listener is the state of listen or presence watch.
type listener struct {
	env         *Env
	want        selection
	clocks      clocks
	handler     handler
	count       int
	priority    int
	noPresence  bool
	carbons     bool
	durable     string
	keepAlive   flags.Duration
	noReconnect bool
	receipts    bool
	fresh       bool
	watch       *watched // nil for listen

	printed int
}

func newListener(env *Env) *listener {
	return &listener{env: env, handler: handler{env: env}, keepAlive: flags.Duration(time.Minute)}
}

func newListenCmd(env *Env) *cobra.Command {
	l := newListener(env)
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
	fs.Var(&l.clocks.total, "for", "stop after `DURATION`")
	fs.Var(&l.clocks.idle, "idle", "stop after `DURATION` without a result")
	fs.StringSliceVar(&l.want.only, "only", []string{"message"}, "print these `KINDS`: message, receipt, marker, error, presence, iq")
	fs.StringVar(&l.want.match, "match", "", "print only messages whose body matches the regular expression `RE`")
	fs.IntVar(&l.priority, "priority", 0, "be available with priority `N`, -128 to 127; below 0 this session gets no messages to the bare JID")
	fs.BoolVar(&l.noPresence, "no-presence", false, "do not become available")
	fs.BoolVar(&l.carbons, "carbons", false, "also print what other sessions of the account send and receive")
	fs.BoolVar(&l.receipts, "answer-receipts", false, "send a receipt for each printed message that asks for one (XEP-0184)")
	fs.BoolVar(&l.want.xml, "xml", false, "also print the XML of each stanza")
	fs.BoolVar(&l.fresh, "new", false, "leave out messages that were stored before listen started")
	fs.StringVar(&l.durable, "durable", "", "continue where the last listener with this `NAME` stopped, even if it was killed")
	fs.BoolVar(&l.noReconnect, "no-reconnect", false, "end when the connection is lost")
	fs.Var(&l.keepAlive, "keepalive", "notice a dead connection within `DURATION`, at least 1s")
	l.handler.addFlags(cmd)
	cmd.MarkFlagsMutuallyExclusive("durable", "new")
	cmd.MarkFlagsMutuallyExclusive("priority", "no-presence")
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
	login, err := l.env.login(cmd.Context(), stay{lasts: true, own: true})
	if err != nil {
		return err
	}
	l.want.noteNames(l.env, login.JID)
	l.clocks.limits, l.handler.each = login.limits, login.limits.each
	o, err := l.options(login.Options)
	if err != nil {
		return err
	}
	defer o.Position.Close()
	o.Wait = l.clocks.limits.each
	whole, cancel := l.clocks.limits.bound(cmd.Context())
	defer cancel()
	ctx, stop := l.env.whileRead(whole)
	defer stop()
	waiting := l.clocks.over(ctx)
	o.Temporary = func(err error) bool { return isPassing(waiting, err) }
	l.env.stdout.Until(waiting)
	l.env.wholeLines()
	r := receive.New(o)
	err = r.Run(ctx, waiting)
	return l.outcome(cmd.Context(), r, err)
}

func (l *listener) check(cmd *cobra.Command, args []string) error {
	if err := l.want.check(l.env, args); err != nil {
		return err
	}
	switch {
	case cmd.Flags().Changed("count") && l.count < 1:
		return exit.Usagef("--count: want at least 1")
	case cmd.Flags().Changed("for") && l.clocks.total == 0, cmd.Flags().Changed("idle") && l.clocks.idle == 0:
		return exit.Usagef("--for, --idle: want a duration above 0")
	case l.priority < -128 || l.priority > 127:
		return exit.Usagef("--priority: want -128 to 127")
	case cmd.Flags().Changed("durable") && !durableName(l.durable):
		return exit.Usagef("--durable: want at most 64 letters, digits, or any of . _ -")
	case l.durable != "" && l.env.flags.noCache:
		return exit.Usagef("--durable and --no-cache cannot be combined")
	case time.Duration(l.keepAlive) < time.Second:
		return exit.Usagef("--keepalive: want at least 1s")
	}
	return nil
}

// options turns the flags into options of the engine.
func (l *listener) options(login xmpp.Options) (receive.Options, error) {
	login.HandleIQ, login.KeepAlive = responder().Answer, time.Duration(l.keepAlive)
	if l.receipts {
		login.HandleIQ = responder(xep.NSReceipts).Answer
	}
	login.Take = func(e *xmpp.Element) bool { return e.Tag != "iq" || l.want.kinds["iq"] } // a flood of requests is not kept
	o := receive.Options{
		Position: receive.NewPosition(login.JID), Messages: l.want.messages, Carbons: l.carbons, New: l.fresh, Reconnect: !l.noReconnect,
		Patience: reportAfter, Connect: l.connect, Handle: l.handle, Tell: l.tell,
	}
	if !l.noPresence {
		o.Presence = newPresence("", "", l.priority)
	}
	if l.handler.path == "" {
		o.Flush = l.env.out.Flush
	}
	if l.watch != nil {
		o.Patience, o.Settled = 0, l.printGone
	}
	var err error
	if l.durable != "" {
		login.Resumable = resumableFor
		o.Position, err = l.env.openPosition(l.durable, login.JID)
	}
	o.Login = login
	return o, err
}

func (l *listener) connect(ctx context.Context, o xmpp.Options, do func(context.Context, *xmpp.Session) error) error {
	return l.env.session(ctx, login{o, l.clocks.limits}, do)
}

// handle prints an arrived stanza as a result, or runs the command for it.
func (l *listener) handle(ctx context.Context, s *xmpp.Session, a receive.Arrival) (receive.Verdict, error) {
	r := l.want.record(s.JID(), a)
	if r == nil || l.watch != nil && !l.watch.isNews(r) {
		return receive.Verdict{}, nil
	}
	if matched, err := l.matched(r); !matched {
		return receive.Verdict{}, err
	}
	skipped := false
	if l.handler.path == "" {
		if err := l.env.out.Print(r); err != nil {
			return receive.Verdict{}, err
		}
	} else {
		if err := context.Cause(l.clocks.waiting); err != nil {
			return receive.Verdict{}, err
		}
		l.clocks.pause() // a running command does not count as idle
		err := l.handler.handle(ctx, l.clocks.waiting, s, r)
		if skipped = err == errSkipped; err != nil && !skipped {
			return receive.Verdict{}, err
		}
	}
	v := receive.Verdict{Used: true}
	if m, ok := r.(*messageRecord); ok && l.receipts && !skipped && m.wantsReceipt() {
		v.After = newReceipt(m)
	}
	if l.printed++; l.printed == l.count {
		v.Enough = true
	} else {
		l.clocks.restart()
	}
	return v, nil
}

// matched reports whether --match selects a result.
func (l *listener) matched(r output.Record) (bool, error) {
	ok, err := l.want.matches(l.clocks.waiting, r)
	if err == errSlowMatch {
		l.env.warn("skipped a message from %s: %v", quote(r.(*messageRecord).FromBare), err)
		return false, nil
	}
	return ok, err
}

// clocks are --for and --idle.
type clocks struct {
	limits      limits
	total, idle flags.Duration

	waiting   context.Context // ends when the wait is over
	stop      context.CancelCauseFunc
	idleTimer *time.Timer
}

// errElapsed says that --for or --idle has passed.
var errElapsed = errors.New("the time is over")

// over makes the context that ends when --for or --idle has passed.
func (c *clocks) over(ctx context.Context) context.Context {
	c.waiting, c.stop = context.WithCancelCause(ctx)
	return c.waiting
}

// start starts the clocks. The login and catch-up before that have their own limits.
func (c *clocks) start(wait time.Duration) {
	if c.total > 0 {
		time.AfterFunc(time.Duration(c.total), func() { c.stop(errElapsed) })
	}
	if c.idle > 0 {
		c.idleTimer = time.AfterFunc(time.Duration(c.idle)+cmp.Or(wait, loginTimeout), func() { c.stop(errElapsed) })
	}
}

// pause stops the clock of --idle.
func (c *clocks) pause() {
	if c.idleTimer != nil {
		c.idleTimer.Stop()
	}
}

// restart restarts the clock of --idle.
func (c *clocks) restart() {
	if c.idleTimer != nil {
		c.idleTimer.Reset(time.Duration(c.idle))
	}
}
