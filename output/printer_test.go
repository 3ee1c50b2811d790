package output

import (
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

type message struct {
	Kind     string  `json:"kind"`
	Time     Time    `json:"time"`
	Type     string  `json:"type"`
	From     string  `json:"from"`
	FromBare string  `json:"from_bare"`
	To       string  `json:"to"`
	Delayed  bool    `json:"delayed"`
	Self     bool    `json:"self"`
	ID       string  `json:"id,omitempty"`
	StanzaID string  `json:"stanza_id,omitempty"`
	Body     *string `json:"body,omitempty"`
	Subject  string  `json:"subject,omitempty"`
}

func (m *message) WriteText(t *Text) {
	t.Printf("%s %s: ", m.Time, m.FromBare)
	t.Block("", *m.Body)
}

func newMessage(body string) *message {
	return &message{
		Kind:     "message",
		Time:     Time(time.Date(2026, 11, 20, 21, 41, 28, 123_456_789, time.UTC)),
		Type:     "chat",
		From:     "romeo@example.net/Orchard",
		FromBare: "romeo@example.net",
		To:       "juliet@example.org/Balcony",
		ID:       "4d1c5a52-9d41-4a1c-8b0a-7a4e3f1b2c3d",
		StanzaID: "1732138888123456",
		Body:     &body,
	}
}

// note is a record of one text, which may be empty or without a line break.
type note struct {
	Kind string  `json:"kind"`
	Text string  `json:"text"`
	N    float64 `json:"n"`
}

func (n note) WriteText(t *Text) { t.Printf("%s"+n.Kind, n.Text) }

// stream notes every Write and answers as told.
type stream struct {
	writes []string
	short  int
	err    error
}

func (s *stream) Write(p []byte) (int, error) {
	s.writes = append(s.writes, string(p))
	return len(p) - s.short, s.err
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A fixed order of keys, one object a line, one Write per Flush.
func TestPrinterJSON(t *testing.T) {
	var s stream
	p := NewPrinter(&s, true, false)
	do(t, p.Print(newMessage("<b>\nFrom: boss\u009b")))
	do(t, p.Print(note{Kind: "note"}))
	if len(s.writes) != 0 {
		t.Errorf("written before Flush: %q", s.writes)
	}
	do(t, p.Flush())
	do(t, p.Flush())
	want := `{"kind":"message","time":"2026-11-20T21:41:28.123Z","type":"chat","from":"romeo@example.net/Orchard",` +
		`"from_bare":"romeo@example.net","to":"juliet@example.org/Balcony","delayed":false,"self":false,` +
		`"id":"4d1c5a52-9d41-4a1c-8b0a-7a4e3f1b2c3d","stanza_id":"1732138888123456","body":"<b>\nFrom: boss\u009b"}` +
		"\n" + `{"kind":"note","text":"","n":0}` + "\n"
	if !slices.Equal(s.writes, []string{want}) {
		t.Errorf("got  %q\nwant %q", s.writes, want)
	}
}

// One record, one line; what a body adds is indented.
func TestPrinterText(t *testing.T) {
	var s stream
	p := NewPrinter(&s, false, false)
	do(t, p.Print(newMessage("hi\nFrom: boss")))
	do(t, p.Print(note{}))
	do(t, p.Print(note{Text: "open\n"}))
	do(t, p.Print(note{Kind: "\n", Text: "closed"}))
	do(t, p.Flush())
	want := "2026-11-20T21:41:28Z romeo@example.net: hi\n    From: boss\n" + `open\u{a}` + "\nclosed\n"
	if !slices.Equal(s.writes, []string{want}) {
		t.Errorf("got  %q\nwant %q", s.writes, want)
	}
}

// A full buffer is written between records, never within one.
func TestPrinterBounded(t *testing.T) {
	var s stream
	p := NewPrinter(&s, true, false)
	huge := note{Text: strings.Repeat("x", 8*flushAt)}
	do(t, p.Print(huge))
	if cap(p.text.buf) != 0 {
		t.Errorf("holds %d bytes after a huge record", cap(p.text.buf))
	}
	for range 2000 {
		do(t, p.Print(note{Text: "0123456789"}))
	}
	do(t, p.Flush())
	if n := len(s.writes); n != 4 { // 2000 lines of 41 bytes make two full buffers and a rest
		t.Errorf("%d writes", n)
	}
	for _, w := range s.writes {
		if !strings.HasPrefix(w, "{") || !strings.HasSuffix(w, "}\n") {
			t.Errorf("a write begins or ends within a record: %.20q", w)
		}
	}
}

// Nothing follows a failed or short write.
func TestPrinterFails(t *testing.T) {
	for _, c := range []struct {
		stream
		want error
	}{
		{stream{err: syscall.EPIPE}, syscall.EPIPE},
		{stream{short: 1}, io.ErrShortWrite},
		{stream{short: 5, err: syscall.ENOSPC}, syscall.ENOSPC},
	} {
		p := NewPrinter(&c.stream, false, false)
		do(t, p.Print(note{Text: "a"}))
		first := p.Flush()
		var failed *WriteError
		if !errors.As(first, &failed) || !errors.Is(first, c.want) {
			t.Errorf("got %v, want %v", first, c.want)
		}
		c.stream.short, c.stream.err = 0, nil
		if p.Print(note{Text: "b"}) != first || p.Flush() != first || len(c.writes) != 1 {
			t.Errorf("goes on after %v: %q", first, c.writes)
		}
	}
}

// A Writer keeps the first error, and reports each to its caller.
func TestWriter(t *testing.T) {
	s := &stream{err: syscall.EPIPE}
	w := &Writer{W: s}
	for _, err := range []error{syscall.EPIPE, syscall.ENOSPC} {
		if s.err = err; !errors.Is(second(w.Write([]byte("a"))), err) {
			t.Errorf("%v is not reported", err)
		}
	}
	if failed, ok := errors.AsType[*WriteError](w.Err); !ok || failed.Err != syscall.EPIPE {
		t.Errorf("kept is %v", w.Err)
	}
	if w = (&Writer{W: new(stream)}); second(w.Write([]byte("a"))) != nil || w.Err != nil {
		t.Errorf("%v without an error", w.Err)
	}
}

func second(_ int, err error) error { return err }

// A record that cannot be encoded leaves nothing behind and harms no other.
func TestPrinterEncodeError(t *testing.T) {
	var s stream
	p := NewPrinter(&s, true, false)
	if err := p.Print(note{N: math.NaN()}); err == nil {
		t.Error("NaN was printed")
	}
	do(t, p.Print(note{Text: "b"}))
	do(t, p.Flush())
	if want := `{"kind":"","text":"b","n":0}` + "\n"; !slices.Equal(s.writes, []string{want}) {
		t.Errorf("got %q, want %q", s.writes, want)
	}
}

func BenchmarkPrintJSON(b *testing.B) { benchmarkPrint(b, true) }
func BenchmarkPrintText(b *testing.B) { benchmarkPrint(b, false) }

func benchmarkPrint(b *testing.B, asJSON bool) {
	for name, body := range map[string]string{
		"ASCII":    "But, soft! what light through yonder window breaks?",
		"Cyrillic": "Но тише! Что за свет блеснул в окне?",
	} {
		b.Run(name, func(b *testing.B) {
			p, m := NewPrinter(io.Discard, asJSON, false), newMessage(body)
			b.ReportAllocs()
			for b.Loop() {
				if p.Print(m) != nil || p.Flush() != nil {
					b.Fatal("failed")
				}
			}
		})
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	m, buf := newMessage("But, soft! what light through yonder window breaks?"), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = AppendJSON(buf[:0], m)
	}
}
