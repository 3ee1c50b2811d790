package cmd

import (
	"context"
	"embed"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"xmppkit/cmd/config"
	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/cmd/help"
	"xmppkit/xmpp"
)

//go:embed completion
var completionScripts embed.FS

// directiveCommand asks a shell to complete the names of its commands. It is not a
// directive of cobra, but cobra prints it unchanged, and our scripts understand it.
const directiveCommand cobra.ShellCompDirective = 128

func newCompletionCmd() *cobra.Command {
	return &cobra.Command{
		Use:       "completion [flags] bash|zsh|fish|powershell",
		Args:      flags.Args(1, 1, "SHELL"),
		ValidArgs: []cobra.Completion{"bash", "zsh", "fish", "powershell"},
		// Like help, it works even if the configuration is broken.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(cmd.ValidArgs, args[0]) {
				return exit.Usagef("completion: %q: want bash, zsh, fish or powershell", args[0])
			}
			script, err := completionScripts.ReadFile("completion/" + args[0])
			if err == nil {
				_, err = cmd.OutOrStdout().Write(script)
			}
			return err
		},
	}
}

// flagValues are the values of flags that have a fixed set of them but are not flags.OneOf,
// by flag name.
var flagValues = [...]struct {
	flag   string
	values []cobra.Completion
}{
	{"only", []cobra.Completion{"message", "receipt", "marker", "error", "presence", "iq"}},
	{"subscription", []cobra.Completion{"none\tneither sees the other", "to\tyou see them", "from\tthey see you", "both\tyou see each other"}},
}

// addCompletions completes the flags and arguments of all commands that do not complete
// them themselves, by what their help calls them: FILE, DIR, JID. Other words are not
// completed as file names. The last of the words is the one being typed.
func (env *Env) addCompletions(root *cobra.Command, words []string) {
	if len(words) == 0 {
		return // cobra will say that it needs one
	}
	typed := words[len(words)-1]
	for cmd := range help.All(root) {
		complete := func(f *pflag.Flag) {
			// The error says that the command has done it.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, wholeWord(typed, env.flagCompletion(f)))
			_, f.Usage = pflag.UnquoteUsage(f) // cobra would show the backquotes
		}
		cmd.PersistentFlags().VisitAll(complete)
		cmd.LocalNonPersistentFlags().VisitAll(complete)
		cmd.Short = help.Of(cmd).Summary // only cobra's completions read it
		if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
				after := afterDash(cmd, words[:len(words)-1])
				return env.completeArgs(cmd, len(args), after, typed)
			}
		}
	}
}

// wholeWord completes --flag=value, of which cobra passes on only the value, to the
// whole word, exactly as a shell inserts it.
func wholeWord(typed string, complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		flag := strings.TrimSuffix(typed, toComplete)
		values, directive := complete(cmd, args, toComplete)
		for i := range values {
			values[i] = flag + values[i]
		}
		return values, directive
	}
}

// afterDash returns how many of the words are arguments after a --, or -1 if there is no
// --.
func afterDash(cmd *cobra.Command, words []string) int {
	// An added -- is an argument itself only after another --. Setting flags twice here
	// does no harm: nothing is run.
	fs := cmd.Flags()
	_ = fs.Parse(append(slices.Clone(words), "--"))
	more := fs.NArg()
	_ = fs.Parse(words)
	if more == fs.NArg() {
		return -1
	}
	return fs.NArg() - fs.ArgsLenAtDash()
}

// valuesOf returns the values of a flag that has a fixed set of them, or nil.
func valuesOf(f *pflag.Flag) []cobra.Completion {
	if v, ok := f.Value.(flags.OneOf); ok {
		return v.Of
	}
	for _, v := range flagValues {
		if v.flag == f.Name {
			return v.values
		}
	}
	return nil
}

func (env *Env) flagCompletion(f *pflag.Flag) cobra.CompletionFunc {
	if values := valuesOf(f); values != nil {
		return completeValues(f, values)
	}
	if f.Name == "account" {
		return func(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
			env.settle(cmd)
			return completeNames(env.accountNames(cmd.Context()), toComplete)
		}
	}
	if f.Name == "durable" {
		return env.completeDurable
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

// completeValues completes one of several values. For a list it completes the text
// after the last comma.
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
		return flags.Completions(all, toComplete)
	}
}

// completeArgs completes the arguments of a command as its usage line names them. n
// arguments come before this one; after is the result of afterDash.
func (env *Env) completeArgs(cmd *cobra.Command, n, after int, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch jid := strings.Contains(cmd.Use, "JID"); {
	case strings.Contains(cmd.Use, "CMD") && (after == 0 || !jid && n == 0):
		return nil, directiveCommand
	case strings.Contains(cmd.Use, "CMD") && (after > 0 || !jid):
		return nil, cobra.ShellCompDirectiveDefault
	case jid && (n == 0 || strings.Contains(cmd.Use, "JID...")):
		jids, directive := env.completeContacts(cmd, nil, typed)
		if after < 0 { // what begins with - would be taken for a flag
			jids = slices.DeleteFunc(jids, func(jid string) bool { return strings.HasPrefix(jid, "-") })
		}
		return jids, directive
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func (env *Env) completeContacts(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var all []string
	for _, c := range env.knownContacts(cmd) {
		all = append(all, c.JID.String())
	}
	return flags.Completions(all, toComplete)
}

func (env *Env) completeGroups(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var all []string
	for _, c := range env.knownContacts(cmd) {
		all = append(all, c.Groups...)
	}
	slices.Sort(all)
	return completeNames(slices.Compact(all), toComplete)
}

// completeNames completes names that anybody may have given. What follows a tab in one would
// be taken for a description.
func completeNames(all []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	all = slices.DeleteFunc(all, func(name string) bool { return strings.Contains(name, "\t") })
	return flags.Completions(all, toComplete)
}

// completeDurable completes the names of the durable listeners that the account has had.
func (env *Env) completeDurable(cmd *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	env.settle(cmd)
	account, err := config.ParseAccount(env.flags.jid)
	file := env.stateFile("durable-", account)
	if err != nil || file == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	end := strings.TrimPrefix(filepath.Base(file), "durable-")
	entries, _ := os.ReadDir(filepath.Dir(file))
	var names []string
	for _, e := range entries {
		name, mine := strings.CutSuffix(e.Name(), end)
		name, durable := strings.CutPrefix(name, "durable-")
		if mine && durable && durableName(name) {
			names = append(names, name)
		}
	}
	return flags.Completions(names, toComplete)
}

func (env *Env) knownContacts(cmd *cobra.Command) []xmpp.Contact {
	env.settle(cmd)
	account, err := config.ParseAccount(env.flags.jid)
	if err != nil {
		return nil
	}
	return env.cachedContacts(account)
}

// settle finds out which account a command line is for, if it can. Errors are reported
// when the command is run.
func (env *Env) settle(cmd *cobra.Command) {
	_ = env.applyEnvironment(cmd)
	ctx, cancel := context.WithTimeout(cmd.Context(), completionWait)
	defer cancel()
	_, _ = env.configure(ctx, false)
}

// completionWait is how long completion waits for a configuration that comes from a pipe.
const completionWait = time.Second

// accountNames returns the names of the accounts in the configuration file.
func (env *Env) accountNames(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, completionWait)
	defer cancel()
	c, _ := env.readConfig(ctx, false)
	return slices.Sorted(maps.Keys(c.Accounts))
}
