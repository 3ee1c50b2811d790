package cmd

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"xmppkit/cmd/config"
	"xmppkit/cmd/flags"
	"xmppkit/output"
)

func newAccountCmd(env *Env) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error { return env.listAccounts(cmd.Context()) }
	cmd := &cobra.Command{
		Use:  "account [flags]",
		Args: noArgs,
		RunE: list,
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(&cobra.Command{
		Use:  "list [flags]",
		Args: flags.Args(0, 0, ""),
		RunE: list,
	}, &cobra.Command{
		Use:  "show [flags]",
		Args: flags.Args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return env.showAccount(cmd.Context()) },
	})
	return cmd
}

// accountInfo is an account and the sources of its settings.
type accountInfo struct {
	Kind           string `json:"kind"`
	Name           string `json:"name"`
	JID            string `json:"jid"`
	File           string `json:"file"`
	Line           int    `json:"line"`
	PasswordSource string `json:"password_source"`
	Default        bool   `json:"default"`

	from string // the flag or variable that names the account if no file does
}

func (r *accountInfo) WriteText(t *output.Text) {
	from, source, preferred := r.from, r.PasswordSource, ""
	if r.File != "" {
		from = r.File + ":" + strconv.Itoa(r.Line)
	}
	if source == "" {
		source = "asked for"
	}
	if r.Default {
		preferred = "default"
	}
	t.Row(r.Name, r.JID, output.Words(from), output.Words(source), preferred)
}

// newAccountInfo describes an account of a file.
func (env *Env) newAccountInfo(c *config.File, ch config.Choice) *accountInfo {
	preferred, err := c.Choose(config.Who{})
	r := &accountInfo{
		Kind: "account_info", Name: ch.Name, JID: ch.JID, PasswordSource: env.passwordSource(ch).source, from: ch.From,
		Default: err == nil && preferred.JID != "" && preferred.Name == ch.Name && config.SameAccount(preferred.JID, ch.JID),
	}
	if config.SameAccount(c.Owner(ch.Name), ch.JID) {
		r.File, r.Line = c.Name, c.JIDLine(ch.Name)
	}
	return r
}

func (env *Env) showAccount(ctx context.Context) error {
	c, ch, err := env.configured(ctx, false)
	if err != nil {
		return err
	}
	if ch.JID == "" {
		return env.noAccount()
	}
	return env.print(env.newAccountInfo(&c, ch))
}

// listAccounts prints the account at the top of the file, if there is one, and those of the
// sections.
func (env *Env) listAccounts(ctx context.Context) error {
	c, err := env.readConfig(ctx, false)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(c.Accounts))
	if c.Defaults.Get("jid") != "" {
		names = slices.Insert(names, 0, "")
	}
	for _, name := range names {
		ch, err := c.Chosen(name, config.Who{Account: name, JID: c.Owner(name), EnvAccount: env.who.EnvAccount, EnvJID: env.who.EnvJID})
		if err != nil {
			return err
		}
		ch.JID = c.Owner(name) // XMPP_JID may have it with another resource
		if err := env.print(env.newAccountInfo(&c, ch)); err != nil {
			return err
		}
	}
	return nil
}
