package help

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
)

// WriteManual writes the help of each command and topic as a page in the macros of
// man(7), in the directory layout of man(1). Cobra's own writer goes through Markdown,
// whose packages would take a quarter of the start-up time of every command.
func WriteManual(root *cobra.Command, dir, date, version string) error {
	for cmd := range All(root) {
		name, section := PageOf(cmd)
		file := filepath.Join(dir, "man"+section, name+"."+section)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if err == nil {
			err = os.WriteFile(file, manualPage(cmd, date, version), 0o644)
		}
		if err != nil {
			return &exit.Error{Code: exit.Output, Class: "output", Err: fmt.Errorf("write the manual: %w", err)}
		}
	}
	return nil
}

// PageOf returns the name and the section of the page of a command or topic.
func PageOf(cmd *cobra.Command) (name, section string) {
	if cmd.IsAdditionalHelpTopicCommand() {
		return cmd.Root().Name() + "-" + cmd.Name(), "7"
	}
	return strings.ReplaceAll(cmd.CommandPath(), " ", "-"), "1"
}

func manualPage(cmd *cobra.Command, date, version string) []byte {
	var p page
	h := Of(cmd)
	name, section := PageOf(cmd)
	p.line(".TH %s %s %q %q %q", strings.ToUpper(name), section, date, footer(version), "xmppkit")
	p.line(".SH NAME\n%s \\- %s", roff(name), roff(h.Summary))
	p.line(".SH SYNOPSIS")
	if section == "7" {
		p.line(".B %s", roff("xmppkit help "+cmd.Name()))
		p.line(".SH DESCRIPTION")
		p.text(h.About)
		p.flags(cmd)
	} else {
		for _, usage := range usageLines(cmd) {
			p.line(".B %s\n.br", roff(usage))
		}
		p.line(".SH DESCRIPTION")
		p.text(h.About)
		p.commands(cmd)
		p.flags(cmd)
		p.line(".SH EXAMPLES")
		p.literal(h.Examples)
		p.exitCodes(h)
	}
	p.seeAlso(cmd)
	return p.Bytes()
}

// footer is the text to the left of the date in the footer. The date is in the middle
// of a line of 78 columns, and the macros overprint it if the text is too long.
func footer(version string) string {
	text := "xmppkit " + version
	if len(text) > 30 {
		return text[:27] + "..."
	}
	return text
}

// A page is a manual page as it is written.
type page struct{ bytes.Buffer }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// text writes paragraphs.
func (p *page) text(s string) {
	for paragraph := range strings.SplitSeq(s, "\n\n") {
		p.line(".PP")
		if isLiteral(paragraph) {
			p.literal(paragraph)
		} else {
			p.line("%s", roff(paragraph))
		}
	}
}

func (p *page) literal(s string) { p.line(".EX\n%s\n.EE", roff(strings.TrimRight(s, "\n"))) }

func (p *page) commands(cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	p.line(".SH COMMANDS")
	for _, c := range cmd.Commands() {
		p.line(".TP\n.B %s\n%s", roff(c.Name()), roff(Of(c).Summary))
	}
}

// flags writes the flags of a command; those of all commands are a topic.
func (p *page) flags(cmd *cobra.Command) {
	flags := ownFlags(cmd)
	if len(flags) == 0 && cmd.IsAdditionalHelpTopicCommand() {
		return
	}
	p.line(".SH OPTIONS")
	for _, f := range flags {
		flag, value, does := flagHelp(f)
		p.line(".TP\n.BI \"%s\" \"%s\"\n%s", roff(strings.TrimLeft(flag, " ")+" "), roff(value), roff(does))
	}
	if !cmd.IsAdditionalHelpTopicCommand() {
		p.line(".PP\nThe global flags are described in\n.BR xmppkit\\-flags (7).")
	}
}

func (p *page) exitCodes(h Text) {
	p.line(".SH EXIT STATUS")
	for code, means := range h.ExitCodes {
		p.line(".TP\n.B %s\n%s", roff(code), roff(means))
	}
}

// seeAlso refers to the parent and child pages, and to the topics.
func (p *page) seeAlso(cmd *cobra.Command) {
	p.line(".SH SEE ALSO")
	var refs []string
	for other := range All(cmd.Root()) {
		if other == cmd.Parent() || other.Parent() == cmd || other.IsAdditionalHelpTopicCommand() && other != cmd {
			name, section := PageOf(other)
			refs = append(refs, fmt.Sprintf(".BR %s (%s)", roff(name), section))
		}
	}
	p.line("%s", strings.Join(refs, ",\n"))
}

// roff escapes characters that have a meaning in roff, or that it would print as other
// characters than the ones to type.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return strings.ReplaceAll(s, "\n.", "\n"+`\&.`)
}
