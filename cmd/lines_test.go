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

	"xmppkit/xmpp"
)

func readAllLines(r io.Reader) (all []line, err error) {
	err = readLines(r, func(l []line) bool {
		all = append(all, l...)
		return true
	})
	return all, err
}

// What is there together is handed on together, and nothing that is there waits.
func TestReadLines(t *testing.T) {
	in, feed := io.Pipe()
	got := make(chan []line)
	go func() {
		_ = readLines(in, func(l []line) bool {
			got <- l
			return true
		})
		close(got)
	}()
	for _, test := range []struct {
		write string
		want  []line
	}{
		{"a\n", []line{{1, 1, "a"}}},
		{"b\r\n\n \t\nc\nhal", []line{{2, 2, "b"}, {5, 5, "c"}}},
		{"f\n", []line{{6, 6, "half"}}},
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
	if l := <-got; !slices.Equal(l, []line{{7, 7, "last"}}) {
		t.Error(l)
	}
	if _, more := <-got; more {
		t.Error("there is more behind the end")
	}
}

func TestReadLinesErrors(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, test := range []struct {
		in    io.Reader
		lines int
		code  int
		text  string
	}{
		{strings.NewReader("a\nb\x00\nc\n"), 1, exitData, "line 2: "},
		{strings.NewReader("a\n\n\xff"), 1, exitData, "line 3: "},
		{strings.NewReader("a\n" + long + "\nb"), 1, exitData, "line 2 is longer than"},
		{strings.NewReader(long[1:] + "\nb"), 2, 0, ""},
		{io.MultiReader(strings.NewReader("a\nhalf"), iotest.ErrReader(errors.New("canary"))), 1, exitInput, "read standard input: canary"},
	} {
		all, err := readAllLines(test.in)
		var e *exitError
		if errors.As(err, &e); len(all) != test.lines || test.code == 0 && err != nil || test.code != 0 && (e == nil || e.code != test.code || !strings.Contains(e.Error(), test.text)) {
			t.Errorf("%d lines, %v, want %d, %q", len(all), err, test.lines, test.text)
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
		err := readBatches(t.Context(), in, time.Second, 18, func(l []line) bool {
			got = append(got, batch{l[0], time.Since(started)})
			return true
		})
		const ms = time.Millisecond
		want := []batch{
			{line{1, 2, "a\nb"}, 1000 * ms}, {line{3, 4, "c\nd"}, 1800 * ms}, {line{5, 5, "&&&"}, 1800 * ms},
			{line{6, 6, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}, 1800 * ms}, {line{7, 8, "y\nz"}, 1800 * ms},
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v\n got %v\nwant %v", err, got, want)
		}
	})
}

// The delays of a backoff double, and stay within a maximum.
func TestBackoff(t *testing.T) {
	b := backoff{start: time.Second, max: time.Minute}
	for range 3 {
		for _, least := range []time.Duration{1, 2, 4, 8, 16, 32, 40, 40, 40} {
			if d := b.next(); d < least*time.Second || d > least*time.Second*3/2 {
				t.Errorf("%s, want %d s and up to a half more", d, least)
			}
		}
		b.reset()
	}
	for range 100 {
		if d := b.next(); d > time.Minute {
			t.Error(d)
		}
	}
}

// Whatever comes in, what goes out is in it, can be written, and is the same however the
// input is cut to pieces.
func FuzzInput(f *testing.F) {
	for _, s := range []string{"a\nb\r\n\r\n", "\x00", "\xff\n", `{"to":"a@b","body":"x","id":null}` + "\n{}", `{"body":"\ud800"}`, `["x"]`, `{"type":"chat","url":"\u0001"}`, "\n\n\nx"} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, asJSON bool) {
		s := &sender{lines: !asJSON, inputJSON: asJSON, receipt: true, retry: 1, graceOf: func(xmpp.JID) time.Duration { return 0 }}
		targets := []target{{jid: jid("juliet@example.org")}}
		all, err := readAllLines(bytes.NewReader(in))
		cut, cutErr := readAllLines(iotest.OneByteReader(bytes.NewReader(in)))
		if !slices.Equal(all, cut) || (err == nil) != (cutErr == nil) {
			t.Fatalf("%v, %v; byte by byte %v, %v", all, err, cut, cutErr)
		}
		for _, l := range all {
			made, err := s.fromLine(l, targets)
			if err != nil {
				var e *exitError
				if !errors.As(err, &e) || e.code != exitData || len(made) > 0 {
					t.Fatalf("%q: %v", l.text, err)
				}
				continue
			}
			if len(made) != 1 {
				t.Fatalf("%q: %d messages", l.text, len(made))
			}
			b, err := xmpp.XML(made[0].stanza)
			if err != nil || !utf8.Valid(b) || len(b) > 6*made[0].size+1000 {
				t.Fatalf("%q: %v, %d bytes instead of about %d", l.text, err, len(b), made[0].size)
			}
			if body, _ := xmpp.Text(made[0].stanza, xmpp.NSClient, "body"); !asJSON && body != l.text {
				t.Fatalf("%q became %q", l.text, body)
			}
		}
	})
}
