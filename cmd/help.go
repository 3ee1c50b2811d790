package cmd

import (
	"embed"
	"strings"

	"github.com/spf13/cobra"
)

// helpFiles are the topics: NAME.txt, whose first line is the summary.
//
//go:embed help/*.txt
var helpFiles embed.FS

func newHelpCmd(env *Env, root *cobra.Command) *cobra.Command {
	var man string
	cmd := &cobra.Command{
		Use:   "help [COMMAND | TOPIC]",
		Short: "Print the help of a command or a topic",
		Long: `Help prints the help of a command, or a topic: the tables of results, exit codes
and the configuration. With --man it writes all of it as manual pages.

The date of those is SOURCE_DATE_EPOCH, or else that of the commit that xmppkit was
built from: the same program writes the same pages.

Exit codes: 0; 2 there is no such command or topic; 74 a page cannot be written.`,
		Example: `  xmppkit help send
  xmppkit help exit-codes
  xmppkit help --man ~/.local/share/man`,
		ValidArgsFunction: completeHelp,
		// Help is there whatever is wrong with the environment and the configuration.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(_ *cobra.Command, args []string) error {
			if man != "" {
				return env.writeManual(root, man)
			}
			found, rest, err := root.Find(args)
			if err == nil && len(rest) == 0 {
				found.InitDefaultHelpFlag()
				return found.Help()
			}
			return unknownCommand(found, rest[0])
		},
	}
	cmd.Flags().StringVar(&man, "man", "", "write a manual page of each command and topic below `DIR`, in man1 and man7")
	cmd.AddCommand(helpTopics()...)
	return cmd
}

// helpTopics returns the topics as commands that cannot be run, which is what cobra
// takes for a topic.
func helpTopics() []*cobra.Command {
	files, _ := helpFiles.ReadDir("help") // it is there: it was embedded
	var topics []*cobra.Command
	for _, f := range files {
		text, _ := helpFiles.ReadFile("help/" + f.Name())
		summary, _, _ := strings.Cut(string(text), "\n")
		topics = append(topics, &cobra.Command{Use: strings.TrimSuffix(f.Name(), ".txt"), Short: summary, Long: string(text)})
	}
	return topics
}

// completeHelp completes what there is help for: the topics and the commands.
func completeHelp(help *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	parent, rest, err := help.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	commands := parent.Commands()
	if parent == help.Root() {
		commands = append(help.Commands(), commands...)
	}
	var names []string
	for _, c := range commands {
		if c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() {
			names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
		}
	}
	return completions(names, toComplete)
}
