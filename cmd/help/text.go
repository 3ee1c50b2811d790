// Package help has the help texts, one file for each command and topic, and prints them
// as text and as manual pages. It does not know what the commands do.
package help

import (
	"embed"
	"iter"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// texts hold the help of each command and topic, as NAME.txt. The first line is the
// summary. Paragraphs with an indented line are shown unchanged, all others are
// wrapped. The help of a command ends in its examples and its exit codes, one a line.
//
//go:embed *.txt
var texts embed.FS

// FlagsTopic is the topic that ends in the list of the global flags.
const FlagsTopic = "flags"

// AddTopics adds the topics to help: the files that belong to no command.
func AddTopics(root, help *cobra.Command) {
	commands := make(map[string]bool)
	for cmd := range All(root) {
		commands[helpName(cmd)] = true
	}
	entries, _ := texts.ReadDir(".") // it cannot fail: the file is embedded
	for _, f := range entries {
		if name := strings.TrimSuffix(f.Name(), ".txt"); !commands[name] {
			help.AddCommand(&cobra.Command{Use: name}) // without Run, cobra treats it as a topic
		}
	}
}

// helpName returns the name of the file that has the help of a command or topic.
func helpName(cmd *cobra.Command) string {
	if !cmd.HasParent() || cmd.IsAdditionalHelpTopicCommand() {
		return cmd.Name()
	}
	return strings.ReplaceAll(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "), " ", "-")
}

// A Text is the help of a command or topic.
type Text struct {
	Summary, About, Examples string
	codes                    string
}

// Of returns the help of a command or topic.
func Of(cmd *cobra.Command) (h Text) {
	b, _ := texts.ReadFile(helpName(cmd) + ".txt") // a test knows that all are there
	summary, text, _ := strings.Cut(string(b), "\n")
	if !cmd.IsAdditionalHelpTopicCommand() {
		text, h.codes, _ = strings.Cut(text, "\nExit codes:\n")
		text, h.Examples, _ = strings.Cut(text, "\nExamples:\n")
	}
	h.Summary, h.About = summary, strings.Trim(text, "\n")
	return h
}

// ExitCodes yields the codes and what they mean.
func (h Text) ExitCodes(yield func(code, means string) bool) {
	for line := range strings.Lines(h.codes) {
		if code, means, _ := strings.Cut(strings.TrimSpace(line), " "); !yield(code, strings.TrimSpace(means)) {
			return
		}
	}
}

// flagHelp returns a flag, the name of its value, and its description with the default.
func flagHelp(f *pflag.Flag) (flag, value, does string) {
	value, does = pflag.UnquoteUsage(f)
	if f.Value.Type() == "count" {
		value = ""
	}
	flag = "    --" + f.Name
	if f.Shorthand != "" {
		flag = "-" + f.Shorthand + ", --" + f.Name
	}
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
	default:
		does, variable, _ := strings.Cut(does, " [") // which is last
		does += " (default " + strings.Trim(f.DefValue, "[]") + ")"
		if variable != "" {
			does += " [" + variable
		}
		return flag, value, does
	}
	return flag, value, does
}

// ownFlags returns the flags of a command without the global ones. For the topic flags it
// returns the global ones.
func ownFlags(cmd *cobra.Command) (flags []*pflag.Flag) {
	set, global := cmd.Flags(), cmd.Root().PersistentFlags()
	set.SortFlags = false
	if cmd.Name() == FlagsTopic && cmd.IsAdditionalHelpTopicCommand() {
		set, global = global, &pflag.FlagSet{}
	}
	set.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" && global.Lookup(f.Name) != f {
			flags = append(flags, f)
		}
	})
	return flags
}

// All yields a command and all of its subcommands.
func All(cmd *cobra.Command) iter.Seq[*cobra.Command] {
	return func(yield func(*cobra.Command) bool) {
		if !yield(cmd) {
			return
		}
		for _, c := range cmd.Commands() {
			for below := range All(c) {
				if !yield(below) {
					return
				}
			}
		}
	}
}
