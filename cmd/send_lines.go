package cmd

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
	"xmppkit/xmpp/deliver"
)

const (
	// maxLine limits the length of an input line, and so the memory for it.
	maxLine = 1 << 20
	// maxBatch is the stanza size that every server accepts, in bytes (RFC 6120,
	// section 13.12).
	maxBatch = 10_000
)

// A line of the input, or several that form one message.
type line struct {
	first  int // the number of the first of them, from 1
	number int // and of the last
	text   string
	err    error // why it cannot be sent
}

// A chunk holds messages that were ready together. The last one says why there are no
// more.
type chunk struct {
	messages []*deliver.Message
	bad      []error // the lines that cannot be sent
	skipped  int     // lines of listen
	err      error
}

// of returns the part that a delivery takes; the rest is reported when it does.
func (c chunk) of(r *report) deliver.Chunk {
	d := deliver.Chunk{Messages: c.messages, Last: c.err != nil}
	if len(c.bad)+c.skipped > 0 || c.err != nil {
		d.Taken = func() { r.take(c) }
	}
	return d
}

// What to do with a line that cannot be sent.
const (
	badStop    = "stop"
	badSkip    = "skip"
	badReplace = "replace" // characters that XML cannot carry; a line with another fault is skipped
)

// errListened says that a line was printed by listen and has nothing to send.
var errListened = errors.New("a line of listen")

// input reads standard input, of which each line is one or more messages. It reads at
// most a chunk ahead of its consumer, and ends with ctx.
func (f *sender) input(ctx context.Context, targets []target, r *report) <-chan deliver.Chunk {
	chunks := make(chan deliver.Chunk)
	send := func(c chunk) bool {
		select {
		case chunks <- c.of(r):
			return c.err == nil
		case <-ctx.Done():
			return false
		}
	}
	handOn := func(lines []line) bool {
		var c chunk
		for _, l := range lines {
			made, err := f.fromLine(l, targets)
			c.messages = append(c.messages, made...)
			switch {
			case errors.Is(err, errListened):
				c.skipped++
			case err != nil && f.badLines == badStop:
				c.err = err
			case err != nil:
				c.bad = append(c.bad, err)
			}
			if c.err != nil || len(c.messages) >= deliver.FlightSize {
				if !send(c) {
					return false
				}
				c = chunk{}
			}
		}
		return len(c.messages)+len(c.bad)+c.skipped == 0 || send(c)
	}
	go func() {
		defer close(chunks)
		read := func() error { return readLines(f.env.In, f.badLines, handOn) }
		if f.batch > 0 {
			read = func() error {
				return readBatches(ctx, f.env.In, f.badLines, time.Duration(f.batch), f.room(targets), handOn)
			}
		}
		if err := read(); err != nil {
			send(chunk{err: err})
		}
	}()
	return chunks
}

