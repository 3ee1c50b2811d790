package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/output"
	"xmppkit/xmpp"
)

func newPresenceCmd(env *Env) *cobra.Command {
	w := &watcher{env: env}
	cmd := &cobra.Command{
		Use: "presence [flags] [JID...]",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !strings.ContainsAny(args[0], "@.:") && len(cmd.SuggestionsFor(args[0])) > 0 {
				return flags.UnknownCommand(cmd, args[0]) // rather than the address of a server called wacth
			}
			return nil
		},
		RunE: w.run,
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.Flags().Var(&w.settle, "settle", "wait `DURATION` after the last presence (default 500ms, or 2s if somebody is at another server)")
	cmd.AddCommand(newPresenceWatchCmd(env), newPresenceSetCmd(env))
	for _, say := range sayings() {
		cmd.AddCommand(say.command(env))
	}
	return cmd
}

type watcher struct {
	env    *Env
	settle flags.Duration
	given  bool // settle
	names  []xmpp.JID
}

func (w *watcher) run(cmd *cobra.Command, args []string) error {
	targets, err := w.env.targets(args)
	if err != nil {
		return err
	}
	for _, t := range targets {
		w.names = append(w.names, t.jid)
	}
	if len(w.names) > 0 { // else it only lists
		w.env.finishes()
	}
	o, err := w.env.account(cmd.Context())
	if err != nil {
		return err
	}
	w.env.noteNames(o.JID, w.names...)
	w.given = cmd.Flags().Changed("settle")
	look := []*xmpp.Element{newPresence("", "", onlooker)}
	return w.env.withPeople(cmd.Context(), o, w.names, look, w.look)
}

func (w *watcher) look(ctx context.Context, p *people) error {
	settle := p.settle()
	if w.given {
		settle = time.Duration(w.settle)
	}
	interrupted := p.learn(ctx, settle)
	records, offline := w.records(p, interrupted == nil)
	for _, r := range records {
		if err := w.env.out.Print(r); err != nil {
			return err
		}
	}
	if err := w.env.out.Flush(); err != nil {
		return err
	}
	if interrupted == nil && offline {
		return exit.Negative("") // the lines say it
	}
	return interrupted
}

// records returns the presences of the named accounts, or without names those of the
// online contacts, and whether any named account is not online.
func (w *watcher) records(p *people, all bool) (records []*presenceRecord, offline bool) {
	if len(w.names) == 0 {
		for _, c := range p.roster.Sorted() {
			records = append(records, p.online(c.JID)...)
		}
	}
	for _, name := range w.names {
		there := p.online(name)
		records = append(records, there...)
		if len(there) == 0 && all {
			records, offline = append(records, p.absent(name)), true
		}
	}
	return records, offline
}

// absent is the record of somebody who is not online: with the error that came instead,
// with a note that there is no subscription, or with neither.
func (p *people) absent(jid xmpp.JID) *presenceRecord {
	if refused := p.refused[jid.Bare().Prepared()]; refused != nil {
		r := *refused.record
		r.From = jid.String()
		return &r
	}
	r := &presenceRecord{
		Kind: "presence", Time: output.Time(time.Now()), Type: "unavailable",
		From: jid.String(), FromBare: jid.Bare().String(), To: p.s.JID().String(),
	}
	own := p.s.JID().Bare()
	if c := p.contact(jid.Bare()); !c.To() && c.JID != own {
		r.Error = &stanzaError{Condition: "subscription-required", Type: "auth", Text: "this account does not see its presence", By: own.String()}
	}
	return r
}

// A saying is a request of the account to a contact about their subscriptions (RFC
// 6121, section 3).
type saying struct {
	name, typ string
	done      func(xmpp.Contact) bool // whether that state is the requested one
	failed    string                  // what to report if it is not
}

func sayings() []saying {
	return []saying{
		{"subscribe", "subscribe", asked, "the request was refused"},
		{"approve", "subscribed",
			func(c xmpp.Contact) bool { return c.From() || c.Approved }, "it has not asked, and the server cannot pre-approve it"},
		{"deny", "unsubscribed",
			func(c xmpp.Contact) bool { return !c.From() && !c.Approved }, "the server kept the approval"},
		{"unsubscribe", "unsubscribe",
			func(c xmpp.Contact) bool { return !asked(c) }, "the server did not end the subscription"},
	}
}

func (say saying) command(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:  say.name + " [flags] JID",
		Args: flags.Args(1, 1, "JID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			env.finishes()
			o, err := env.account(cmd.Context())
			if err != nil {
				return err
			}
			to, err := env.contactArg(args[0], o.JID)
			if err != nil {
				return err
			}
			return env.withPeople(cmd.Context(), o, []xmpp.JID{to}, nil, func(ctx context.Context, p *people) error { return env.say(ctx, p, say, to) })
		},
	}
}

func (env *Env) say(ctx context.Context, p *people, say saying, to xmpp.JID) error {
	to = p.named(to)
	done := func(xmpp.Contact) bool { return say.done(p.state(to, say)) }
	if err := p.tell(ctx, to, say.typ, done); err != nil {
		return err
	}
	if c, listed := p.roster.Contacts[p.named(to)]; listed && say.name == "deny" && p.s.PreApproves() {
		// Prosody 0.12.3 drops a pre-approval only when the item is replaced.
		if err := p.change(ctx, c); err != nil {
			return fmt.Errorf("deny %s: %w", to, err)
		}
	}
	c := p.state(to, say)
	if err := env.print(newSubscriptionRecord(say.typ, p.s.JID().Bare(), c)); err != nil {
		return err
	}
	if err := p.refusal(to); err != nil {
		return err
	}
	if !say.done(c) {
		return exit.Negative(fmt.Sprintf("%s: %s: %s", p.s.JID().Bare(), to, say.failed))
	}
	return nil
}

// state is the contact after the request. Prosody 0.12.3 does not show on the roster
// that a contact is pre-approved; there, a push of the contact is the proof.
func (p *people) state(to xmpp.JID, say saying) xmpp.Contact {
	c := p.contact(to)
	if say.name == "approve" && !c.From() && p.pushed[c.JID] && p.s.PreApproves() {
		c.Approved = true
	}
	return c
}
