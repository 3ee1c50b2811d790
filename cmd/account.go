package cmd

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

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
		Args: args(0, 0, ""),
		RunE: list,
	}, &cobra.Command{
		Use:  "show [flags]",
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return env.showAccount(cmd.Context()) },
	})
	return cmd
}

// accountInfo is an account and where what is known of it comes from.
type accountInfo struct {
	Kind           string `json:"kind"`
	Name           string `json:"name"`
	JID            string `json:"jid"`
	File           string `json:"file"`
	Line           int    `json:"line"`
	PasswordSource string `json:"password_source"`
	Default        bool   `json:"default"`

	from string // what names the account, where no file does
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

// newAccountInfo tells of an account of a file.
func (env *Env) newAccountInfo(c *config, ch choice) *accountInfo {
	preferred, err := c.choose(who{})
	r := &accountInfo{
		Kind: "account_info", Name: ch.name, JID: ch.jid, PasswordSource: env.passwordSource(ch).source, from: ch.from,
		Default: err == nil && preferred.jid != "" && preferred.name == ch.name && sameAccount(preferred.jid, ch.jid),
	}
	if sameAccount(c.owner(ch.name), ch.jid) {
		r.File, r.Line = c.file, c.jidLine(ch.name)
	}
	return r
}

func (env *Env) showAccount(ctx context.Context) error {
	c, ch, err := env.configured(ctx)
	if err != nil {
		return err
	}
	if ch.jid == "" {
		return env.noAccount()
	}
	return env.print(env.newAccountInfo(&c, ch))
}

// listAccounts prints the account at the top of the file, if there is one, and those of the
// sections.
func (env *Env) listAccounts(ctx context.Context) error {
	c, err := env.readConfig(ctx)
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(c.accounts))
	if c.defaults.get("jid") != "" {
		names = slices.Insert(names, 0, "")
	}
	for _, name := range names {
		ch, err := c.chosen(name, who{account: name, jid: c.owner(name), envJID: env.who.envJID})
		if err != nil {
			return err
		}
		ch.jid = c.owner(name) // XMPP_JID may have it with another resource
		if err := env.print(env.newAccountInfo(&c, ch)); err != nil {
			return err
		}
	}
	return nil
}
