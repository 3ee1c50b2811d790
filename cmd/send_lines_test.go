package cmd

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
)

// readAllLines returns the good lines, and what is wrong with the others.
func readAllLines(r io.Reader, badLines string) (all []line, bad []string, err error) {
	err = readLines(r, badLines, func(l []line) bool {
		for _, l := range l {
			if l.err != nil {
				bad = append(bad, l.err.Error())
				continue
			}
			all = append(all, l)
		}
		return true
	})
	return all, bad, err
}

// What is there together is handed on together, and nothing that is there waits.
func TestReadLines(t *testing.T) {
	in, feed := io.Pipe()
	got := make(chan []line)
	go func() {
		_ = readLines(in, badSkip, func(l []line) bool {
			got <- l
			return true
		})
		close(got)
	}()
	for _, test := range []struct {
		write string
		want  []line
	}{
		{"a\n", []line{{1, 1, "a", nil}}},
		{"b\r\n\n \t\nc\nhal", []line{{2, 2, "b", nil}, {5, 5, "c", nil}}},
		{"f\n", []line{{6, 6, "half", nil}}},
	} {
		go io.WriteString(feed, test.write)
		if l := <-got; !slices.Equal(l, test.want) {
			t.Errorf("%q: %v", test.write, l)
		}
	}
	go func() {
		io.WriteString(feed, "last")
		feed.Close()
	}()
	if l := <-got; !slices.Equal(l, []line{{7, 7, "last", nil}}) {
		t.Error(l)
	}
	if _, more := <-got; more {
		t.Error("there is more behind the end")
	}
}

// A line that cannot be sent is named by its number, and those after it are read. A byte
// order mark at the beginning is no text.
func TestReadLinesBad(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, test := range []struct{ in, skip, bad, replace string }{
		{"a\nb\x00\nc\n", "a c", "line 2: ", "a b\uFFFD c"},
		{"a\n\n\xff", "a", "line 3: ", "a \uFFFD"},
		{"a\xff\xfeb\x1b\uFFFE\ud7ff\tc\n", "", "line 1: ", "a\uFFFD\uFFFDb\uFFFD\uFFFD\ud7ff\tc"},
		{"a\n" + long + "\nb\n" + long + long + "\nc", "a b c", "line 2 is longer than, line 4 is longer than", "a b c"},
		{"a\n" + long + long, "a", "line 2 is longer than", "a"},
		{long[1:] + "\nb", long[1:] + " b", "", long[1:] + " b"},
		{"\uFEFFa\n\uFEFFb\n", "a \uFEFFb", "", "a \uFEFFb"},
		{"\uFEFF\nb\n", "b", "", "b"},
		{"\uFEFF", "", "", ""},
	} {
		for mode, want := range map[string]string{badSkip: test.skip, badReplace: test.replace} {
			all, bad, err := readAllLines(strings.NewReader(test.in), mode)
			var texts []string
			for _, l := range all {
				texts = append(texts, l.text)
			}
			if got := strings.Join(texts, " "); err != nil || got != want {
				t.Errorf("%.20q, %s: %.20q, want %.20q, %v", test.in, mode, got, want, err)
			}
			wanted := strings.Split(test.bad, ", ")
			for i, text := range bad {
				if i >= len(wanted) || !strings.Contains(text, wanted[i]) {
					t.Errorf("%.20q, %s: %s", test.in, mode, text)
				}
			}
			if mode == badSkip && test.bad != "" && len(bad) != len(wanted) {
				t.Errorf("%.20q: %q", test.in, bad)
			}
		}
	}
	_, _, err := readAllLines(io.MultiReader(strings.NewReader("a\nhalf"), iotest.ErrReader(errors.New("canary"))), badSkip)
	var e *exit.Error
	if !errors.As(err, &e) || e.Code != exit.Input || e.Error() != "read standard input: canary" {
		t.Error(err)
	}
}

