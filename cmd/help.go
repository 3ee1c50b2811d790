package cmd

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpFiles are the help of each command and the topics: NAME.txt, whose first line is
// the summary. Paragraphs with an indented line are shown as they are, all others are
// wrapped. The help of a command ends in its examples and its exit codes, one a line.
//
//go:embed help/*.txt
var helpFiles embed.FS

// flagsTopic is the topic that ends in the list of the global flags.
const flagsTopic = "flags"

func newHelpCmd(env *Env, root *cobra.Command) *cobra.Command {
	var man string
	cmd := &cobra.Command{
		Use:               "help [flags] [COMMAND | TOPIC]",
		ValidArgsFunction: completeHelp,
		// Help is there whatever is wrong with the environment and the configuration.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(_ *cobra.Command, args []string) error {
			if man != "" {
				return env.writeManual(root, man)
			}
			found, rest, err := root.Find(args)
			if err == nil && len(rest) == 0 {
				return found.Help()
			}
			return unknownCommand(found, rest[0])
		},
	}
	cmd.Flags().StringVar(&man, "man", "", "write all help as manual pages, in man1 and man7 of `DIR`")
	return cmd
}

// addTopics adds the topics to help: the files that are of no command.
func addTopics(root, help *cobra.Command) {
	commands := make(map[string]bool)
	for cmd := range all(root) {
		commands[helpName(cmd)] = true
	}
	files, _ := helpFiles.ReadDir("help") // it is there: it was embedded
	for _, f := range files {
		if name := strings.TrimSuffix(f.Name(), ".txt"); !commands[name] {
			help.AddCommand(&cobra.Command{Use: name}) // it cannot be run: for cobra that is a topic
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

// A helpText is the help of a command or topic.
type helpText struct{ summary, about, examples, codes string }

func helpOf(cmd *cobra.Command) (h helpText) {
	b, _ := helpFiles.ReadFile("help/" + helpName(cmd) + ".txt") // a test knows that all are there
	summary, text, _ := strings.Cut(string(b), "\n")
	if !cmd.IsAdditionalHelpTopicCommand() {
		text, h.codes, _ = strings.Cut(text, "\nExit codes:\n")
		text, h.examples, _ = strings.Cut(text, "\nExamples:\n")
	}
	h.summary, h.about = summary, strings.Trim(text, "\n")
	return h
}

// exitCodes yields the codes and what they mean.
func (h helpText) exitCodes(yield func(code, means string) bool) {
	for line := range strings.Lines(h.codes) {
		if code, means, _ := strings.Cut(strings.TrimSpace(line), " "); !yield(code, strings.TrimSpace(means)) {
			return
		}
	}
}

// flagHelp returns a flag, what its value is called, and what it does, with its default.
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

// ownFlags returns the flags of a command without the global ones, which are those of the
// topic flags.
func ownFlags(cmd *cobra.Command) (flags []*pflag.Flag) {
	set, global := cmd.Flags(), cmd.Root().PersistentFlags()
	set.SortFlags = false
	if cmd.Name() == flagsTopic && cmd.IsAdditionalHelpTopicCommand() {
		set, global = global, &pflag.FlagSet{}
	}
	set.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" && global.Lookup(f.Name) != f {
			flags = append(flags, f)
		}
	})
	return flags
}

// printHelp prints the help of a command or topic, as wide as the terminal.
func (env *Env) printHelp(cmd *cobra.Command, _ []string) {
	const inPipe = 80
	p, h := &helpPrinter{width: cmp.Or(env.Width, inPipe)}, helpOf(cmd)
	topic := cmd.IsAdditionalHelpTopicCommand()
	p.text(h.summary)
	if !topic {
		p.text("Usage: " + strings.Join(usageLines(cmd), "\n       "))
	}
	p.text(h.about)
	p.commands(cmd)
	p.flags(ownFlags(cmd))
	if h.examples != "" {
		p.text("Examples:\n" + h.examples)
	}
	p.exitCodes(h)
	if !topic {
		p.gap()
		p.WriteString("All exit codes: xmppkit help exit-codes\nGlobal flags: xmppkit help " + flagsTopic + "\n")
	}
	_, _ = cmd.OutOrStdout().Write(p.Bytes()) // Main has the error
}