// readLines passes on the lines of r that are not blank, until r ends or nobody wants
// more. It passes on together the lines that are available together.
func readLines(r io.Reader, badLines string, handOn func([]line) bool) error {
	b := bufio.NewReaderSize(r, 64<<10)
	var ready []line
	for number := 1; ; number++ {
		text, bad, err := readLine(b, number, badLines)
		if strings.TrimSpace(text) != "" || bad != nil {
			ready = append(ready, line{number, number, text, bad})
		}
		rest, _ := b.Peek(b.Buffered())
		if len(ready) > 0 && (err != nil || len(ready) == deliver.FlightSize || bytes.IndexByte(rest, '\n') < 0) {
			if !handOn(ready) {
				return nil
			}
			ready = nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLine reads a line without its line break, and returns an error if the line is
// bad. The last line may come with io.EOF.
func readLine(b *bufio.Reader, number int, badLines string) (text string, bad, err error) {
	var whole []byte
	for {
		part, err := b.ReadSlice('\n')
		if bad == nil {
			whole = append(whole, part...)
		}
		if len(whole) > maxLine {
			bad, whole = exit.Dataf("standard input: line %d is longer than %d bytes", number, maxLine), nil
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && err != io.EOF:
			return "", nil, exit.Inputf("read standard input: %w", err)
		case bad != nil:
			return "", bad, err
		}
		text := string(bytes.TrimSuffix(bytes.TrimSuffix(whole, []byte("\n")), []byte("\r")))
		if number == 1 {
			text = strings.TrimPrefix(text, byteOrderMark)
		}
		if badLines == badReplace {
			text = replaceBad(text)
		}
		if e := xmpp.CheckText(text); e != nil {
			return "", exit.Dataf("standard input: line %d: %w", number, e), err
		}
		return text, nil, err
	}
}

// byteOrderMark starts UTF-8 files of some programs. It is not part of the text.
const byteOrderMark = "\uFEFF"

// replaceBad replaces characters that XML cannot carry with U+FFFD.
func replaceBad(s string) string {
	if xmpp.CheckText(s) == nil {
		return s
	}
	return strings.Map(func(r rune) rune {
		if xmpp.CheckText(string(r)) != nil {
			return utf8.RuneError
		}
		return r // this is U+FFFD for each byte that is not UTF-8
	}, s)
}

// readBatches is readLines, but joins all lines that arrive within d of the first, up
// to room bytes as XML.
func readBatches(ctx context.Context, r io.Reader, badLines string, d time.Duration, room int, handOn func([]line) bool) error {
	lines := make(chan []line)
	var failed error
	go func() {
		defer close(lines)
		failed = readLines(r, badLines, func(l []line) bool {
			select {
			case lines <- l:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	over := time.NewTimer(d)
	defer over.Stop()
	var batch []string
	var first, last, size int
	finish := func() bool {
		done := batch
		batch, size = nil, 0
		return len(done) == 0 || handOn([]line{{first, last, strings.Join(done, "\n"), nil}})
	}
	add := func(l line) bool {
		if l.err != nil {
			return (badLines != badStop || finish()) && handOn([]line{l})
		}
		n := escapedSize(l.text) + 1
		if size+n > room && !finish() {
			return false
		}
		if len(batch) == 0 {
			first = l.first
			over.Reset(d)
		}
		batch, size, last = append(batch, l.text), size+n, l.number
		return true
	}
	for {
		select {
		case more, ok := <-lines:
			if !ok {
				finish()
				return failed
			}
			for _, l := range more {
				if !add(l) {
					return nil
				}
			}
		case <-over.C:
			if !finish() {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// escapedSize is the size of text as XML, in bytes.
func escapedSize(text string) int {
	const around = len(`<b xmlns=""></b>`)
	b, err := xmpp.XML(xmpp.NewText("", "b", text))
	if err != nil {
		return 0 // it has been checked
	}
	return max(len(b)-around, 0)
}

// room is how much text fits into a message of --batch.
func (f *sender) room(targets []target) int {
	room := maxBatch
	for _, t := range targets {
		if m, err := f.stanza(f.content(t, "x")); err == nil {
			b, _ := xmpp.XML(m.Stanza) // an error shows when the message is sent
			room = min(room, maxBatch-len(b))
		}
	}
	return room
}

// fromLine makes all messages of an input line, or none.
func (f *sender) fromLine(l line, targets []target) ([]*deliver.Message, error) {
	if l.err != nil {
		return nil, l.err
	}
	contents := make([]content, 0, len(targets))
	for _, t := range targets {
		c := f.content(t, l.text)
		c.id = "" // each line is a message of its own
		contents = append(contents, c)
	}
	var err error
	if f.inputJSON {
		contents, err = f.fromJSON(l.text, targets)
	}
	made := make([]*deliver.Message, 0, len(contents))
	for _, c := range contents {
		var m *deliver.Message
		if err == nil {
			m, err = f.stanza(c)
		}
		if err != nil {
			break
		}
		m.First, m.Last = l.first, l.number
		made = append(made, m)
	}
	switch {
	case errors.Is(err, errListened):
		return nil, err
	case err != nil:
		return nil, exit.Dataf("standard input: line %d: %w", l.number, err)
	}
	return made, nil
}

// fromJSON reads an object with the keys of a message result. The command line supplies
// missing values. From a line of listen, whose address and id are somebody else's, it
// takes only body and subject, for the targets of the command line.
func (f *sender) fromJSON(text string, targets []target) ([]content, error) {
	object, err := jsonObject(text)
	if err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	keys := []string{"to", "body", "subject", "type", "thread", "id", "url"}
	_, listened := object["from_bare"]
	if listened {
		if keys = []string{"body", "subject"}; len(targets) == 0 || string(object["type"]) == `"error"` {
			return nil, errListened // an error that is forwarded could return as an error, without end
		}
	}
	fields := make(map[string]string)
	for _, key := range keys {
		if fields[key], err = jsonText(object[key], f.badLines); err != nil {
			return nil, fmt.Errorf("%q: %w", key, err)
		}
	}
	if listened && fields["body"] == "" && fields["subject"] == "" {
		return nil, errListened
	}
	if fields["to"] != "" {
		t, err := f.env.target(fields["to"])
		if err != nil {
			return nil, fmt.Errorf(`"to": %w`, err)
		}
		targets = []target{t}
	}
	if len(targets) == 0 {
		return nil, errors.New(`there is no "to", and no JID on the command line`)
	}
	var contents []content
	for _, t := range targets {
		c := f.content(t, cmp.Or(fields["body"], t.fields.Get("body")))
		c.subject = cmp.Or(fields["subject"], c.subject)
		c.typ = cmp.Or(fields["type"], c.typ)
		if err := checkType(c.typ); err != nil {
			return nil, fmt.Errorf(`"type": %w`, err)
		}
		c.thread = cmp.Or(fields["thread"], c.thread)
		c.id = cmp.Or(fields["id"], t.fields.Get("id"))
		c.url = cmp.Or(fields["url"], c.url)
		contents = append(contents, c)
	}
	return contents, nil
}

// jsonObject decodes an object. Its keys are case-sensitive, unlike those of a struct.
func jsonObject(text string) (map[string]json.RawMessage, error) {
	var object map[string]json.RawMessage
	err := json.Unmarshal([]byte(text), &object)
	syntax, isSyntax := errors.AsType[*json.SyntaxError](err)
	other, isOther := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case isSyntax && !strings.HasPrefix(err.Error(), "invalid character"):
		err = errors.New("it ends too early")
	case isSyntax:
		err = fmt.Errorf("unexpected %q at byte %d", xmpp.Clip(text[syntax.Offset-1:], 20), syntax.Offset)
	case isOther:
		err = fmt.Errorf("it is of type %s", other.Value) // the rest of the message is about Go
	case err == nil && object == nil:
		err = errors.New("it is null")
	}
	return object, err
}

// jsonText decodes a string; a missing value or null is "".
func jsonText(raw json.RawMessage, badLines string) (string, error) {
	if raw == nil {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", errors.New("it is not a string")
	}
	if badLines == badReplace {
		return replaceBad(s), nil
	}
	// Half a surrogate pair would be decoded, and sent, as U+FFFD.
	const bad = "\uFFFD"
	if n := strings.Count(s, bad); n > 0 && n > bytes.Count(raw, []byte(bad))+bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`)) {
		return "", errors.New("it contains half of a surrogate pair")
	}
	return s, xmpp.CheckText(s)
}