// A line of listen is not for those that it was for: JIDs of the command line get what it
// says, and nothing else of it. What is an error, or says nothing, goes to nobody.
func TestListenedLines(t *testing.T) {
	const from = `"from":"mallory@example.org/x","from_bare":"mallory@example.org","to":"romeo@example.org","id":"theirs","thread":"t","url":"u:x"`
	for in, want := range map[string]string{
		`{"kind":"message","type":"groupchat",` + from + `,"body":"b","subject":"s"}`: `<message xmlns="jabber:client" to="juliet@example.org" type="chat" id="ID"><subject>s</subject><body>b</body></message>`,
		`{"kind":"message",` + from + `,"subject":"s"}`:                               `<message xmlns="jabber:client" to="juliet@example.org" type="chat" id="ID"><subject>s</subject></message>`,
		`{"kind":"message","type":"error",` + from + `,"body":"b"}`:                   "skipped",
		`{"kind":"message",` + from + `,"receipt_for":"r"}`:                           "skipped",
		`{"kind":"presence",` + from + `}`:                                            "skipped",
		`{"kind":"message",` + from + `,"body":7}`:                                    "bad",
	} {
		s := &sender{inputJSON: true, graceOf: func(xmpp.JID) time.Duration { return 0 }}
		made, err := s.fromLine(line{1, 1, in, nil}, []target{{jid: jid("juliet@example.org")}})
		got := map[bool]string{true: "skipped", false: "bad"}[errors.Is(err, errListened)]
		if len(made) == 1 {
			b, _ := xmpp.XML(made[0].Stanza)
			got = strings.ReplaceAll(string(b), made[0].ID(), "ID")
		}
		if got != want {
			t.Errorf("%s\nis %s, want %s (%v)", in, got, want, err)
		}
		if made, err = s.fromLine(line{1, 1, in, nil}, nil); len(made) > 0 || !errors.Is(err, errListened) {
			t.Errorf("%s without JIDs: %v", in, err)
		}
	}
}

// A batch ends with its time, which begins with its first line, and with its room.
func TestReadBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, feed := io.Pipe()
		go func() {
			for _, s := range []string{"a\n", "b\n", "c\nd\n"} {
				io.WriteString(feed, s)
				time.Sleep(600 * time.Millisecond)
			}
			io.WriteString(feed, "&&&\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\ny\nz\n")
			feed.Close()
		}()
		started := time.Now()
		type batch struct {
			line
			at time.Duration
		}
		var got []batch
		err := readBatches(t.Context(), in, badSkip, time.Second, 18, func(l []line) bool {
			got = append(got, batch{l[0], time.Since(started)})
			return true
		})
		const ms = time.Millisecond
		want := []batch{
			{line{1, 2, "a\nb", nil}, 1000 * ms}, {line{3, 4, "c\nd", nil}, 1800 * ms}, {line{5, 5, "&&&", nil}, 1800 * ms},
			{line{6, 6, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", nil}, 1800 * ms}, {line{7, 8, "y\nz", nil}, 1800 * ms},
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v\n got %v\nwant %v", err, got, want)
		}
	})
}

// Whatever comes in, what goes out is in it, can be written, and is the same however the
// input is cut to pieces.
func FuzzInput(f *testing.F) {
	for _, s := range []string{"a\nb\r\n\r\n", "\x00", "\xff\n", `{"to":"a@b","body":"x","id":null}` + "\n{}", `{"body":"\ud800"}`, `["x"]`, `{"from_bare":"a@b","body":"x"}`, "\uFEFFx\n\x1b", `{"type":"chat","url":"\u0001"}`, "\n\n\nx"} {
		f.Add([]byte(s), false, false)
		f.Add([]byte(s), true, true)
	}
	f.Fuzz(func(t *testing.T, in []byte, asJSON, replace bool) {
		s := &sender{lines: !asJSON, inputJSON: asJSON, receipt: true, retry: 1, graceOf: func(xmpp.JID) time.Duration { return 0 }}
		targets := []target{{jid: jid("juliet@example.org")}}
		mode := badSkip
		if replace {
			mode = badReplace
		}
		s.badLines = mode
		all, bad, err := readAllLines(bytes.NewReader(in), mode)
		cut, cutBad, cutErr := readAllLines(iotest.OneByteReader(bytes.NewReader(in)), mode)
		if err != nil || cutErr != nil {
			t.Fatalf("%v; byte by byte %v", err, cutErr)
		}
		if !slices.Equal(all, cut) || !slices.Equal(bad, cutBad) {
			t.Fatalf("%v, %v; byte by byte %v, %v", all, bad, cut, cutBad)
		}
		if replace && len(in) < maxLine && len(bad) > 0 {
			t.Fatalf("not replaced: %v", bad)
		}
		for _, l := range all {
			made, err := s.fromLine(l, targets)
			if err != nil {
				var e *exit.Error
				if errors.Is(err, errListened) && asJSON {
					continue
				}
				if !errors.As(err, &e) || e.Code != exit.Data || len(made) > 0 {
					t.Fatalf("%q: %v", l.text, err)
				}
				continue
			}
			if len(made) != 1 {
				t.Fatalf("%q: %d messages", l.text, len(made))
			}
			b, err := xmpp.XML(made[0].Stanza)
			if err != nil || !utf8.Valid(b) || len(b) > 6*made[0].Size+1000 {
				t.Fatalf("%q: %v, %d bytes instead of about %d", l.text, err, len(b), made[0].Size)
			}
			if body, _ := xmpp.Text(made[0].Stanza, xmpp.NSClient, "body"); !asJSON && body != l.text {
				t.Fatalf("%q became %q", l.text, body)
			}
		}
	})
}
