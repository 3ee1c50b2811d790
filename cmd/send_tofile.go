package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/files"
)

// fromFile adds the JIDs of --to-file to those of the command line: one a line, but each
// only once. All of its bad lines are named before anything is sent.
func (f *sender) fromFile(ctx context.Context, targets []target) ([]target, error) {
	b, err := files.ReadAll(ctx, func() (io.ReadCloser, error) {
		if f.toFile == "-" {
			return io.NopCloser(f.env.In), nil
		}
		return os.Open(f.toFile)
	})
	name := f.toFile
	if name == "-" {
		name = "standard input"
	}
	if err != nil {
		return nil, fmt.Errorf("--to-file: %w", files.NotRead(name, err))
	}
	known := make(map[string]bool)
	for _, t := range targets {
		known[t.key()] = true
	}
	var bad []string
	n := 0
	for text := range bytes.Lines(bytes.TrimPrefix(b, []byte(byteOrderMark))) {
		n++
		entry := withoutComment(string(text))
		if entry == "" {
			continue
		}
		t, err := f.env.target(entry)
		if err == nil {
			if err = checkType(t.fields.Get("type")); err != nil {
				err = fmt.Errorf("type %w", err)
			}
		}
		switch {
		case err != nil:
			bad = append(bad, fmt.Sprintf("--to-file: %s: line %d: %s", name, n, shortened(err.Error())))
		case !known[t.key()]:
			known[t.key()] = true
			targets = append(targets, t)
		}
	}
	if len(bad) > 0 {
		return nil, badLinesError(bad)
	}
	if len(targets) == 0 && !f.inputJSON {
		return nil, exit.Dataf("--to-file: %s: there is no JID in it", name)
	}
	return targets, nil
}

// key is the same for what would be the same message.
func (t target) key() string { return t.jid.String() + "\n" + t.fields.Encode() }

// withoutComment takes a comment off a line: # at its beginning, or after a space, and
// what follows. A resource that has that can be written as an xmpp: URI.
func withoutComment(s string) string {
	before := ' '
	for i, r := range s {
		if r == '#' && unicode.IsSpace(before) {
			s = s[:i]
			break
		}
		before = r
	}
	return strings.TrimSpace(s)
}

// badLinesError names bad lines one by one, many of them by their number only.
func badLinesError(bad []string) error {
	if more := len(bad) - maxNamed; more > 0 {
		bad = append(bad[:maxNamed:maxNamed], fmt.Sprintf("--to-file: %s more cannot be sent to", number(more, "line")))
	}
	e := exit.Dataf("%w", errors.New(strings.Join(bad, "; ")))
	e.Lines = bad
	return e
}
