package cmd

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"xmppkit/output"
	"xmppkit/xmpp"
)

func newCompletionCmd(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the completions for a shell",
		Long: `Completion prints a script that lets a shell complete commands, flags and their
values, accounts and contacts. It neither connects nor asks for anything; contacts
are those that were cached when the roster was last read.

Put it where the shell looks for completions, or load it at each start:

  bash        ~/.local/share/bash-completion/completions/xmppkit
  zsh         _xmppkit, in a directory of $fpath
  fish        ~/.config/fish/completions/xmppkit.fish
  powershell  xmppkit completion powershell | Out-String | Invoke-Expression

Exit codes: 0; 2 it is another shell; 74 standard output cannot be written.`,
		Example: `  source <(xmppkit completion bash)
  xmppkit completion fish > ~/.config/fish/completions/xmppkit.fish`,
		Args:      args(1, 1, "SHELL"),
		ValidArgs: []cobra.Completion{"bash", "zsh", "fish", "powershell"},
		// As help, it is there whatever is wrong with the configuration.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return usageError("completion: %q is none of bash, zsh, fish, powershell", args[0])
		},
	}
}

// flagValues are the values of flags that have a fixed set of them, by the name that
// such a flag has in every command.
var flagValues = [...]struct {
	flag   string
	values []cobra.Completion
}{
	{"tls", []cobra.Completion{"auto\tby the port", "direct\tTLS from the first byte", "starttls\tTLS after a question"}},
	{"type", []cobra.Completion{"chat\tpart of a conversation", "normal\tto be answered or not", "headline\tnot to be stored"}},
	{"bad-lines", []cobra.Completion{"stop\tat the first", "skip\tand go on", "replace\twhat XML cannot carry by U+FFFD"}},
	{"only", []cobra.Completion{"message", "receipt", "marker", "error", "presence", "iq"}},
	{"on-failure", []cobra.Completion{"stop\tend with exit code 1", "skip\tgo on with the next message"}},
	{"show", []cobra.Completion{"chat\tlikes to talk", "away\taway for a moment", "xa\taway for long", "dnd\tdo not disturb"}},
	{"subscription", []cobra.Completion{"none\tneither sees the other", "to\tyou see them", "from\tthey see you", "both\tyou see each other"}},
}

// addCompletions completes the flags and arguments of all commands, as far as they do
// not do so themselves, by what their help calls them: FILE, DIR, JID. What is not
// known is not taken for the name of a file.
func (env *Env) addCompletions(root *cobra.Command) {
	for cmd := range all(root) {
		complete := func(f *pflag.Flag) {
			// The error says that the command has done it.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, env.flagCompletion(f))
			_, f.Usage = pflag.UnquoteUsage(f) // cobra would show the backquotes
		}
		cmd.PersistentFlags().VisitAll(complete)
		cmd.LocalNonPersistentFlags().VisitAll(complete)
		if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
			cmd.ValidArgsFunction = env.completeArgs
		}
	}
}

func (env *Env) flagCompletion(f *pflag.Flag) cobra.CompletionFunc {
	for _, v := range flagValues {
		if v.flag == f.Name {
			return completeValues(f, v.values)
		}
	}
	if f.Name == "account" {
		return func(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			env.settle(cmd)
			return completions(env.accountNames(), toComplete)
		}
	}
	switch name, _ := pflag.UnquoteUsage(f); name {
	case "FILE":
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	case "DIR":
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
	case "JID":
		return env.completeContacts
	case "GROUP":
		return env.completeGroups
	}
	return cobra.NoFileCompletions
}

// completeValues completes one of several values; where a flag takes a list, what
// follows the last comma.
func completeValues(f *pflag.Flag, values []cobra.Completion) cobra.CompletionFunc {
	_, list := f.Value.(pflag.SliceValue)
	return func(_ *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		before := ""
		if list {
			before = toComplete[:strings.LastIndexByte(toComplete, ',')+1]
		}
		var all []string
		for _, v := range values {
			all = append(all, before+v)
		}
		return completions(all, toComplete)
	}
}

// completeArgs completes the arguments of a command as its usage line names them.
func (env *Env) completeArgs(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	jid := strings.Contains(cmd.Use, "JID...") || strings.Contains(cmd.Use, "JID") && len(args) == 0
	switch {
	case cmd.ArgsLenAtDash() < len(args), !jid && strings.Contains(cmd.Use, "CMD"):
		return nil, cobra.ShellCompDirectiveDefault // within a command behind --
	case jid:
		return env.completeContacts(cmd, args, toComplete)
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func (env *Env) completeContacts(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var all []string
	for _, c := range env.knownContacts(cmd) {
		all = append(all, c.JID.String())
	}
	return completions(all, toComplete)
}

func (env *Env) completeGroups(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var all []string
	for _, c := range env.knownContacts(cmd) {
		all = append(all, c.Groups...)
	}
	slices.Sort(all)
	all = slices.DeleteFunc(slices.Compact(all), func(g string) bool { return strings.ContainsAny(g, "\t\n\r") })
	return completions(all, toComplete)
}

func (env *Env) knownContacts(cmd *cobra.Command) []xmpp.Contact {
	env.settle(cmd)
	account, err := parseAccount(env.flags.jid)
	if err != nil {
		return nil
	}
	return env.cachedContacts(account)
}

// settle finds out of which account a command line is, as far as it can be known. What
// is wrong is said when the command is run.
func (env *Env) settle(cmd *cobra.Command) {
	_ = env.applyEnvironment(cmd)
	_, _ = env.configure()
}

// completions returns those that begin with what there is, and can be shown: what is
// cached came from others.
func completions(all []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var some []cobra.Completion
	for _, c := range all {
		value, _, _ := strings.Cut(c, "\t")
		if strings.HasPrefix(value, toComplete) && output.Clean(value) == value {
			some = append(some, c)
		}
	}
	return some, cobra.ShellCompDirectiveNoFileComp
}

// accountNames returns the names of the accounts in the configuration file.
func (env *Env) accountNames() []string {
	c, _ := env.readConfig()
	return slices.Sorted(maps.Keys(c.accounts))
}
