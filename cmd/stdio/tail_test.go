package stdio

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// appendTo opens a file as >> does.
func appendTo(t *testing.T, file string) *os.File {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func newTail(t *testing.T, file string, torn *int) *tailWriter {
	t.Helper()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("standard output cannot be read here")
	}
	return &tailWriter{out: appendTo(t, file), torn: func() { *torn++ }}
}

// Each result is in a line of its own, also where another writer tears one meanwhile.
func TestTailWriter(t *testing.T) {
	for before, want := range map[string]string{
		"": "a\nb\n", "\n": "\na\nb\n", "x\n": "x\na\nb\n", "x": "x\na\nb\n", "x\ny": "x\ny\na\nb\n",
	} {
		file := filepath.Join(t.TempDir(), "out")
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		torn := 0
		w := newTail(t, file, &torn)
		for _, line := range []string{"a\n", "b\n"} {
			if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
				t.Errorf("%q: %d, %v", before, n, err)
			}
		}
		if got, _ := os.ReadFile(file); string(got) != want || torn != len(want)-len(before)-len("a\nb\n") {
			t.Errorf("%q became %q, %d lines were torn", before, got, torn)
		}
		appendTo(t, file).WriteString("torn")
		if _, err := w.Write([]byte("c\n")); err != nil {
			t.Error(err)
		}
		if got, _ := os.ReadFile(file); string(got) != want+"torn\nc\n" {
			t.Errorf("%q became %q", before, got)
		}
	}
}

// What another one has not written to its end yet is no torn line.
func TestTailWaits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	torn := 0
	w, other := newTail(t, file, &torn), appendTo(t, file)
	other.WriteString("x, ")
	written := make(chan struct{})
	time.AfterFunc(5*time.Millisecond, func() {
		defer close(written)
		other.WriteString("y\n")
	})
	if _, err := w.Write([]byte("a\n")); err != nil {
		t.Fatal(err)
	}
	<-written
	if got, _ := os.ReadFile(file); string(got) != "x, y\na\n" || torn != 0 {
		t.Errorf("it became %q, %d lines were torn", got, torn)
	}
}

// What was written in part is taken back only where nobody else can have written since.
func TestTakeBack(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(t *testing.T, file string)
		cut       bool
	}{
		"nothing": {func(*testing.T, string) {}, true},
		"something after it": {func(t *testing.T, file string) {
			appendTo(t, file).WriteString("other\n")
		}, false},
		"something else in its place": {func(t *testing.T, file string) {
			if err := os.WriteFile(file, []byte("x\nPART"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, false},
		"less": {func(t *testing.T, file string) {
			if err := os.Truncate(file, 3); err != nil {
				t.Fatal(err)
			}
		}, false},
		"another of us": {func(t *testing.T, file string) {
			torn := 0
			if _, err := newTail(t, file, &torn).Write(nil); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		file := filepath.Join(t.TempDir(), "out")
		torn := 0
		w := newTail(t, file, &torn)
		if _, err := w.Write([]byte("x\n")); err != nil {
			t.Fatal(err)
		}
		w.out.WriteString("part") // as if the rest had failed
		test.meanwhile(t, file)
		before, _ := os.ReadFile(file)
		w.takeBack(int64(len("x\n")), []byte("part"))
		after, _ := os.ReadFile(file)
		if test.cut != (string(after) == "x\n") || !test.cut && string(after) != string(before) {
			t.Errorf("%s: %q became %q", name, before, after)
		}
		if !strings.HasPrefix(string(after), "x\n") {
			t.Errorf("%s: more than that is gone", name)
		}
	}
}
