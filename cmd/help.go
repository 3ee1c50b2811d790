package cmd

import (
	"cmp"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/cmd/help"
)

func newHelpCmd(env *Env, root *cobra.Command) *cobra.Command {
	var man string
	cmd := &cobra.Command{
		Use:               "help [flags] [COMMAND | TOPIC]",
		ValidArgsFunction: completeHelp,
		// Help works even if the environment or the configuration is broken.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(_ *cobra.Command, args []string) error {
			if man != "" {
				return env.writeManual(root, man)
			}
			found, rest, err := root.Find(args)
			if err == nil && len(rest) == 0 {
				return found.Help()
			}
			return flags.UnknownCommand(found, rest[0])
		},
	}
	cmd.Flags().StringVar(&man, "man", "", "write all help as manual pages, in man1 and man7 of `DIR`")
	return cmd
}

// printHelp prints the help of a command or topic, as wide as the terminal.
func (env *Env) printHelp(cmd *cobra.Command, _ []string) {
	const inPipe = 80
	help.Print(cmd, cmp.Or(env.Width, inPipe))
}

func (env *Env) writeManual(root *cobra.Command, dir string) error {
	date, err := env.manualDate()
	if err != nil {
		return err
	}
	return help.WriteManual(root, dir, date, programVersion())
}

// manualDate is the date of the pages. It is never today's, so that builds are
// reproducible; without a known date it is empty.
func (env *Env) manualDate() (string, error) {
	if s := env.Getenv("SOURCE_DATE_EPOCH"); s != "" { // reproducible-builds.org
		seconds, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return "", exit.Usagef("SOURCE_DATE_EPOCH: %q: want a number of seconds", s)
		}
		return time.Unix(seconds, 0).UTC().Format(time.DateOnly), nil
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if date, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return date.UTC().Format(time.DateOnly), nil
			}
		}
	}
	return "", nil
}

// completeHelp completes commands and topics.
func completeHelp(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	parent, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	commands := parent.Commands()
	if parent == cmd.Root() {
		commands = append(cmd.Commands(), commands...)
	}
	var names []string
	for _, c := range commands {
		if c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() {
			names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
		}
	}
	return flags.Completions(names, toComplete)
}
