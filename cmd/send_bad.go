package cmd

import (
	"fmt"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/output"
)

// A badInput reports the lines of the input that are not sent, and counts them.
type badInput struct {
	env     *Env
	stop    bool // the first one ends the input
	named   bool // JIDs are given; they get the text of lines of listen
	lines   int
	large   int // the last of them that was too large for the server
	skipped int // lines of listen, which are not errors
}

// report reports each line that cannot be sent when it is read.
func (b *badInput) report(bad []error, skipped int) {
	b.skipped += skipped
	for _, err := range bad {
		b.lines++
		text := shortened(err.Error())
		b.env.printError(errorRecord{
			Kind: "error", Time: output.Time(time.Now()), Class: "data", ExitCode: exit.Data, Message: text, lines: []string{text},
		})
	}
}

// shortened limits how much of the input an error shows.
func shortened(s string) string {
	const most = 300
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}

// finish reports at the end how many lines of listen were skipped.
func (b *badInput) finish() {
	if b.skipped == 0 || b.env.flags.quiet {
		return
	}
	text := fmt.Sprintf("skipped %s of listen --json", number(b.skipped, "line"))
	if b.named {
		text += ": errors, or messages without a text"
	} else {
		text += " (hint: name the JIDs to send their text to)"
	}
	b.env.warnAs("data", text)
}

// outcome is the error for an input with bad lines.
func (b *badInput) outcome() error {
	if b.lines == 0 {
		return nil
	}
	return exit.Dataf("%s of standard input could not be sent", number(b.lines, "line"))
}

// number is n of something, as in "1 line" and "2 lines".
func number(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