// usageLines are the ways to call a command.
func usageLines(cmd *cobra.Command) []string {
	lines := []string{cmd.UseLine()}
	if cmd.HasParent() && cmd.HasAvailableSubCommands() {
		lines = append(lines, cmd.CommandPath()+" COMMAND [flags]")
	}
	return lines
}

// A helpPrinter makes the text of a help.
type helpPrinter struct {
	bytes.Buffer
	width int
}

// text writes paragraphs, with an empty line between all that is written.
func (p *helpPrinter) text(s string) {
	if s = strings.TrimRight(s, "\n"); s == "" {
		return
	}
	for paragraph := range strings.SplitSeq(s, "\n\n") {
		p.gap()
		if isLiteral(paragraph) {
			p.WriteString(paragraph + "\n")
			continue
		}
		for _, line := range wrap(paragraph, p.width) {
			p.WriteString(line + "\n")
		}
	}
}

func (p *helpPrinter) gap() {
	if p.Len() > 0 {
		p.WriteString("\n")
	}
}

// isLiteral reports whether a paragraph is shown as it is: a table, or lines to type.
func isLiteral(paragraph string) bool {
	return strings.HasPrefix(paragraph, " ") || strings.Contains(paragraph, "\n ")
}

// A helpTable is a title and pairs: what is explained, and the explanation.
type helpTable struct {
	title string
	rows  [][2]string
}

// tables writes tables in the same columns. An explanation is below what it explains
// where there is no room beside it.
func (p *helpPrinter) tables(tables ...helpTable) {
	const most, least = 30, 24
	column := 0
	for _, t := range tables {
		for _, row := range t.rows {
			column = max(column, len(row[0])+4)
		}
	}
	if column = min(column, most); p.width-column < least {
		column = 6
	}
	for _, t := range tables {
		if len(t.rows) == 0 {
			continue
		}
		p.gap()
		p.WriteString(t.title + ":\n")
		for _, row := range t.rows {
			left := "  " + row[0]
			if len(left) > column-2 {
				p.WriteString(left + "\n")
				left = ""
			}
			for _, line := range wrap(row[1], max(p.width-column, least)) {
				fmt.Fprintf(p, "%-*s%s\n", column, left, line)
				left = ""
			}
		}
	}
}

// commands lists what is below a command, in the groups of the program, and the topics in
// the help of the program and of help itself.
func (p *helpPrinter) commands(cmd *cobra.Command) {
	var tables []helpTable
	for _, g := range append(slices.Clone(cmd.Groups()), &cobra.Group{Title: "Commands"}) {
		t := helpTable{title: g.Title}
		for _, c := range cmd.Commands() {
			if c.GroupID == g.ID && c.Runnable() {
				t.rows = append(t.rows, [2]string{c.Name(), helpOf(c).summary})
			}
		}
		tables = append(tables, t)
	}
	topics := helpTable{title: "Topics (xmppkit help TOPIC)"}
	for topic := range all(cmd) {
		if topic != cmd && topic.IsAdditionalHelpTopicCommand() {
			topics.rows = append(topics.rows, [2]string{topic.Name(), helpOf(topic).summary})
		}
	}
	p.tables(append(tables, topics)...)
}

func (p *helpPrinter) flags(flags []*pflag.Flag) {
	t := helpTable{title: "Flags"}
	for _, f := range flags {
		flag, value, does := flagHelp(f)
		t.rows = append(t.rows, [2]string{strings.TrimRight(flag+" "+value, " "), does})
	}
	p.tables(t)
}

func (p *helpPrinter) exitCodes(h helpText) {
	t := helpTable{title: "Exit codes"}
	for code, means := range h.exitCodes {
		t.rows = append(t.rows, [2]string{fmt.Sprintf("%3s", code), means})
	}
	p.tables(t)
}

// wrap breaks a text between words into lines of at most width characters, where the
// words let it.
func wrap(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
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

// all yields a command and those below it.
func all(cmd *cobra.Command) iter.Seq[*cobra.Command] {
	return func(yield func(*cobra.Command) bool) {
		if !yield(cmd) {
			return
		}
		for _, c := range cmd.Commands() {
			for below := range all(c) {
				if !yield(below) {
					return
				}
			}
		}
	}
}
