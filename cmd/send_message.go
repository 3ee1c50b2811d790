package cmd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/files"
	"xmppkit/cmd/flags"
	"xmppkit/xmpp"
	"xmppkit/xmpp/deliver"
	"xmppkit/xmpp/xep"
)

const (
	nsOOB       = "jabber:x:oob"         // XEP-0066
	nsAttention = "urn:xmpp:attention:0" // XEP-0224
)

// A content is the payload of one message, without what all messages share.
type content struct {
	to                                  xmpp.JID
	body, subject, typ, thread, id, url string
}

// messageTypes are the types that can be sent to a person.
var messageTypes = [...]cobra.Completion{"chat\tpart of a conversation", "normal\ta single message", "headline\tan alert, not stored"}

// checkType refuses any other type, except "".
func checkType(typ string) error {
	if typ == "" {
		return nil
	}
	if err := (flags.OneOf{Value: new(string), Of: messageTypes[:]}).Set(typ); err != nil {
		return fmt.Errorf("%q: %w", typ, err)
	}
	return nil
}

// messages makes the stanzas. It reads standard input only if a message needs it.
func (f *sender) messages(cmd *cobra.Command, targets []target) ([]*deliver.Message, error) {
	var body string
	given := cmd.Flags().Changed("message") || cmd.Flags().Changed("file")
	read := given
	for _, t := range targets {
		if !given && !t.fields.Has("body") {
			read = true
		}
	}
	if read {
		var err error
		if body, err = f.body(cmd); err != nil {
			return nil, err
		}
	}
	var messages []*deliver.Message
	for _, t := range targets {
		text := body
		if !given && t.fields.Has("body") {
			text = t.fields.Get("body")
		}
		m, err := f.stanza(f.content(t, text))
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, nil
}

func (f *sender) body(cmd *cobra.Command) (string, error) {
	var b []byte
	var err error
	name := "standard input"
	switch {
	case cmd.Flags().Changed("message"):
		return f.message, nil
	case cmd.Flags().Changed("file") && f.file != "-":
		name = f.file
		b, err = files.ReadAll(cmd.Context(), func() (io.ReadCloser, error) { return os.Open(f.file) })
	default:
		b, err = files.ReadAll(cmd.Context(), func() (io.ReadCloser, error) { return io.NopCloser(f.env.In), nil })
	}
	if err != nil {
		return "", files.NotRead(name, err)
	}
	b = bytes.TrimPrefix(b, []byte(byteOrderMark))
	body := string(bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r")))
	if err := xmpp.CheckText(body); err != nil {
		return "", exit.Dataf("%s: %w", name, err)
	}
	return body, nil
}

// content is the message to a target. The command line takes precedence over a URI.
func (f *sender) content(t target, body string) content {
	return content{
		to: t.jid, body: body, subject: cmp.Or(f.subject, t.fields.Get("subject")), typ: cmp.Or(f.typ, t.fields.Get("type"), "chat"),
		thread: cmp.Or(f.thread, t.fields.Get("thread")), id: cmp.Or(f.id, t.fields.Get("id")), url: f.url,
	}
}

func (f *sender) stanza(c content) (*deliver.Message, error) {
	for _, text := range []string{c.body, c.subject, c.thread, c.id, c.url} {
		if err := xmpp.CheckText(text); err != nil {
			return nil, exit.Dataf("message to %s: %w", c.to, err)
		}
	}
	if c.body == "" && c.subject == "" && c.url == "" && !f.attention {
		err := exit.Dataf("the message to %s is empty: it has no body, subject, url or attention", c.to)
		if !f.lines && !f.inputJSON {
			err.Hint = "give the text with -m, with -f, or on standard input"
		}
		return nil, err
	}
	id := cmp.Or(c.id, xmpp.NewID())
	to := c.to.String()
	m := xmpp.NewElement(xmpp.NSClient, "message", "to", to, "type", c.typ, "id", id)
	add := func(name, text string) {
		if text != "" {
			xmpp.Add(m, xmpp.NewText(xmpp.NSClient, name, text))
		}
	}
	add("subject", c.subject)
	add("body", c.body)
	add("thread", c.thread)
	if c.url != "" {
		xmpp.Add(m, xmpp.Add(xmpp.NewElement(nsOOB, "x"), xmpp.NewText(nsOOB, "url", c.url)))
	}
	if f.attention {
		xmpp.Add(m, xmpp.NewElement(nsAttention, "attention"))
	}
	if f.receipt {
		xmpp.Add(m, xmpp.NewElement(xep.NSReceipts, "request"))
	}
	if f.retry > 0 {
		// It may be sent twice, and this identifies it even if a server changes the id.
		xmpp.Add(m, xmpp.NewElement(xep.NSStanzaID, "origin-id", "id", id))
	}
	const rest = 120 // about, for the tags
	size := len(to) + len(id) + len(c.body) + len(c.subject) + len(c.thread) + len(c.url) + rest
	return &deliver.Message{To: c.to, Stanza: m, Secret: c.id == "", Size: size, Grace: f.graceOf(c.to)}, nil
}

// fromFile adds the JIDs of --to-file, one a line, to those of the command line, without
// duplicates. It reports all bad lines before anything is sent.
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
		return nil, exit.Dataf("--to-file: %s: it contains no JID", name)
	}
	return targets, nil
}

// key is the same for what would be the same message.
func (t target) key() string { return t.jid.String() + "\n" + t.fields.Encode() }

// withoutComment removes a comment from a line: a # at the start or after a space, and
// the rest. A resource that contains this can be written as an xmpp: URI.
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

// badLinesError names bad lines one by one. Beyond a limit it only counts them.
func badLinesError(bad []string) error {
	if more := len(bad) - maxNamed; more > 0 {
		bad = append(bad[:maxNamed:maxNamed], fmt.Sprintf("--to-file: %s more cannot be sent to", number(more, "line")))
	}
	e := exit.Dataf("%w", errors.New(strings.Join(bad, "; ")))
	e.Lines = bad
	return e
}
