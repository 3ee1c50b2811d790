package help

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Print prints the help of a command or topic, wrapped at the given width.
func Print(cmd *cobra.Command, width int) {
	p, h := &printer{width: width}, Of(cmd)
	topic := cmd.IsAdditionalHelpTopicCommand()
	p.text(h.Summary)
	if !topic {
		p.text("Usage: " + strings.Join(usageLines(cmd), "\n       "))
	}
	p.text(h.About)
	p.commands(cmd)
	p.flags(ownFlags(cmd))
	if h.Examples != "" {
		p.text("Examples:\n" + h.Examples)
	}
	p.exitCodes(h)
	if !topic {
		p.gap()
		p.WriteString("All exit codes: xmppkit help exit-codes\nGlobal flags: xmppkit help " + FlagsTopic + "\n")
	}
	_, _ = cmd.OutOrStdout().Write(p.Bytes()) // the reader reports the error
}

// usageLines are the ways to call a command.
func usageLines(cmd *cobra.Command) []string {
	lines := []string{cmd.UseLine()}
	if cmd.HasParent() && cmd.HasAvailableSubCommands() {
		lines = append(lines, cmd.CommandPath()+" COMMAND [flags]")
	}
	return lines
}

// A printer builds the text of a help page.
type printer struct {
	bytes.Buffer
	width int
}

// text writes paragraphs, separated by empty lines.
func (p *printer) text(s string) {
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

func (p *printer) gap() {
	if p.Len() > 0 {
		p.WriteString("\n")
	}
}

// isLiteral reports whether a paragraph is shown as it is: a table, or lines to type.
func isLiteral(paragraph string) bool {
	return strings.HasPrefix(paragraph, " ") || strings.Contains(paragraph, "\n ")
}

// A table is a title and pairs of a term and its explanation.
type table struct {
	title string
	rows  [][2]string
}

// tables writes tables in the same columns. If there is no room beside a term, its
// explanation goes below it.
func (p *printer) tables(tables ...table) {
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

// commands lists the subcommands of a command, in groups. The help of the program and of
// help itself also lists the topics.
func (p *printer) commands(cmd *cobra.Command) {
	var tables []table
	for _, g := range append(slices.Clone(cmd.Groups()), &cobra.Group{Title: "Commands"}) {
		t := table{title: g.Title}
		for _, c := range cmd.Commands() {
			if c.GroupID == g.ID && c.Runnable() {
				t.rows = append(t.rows, [2]string{c.Name(), Of(c).Summary})
			}
		}
		tables = append(tables, t)
	}
	topics := table{title: "Topics (xmppkit help TOPIC)"}
	for topic := range All(cmd) {
		if topic != cmd && topic.IsAdditionalHelpTopicCommand() {
			topics.rows = append(topics.rows, [2]string{topic.Name(), Of(topic).Summary})
		}
	}
	p.tables(append(tables, topics)...)
}

func (p *printer) flags(flags []*pflag.Flag) {
	t := table{title: "Flags"}
	for _, f := range flags {
		flag, value, does := flagHelp(f)
		t.rows = append(t.rows, [2]string{strings.TrimRight(flag+" "+value, " "), does})
	}
	p.tables(t)
}

func (p *printer) exitCodes(h Text) {
	t := table{title: "Exit codes"}
	for code, means := range h.ExitCodes {
		t.rows = append(t.rows, [2]string{fmt.Sprintf("%3s", code), means})
	}
	p.tables(t)
}

// wrap breaks a text between words into lines of at most width characters; a longer
// word gets a line of its own.
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
