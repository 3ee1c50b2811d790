package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/xmpp"
)

type setter struct {
	env      *Env
	show     string
	status   string
	priority int
	to       string
	clocks   clocks // --for

	jid xmpp.JID // of to
}

func newPresenceSetCmd(env *Env) *cobra.Command {
	p := &setter{env: env}
	cmd := &cobra.Command{
		Use:  "set [flags]",
		Args: flags.Args(0, 0, ""),
		RunE: p.run,
	}
	cmd.Flags().Var(flags.OneOf{Value: &p.show, Of: []cobra.Completion{"chat\tfree to chat", "away\taway for a moment", "xa\taway for a long time", "dnd\tdo not disturb"}}, "show", "the `STATE` to show: chat, away, xa (away for a long time) or dnd (do not disturb)")
	cmd.Flags().StringVar(&p.status, "status", "", "the status `TEXT` to show")
	cmd.Flags().IntVar(&p.priority, "priority", onlooker, "the priority `N`, -128 to 127; at 0 or more the server delivers messages to this session")
	cmd.Flags().StringVar(&p.to, "to", "", "show it only to `JID`")
	cmd.Flags().Var(&p.clocks.total, "for", "stop after `DURATION`")
	return cmd
}

func (p *setter) run(cmd *cobra.Command, _ []string) error {
	p.env.finishes()
	presence, err := p.presence(cmd)
	if err == nil {
		err = p.env.needOutput()
	}
	if err != nil {
		return err
	}
	o, err := p.env.login(cmd.Context(), stay{lasts: true, own: true})
	if err != nil {
		return err
	}
	p.env.noteNames(o.JID, p.jid)
	o.HandleIQ, o.KeepAlive = responder().Answer, time.Minute
	o.Take = func(e *xmpp.Element) bool { return e.Tag == "presence" && xmpp.Attr(e, "type") == "error" }
	ctx, cancel := o.limits.bound(cmd.Context())
	defer cancel()
	ctx = p.clocks.over(ctx)
	p.env.stdout.Until(ctx)
	h := &holder{setter: p, limits: o.limits, stanza: presence, backoff: xmpp.Backoff{Start: time.Second, Max: time.Minute}}
	err = h.run(ctx, o.Options)
	if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// presence makes the presence of the flags.
func (p *setter) presence(cmd *cobra.Command) (*xmpp.Element, error) {
	if cmd.Flags().Changed("for") && p.clocks.total == 0 {
		return nil, exit.Usagef("--for: want a duration above 0")
	}
	if p.priority < -128 || p.priority > 127 {
		return nil, exit.Usagef("--priority: want -128 to 127")
	}
	if err := xmpp.CheckText(p.status); err != nil {
		return nil, exit.Dataf("--status: %w", err)
	}
	presence := newPresence(p.show, p.status, p.priority)
	if cmd.Flags().Changed("to") {
		t, err := p.env.target(p.to)
		if err != nil {
			return nil, err
		}
		p.jid = t.jid
		presence.CreateAttr("to", t.jid.String())
		presence.CreateAttr("id", xmpp.NewID())
	}
	return presence, nil
}

// A holder keeps a presence shown over consecutive sessions.
type holder struct {
	*setter
	limits  limits
	stanza  *xmpp.Element
	redial  xmpp.Redial
	backoff xmpp.Backoff

	started time.Time // the session
	shown   bool      // in any
	showing bool      // in this one
	refused bool      // by whom it is for
}

func (h *holder) run(ctx context.Context, o xmpp.Options) error {
	account := o.JID.Bare()
	h.redial = xmpp.Redial{
		Login: o,
		Again: func(err error) (time.Duration, bool) { return h.again(ctx, err) },
		Away:  func(err error) { h.env.warn("%v; trying again", err) },
		Back:  func() { h.env.warn("%s: reconnected", account) },
	}
	err := h.redial.Run(ctx, func(ctx context.Context, o xmpp.Options) error {
		h.started, h.showing = time.Now(), false
		return h.env.session(ctx, login{o, h.limits}, h.hold)
	})
	switch trouble := h.redial.Trouble(); {
	case !errors.Is(err, errElapsed):
		return err
	case trouble != nil:
		return trouble
	case !h.showing:
		return notReady(err)
	}
	return nil
}

// again reports whether to try another session after one that ended with err. If the first
// login fails, that is the result.
func (h *holder) again(ctx context.Context, err error) (time.Duration, bool) {
	if !h.shown || h.refused || xmpp.RedirectOf(err) == "" && !isPassing(ctx, err) {
		return 0, false
	}
	if time.Since(h.started) > time.Minute {
		h.backoff.Reset()
		h.redial.Renew()
	}
	h.limits = h.limits.again()
	return h.backoff.Next(), true
}

// hold sends the presence, prints it once the server has accepted it, and waits.
func (h *holder) hold(ctx context.Context, s *xmpp.Session) error {
	if !h.shown {
		h.clocks.start(0)
	}
	soon, cancel := xmpp.WithTimeout(ctx, h.limits.each)
	defer cancel()
	if err := s.Flush(soon, h.stanza); err != nil {
		return err
	}
	h.showing = true
	h.redial.Works()
	if !h.shown {
		h.shown = true
		if err := h.env.print(newPresenceRecord(newAddressed(s.JID(), h.stanza, s.JID()), h.stanza)); err != nil {
			return err
		}
	}
	if !h.jid.IsZero() {
		defer h.takeLeave(ctx, s)
	}
	for e, err := range s.Stanzas(ctx) {
		if e == nil {
			return err
		}
		if e.Tag == "presence" && s.Bounced(e, h.jid, xmpp.Attr(h.stanza, "id")) {
			h.refused = true
			return fmt.Errorf("presence to %s: %w", h.jid, xmpp.ErrorOf(e))
		}
	}
	return nil
}

// farewell limits how long it may take to send the final presence.
const farewell = 500 * time.Millisecond

// takeLeave sends unavailable to the one address that saw the presence. On ejabberd
// 23.01 the end of the session does not do that if nobody else saw a presence.
func (p *setter) takeLeave(ctx context.Context, s *xmpp.Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_ = s.Send(ctx, xmpp.NewElement(xmpp.NSClient, "presence", "to", p.jid.String(), "type", "unavailable"))
}
