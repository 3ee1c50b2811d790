package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/xmpp"
)

func newRosterCmd(env *Env) *cobra.Command {
	l := &lister{env: env}
	cmd := &cobra.Command{
		Use:  "roster [flags]",
		Args: noArgs,
		RunE: l.run,
	}
	list := &cobra.Command{
		Use:  "list [flags]",
		Args: flags.Args(0, 0, ""),
		RunE: l.run,
	}
	for _, c := range []*cobra.Command{cmd, list} {
		c.Flags().StringVar(&l.group, "group", "", "list only the contacts in `GROUP`")
		c.Flags().StringVar(&l.subscription, "subscription", "", "list only the contacts with the subscription `STATE`: none, to, from or both")
		c.Flags().BoolVar(&l.presence, "presence", false, "also show where they are online; meanwhile contacts see this session, which gets no messages")
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(list, newRosterAddCmd(env), newRosterRemoveCmd(env))
	return cmd
}

// noArgs allows no arguments except names of subcommands.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		err := flags.UnknownCommand(cmd, args[0])
		if cmd.Name() == "roster" && strings.Contains(args[0], "@") {
			err.Hint = "did you mean xmppkit roster add " + shellQuoted(args[0]) + "?"
		}
		return err
	}
	return nil
}

type lister struct {
	env          *Env
	group        string
	subscription string
	presence     bool
}

func (l *lister) run(cmd *cobra.Command, _ []string) error {
	switch l.subscription {
	case "", "none", "to", "from", "both":
	default:
		return exit.Usagef("--subscription: %q: want none, to, from or both", l.subscription)
	}
	o, err := l.env.account(cmd.Context())
	if err != nil {
		return err
	}
	var more []*xmpp.Element
	if l.presence {
		more = append(more, newPresence("", "", onlooker))
	}
	return l.env.withPeople(cmd.Context(), o, nil, more, l.list)
}

func (l *lister) list(ctx context.Context, p *people) error {
	if l.presence {
		if err := p.learn(ctx, p.settle()); err != nil {
			return err
		}
	}
	for _, c := range p.roster.Sorted() {
		if l.group != "" && !slices.Contains(c.Groups, l.group) || l.subscription != "" && c.Subscription != l.subscription {
			continue
		}
		item := newRosterItem(c)
		if l.presence {
			item.Resources = p.resources(c.JID)
		}
		if err := l.env.out.Print(item); err != nil {
			return err
		}
	}
	return l.env.out.Flush()
}

// resources returns where a contact is online; it never returns nil.
func (p *people) resources(contact xmpp.JID) []resource {
	there := []resource{}
	for _, r := range p.online(contact) {
		_, name, _ := strings.Cut(r.From, "/")
		there = append(there, resource{name, r.Show, r.Status, r.Priority})
	}
	return there
}

type adder struct {
	env       *Env
	to        xmpp.JID
	name      string
	in, out   []string // groups to add and to remove
	all       []string // or all of them
	subscribe bool
	flags     interface{ Changed(name string) bool } // which of them were given
}

func newRosterAddCmd(env *Env) *cobra.Command {
	a := &adder{env: env}
	cmd := &cobra.Command{
		Use:  "add [flags] JID",
		Args: flags.Args(1, 1, "JID"),
		RunE: a.run,
	}
	cmd.Flags().StringVar(&a.name, "name", "", "the `NAME` to show for the contact")
	cmd.Flags().StringArrayVar(&a.in, "group", nil, "add the contact to `GROUP`; repeatable")
	cmd.Flags().StringArrayVar(&a.out, "ungroup", nil, "remove the contact from `GROUP`; repeatable")
	cmd.Flags().StringArrayVar(&a.all, "set-group", nil, "replace all groups of the contact with `GROUP`; repeatable, '' for none")
	cmd.Flags().BoolVar(&a.subscribe, "subscribe", false, "also ask to see the contact's presence")
	a.flags = cmd.Flags()
	return cmd
}

func (a *adder) run(cmd *cobra.Command, args []string) error {
	a.env.finishes()
	if err := a.check(); err != nil {
		return err
	}
	o, err := a.env.account(cmd.Context())
	if err != nil {
		return err
	}
	if a.to, err = a.env.contactArg(args[0], o.JID); err != nil {
		return err
	}
	return a.env.withPeople(cmd.Context(), o, []xmpp.JID{a.to}, nil, a.add)
}

// check refuses invalid flags.
func (a *adder) check() error {
	for _, text := range slices.Concat([]string{a.name}, a.in, a.out, a.all) {
		if err := xmpp.CheckText(text); err != nil {
			return exit.Dataf("--name, --group, --ungroup, --set-group: %w", err)
		}
	}
	for _, g := range a.in {
		if slices.Contains(a.out, g) {
			return exit.Usagef("--group and --ungroup of %q cannot be combined", g)
		}
	}
	switch {
	case a.flags.Changed("set-group") && (a.flags.Changed("group") || a.flags.Changed("ungroup")):
		return exit.Usagef("--set-group cannot be combined with --group or --ungroup")
	case slices.Contains(a.in, ""), slices.Contains(a.out, ""):
		err := exit.Usagef("--group, --ungroup: want the name of a group")
		err.Hint = "--set-group '' removes the contact from all groups"
		return err
	}
	return nil
}

// groups returns the new groups of a contact, sorted and without duplicates.
func (a *adder) groups(now []string) []string {
	if a.flags.Changed("set-group") {
		now = a.all
	}
	now = slices.Concat(now, a.in)
	slices.Sort(now)
	return slices.DeleteFunc(slices.Compact(now), func(g string) bool {
		return slices.Contains(a.out, g) || g == "" && a.flags.Changed("set-group")
	})
}

func (a *adder) add(ctx context.Context, p *people) error {
	c := p.contact(a.to)
	if a.flags.Changed("name") {
		c.Name = a.name
	}
	c.Groups = a.groups(c.Groups)
	if err := p.change(ctx, c); err != nil {
		return fmt.Errorf("add %s: %w", a.to, err)
	}
	if c.JID = p.named(a.to); !p.pushed[c.JID] {
		p.roster.Contacts[c.JID] = c // confirmed, but nothing changed
	}
	if a.subscribe && !c.To() {
		if err := p.tell(ctx, c.JID, "subscribe", asked); err != nil {
			return err
		}
	}
	if err := a.env.print(newRosterItem(p.contact(c.JID))); err != nil {
		return err
	}
	return p.refusal(c.JID)
}

func newRosterRemoveCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:  "remove [flags] JID",
		Args: flags.Args(1, 1, "JID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			env.finishes()
			o, err := env.account(cmd.Context())
			if err != nil {
				return err
			}
			jid, err := env.contactArg(args[0], o.JID)
			if err != nil {
				return err
			}
			return env.withPeople(cmd.Context(), o, nil, nil, func(ctx context.Context, p *people) error {
				return env.removeContact(ctx, p, jid)
			})
		},
	}
}

func (env *Env) removeContact(ctx context.Context, p *people, jid xmpp.JID) error {
	jid = p.named(jid)
	c, ok := p.roster.Contacts[jid]
	c.Subscription = "remove"
	if ok {
		err := p.change(ctx, xmpp.Contact{JID: jid, Subscription: "remove"})
		if e, refused := errors.AsType[*xmpp.StanzaError](err); refused && e.Condition == xmpp.ItemNotFound {
			ok, err = false, nil // another client removed it first
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", jid, err)
		}
	}
	if !ok {
		return exit.Negative(fmt.Sprintf("%s: there is no contact %s", p.s.JID().Bare(), jid))
	}
	return env.print(newRosterItem(c))
}
