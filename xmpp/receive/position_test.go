package receive

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"xmppkit/xmpp"
)

// open opens the file of a position, and makes it if it is not there.
func open(file string) (*Position, error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if os.IsNotExist(err) {
		if err = os.WriteFile(file, NewFile(jid("romeo@localhost")), 0o600); err == nil {
			f, err = os.OpenFile(file, os.O_RDWR, 0)
		}
	}
	if err != nil {
		return nil, err
	}
	return ReadPosition(f, jid("romeo@localhost"))
}

func mustOpen(t *testing.T, file string) *Position {
	t.Helper()
	p, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.file.Close() })
	return p
}

// What is saved is there for the next one, whatever its length was before.
func TestPosition(t *testing.T) {
	file := filepath.Join(t.TempDir(), "durable.json")
	p := mustOpen(t, file)
	if p.Session != nil || !p.isNew() {
		t.Fatalf("a new one is %+v", p)
	}
	for i, test := range []struct{ hasIDs, known bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		if known := p.begin(test.hasIDs); known != test.known {
			t.Fatalf("begin %d: %v, want %v: %+v", i+1, known, test.known, p)
		}
	}
	p.Session = &xmpp.Resumption{JID: jid("romeo@localhost/r"), ID: strings.Repeat("x", 500), Handled: 7}
	for i := range 100 {
		p.pass([]string{fmt.Sprint("id", i)})
	}
	if err := p.save(p.Session); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, file)
	if after, _ := again.last(); !again.begin(true) || after != "id67" {
		t.Errorf("it begins after %q, want id67: %+v", after, again)
	}
	if len(again.IDs) != keptIDs || again.IDs[0] != "id68" || again.has("id67") || !again.has("id99") {
		t.Errorf("it has %q, want id68 to id99", again.IDs)
	}
	if r := again.Session; r.ID != p.Session.ID || r.Handled != 7 || r.JID != p.Session.JID {
		t.Errorf("session %+v, want %+v", again.Session, p.Session)
	}
	if !again.Time.Equal(p.Time) {
		t.Errorf("time %v, want %v", again.Time, p.Time)
	}
	again.pass([]string{"last"})
	if !again.Time.Equal(p.Time) {
		t.Error("what is older is still to be read, and the time is that of now")
	}
	if start := again.forget(); !start.Equal(p.Time.Add(-clockSkew)) || !again.has("last") || !again.has("id99") {
		t.Errorf("%v, %+v", start, again)
	}
	if after, start := again.last(); after != "" || !start.Equal(p.Time.Add(-clockSkew)) {
		t.Errorf("%q, %v", after, start)
	}
	again.pass([]string{"last"})
	again.caughtUp()
	if again.pass(nil); !again.Time.After(p.Time) {
		t.Error("the time is not that of now")
	}
	if err := again.save(nil); err != nil { // shorter by far
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(file); bytes.Count(b, []byte("\n")) != 1 || !bytes.HasSuffix(b, []byte("\n")) {
		t.Errorf("%q", b)
	}
	if once := mustOpen(t, file); once.Session != nil || !once.has("last") {
		t.Errorf("%+v", once)
	}
}

// The file says from the beginning that the position is new, and then where the archive
// ended; that is what the first gap begins after, whatever the clock says and whatever was
// handed on. It is written before the next step, and a position that is new stays new.
func TestPositionStart(t *testing.T) {
	for _, test := range []struct {
		after, start, file string
		from               string
		whole              bool // the archive is read from its beginning
	}{
		{"id7", "", `"after":"id7","ids":[]`, "id7", false},
		{"", startEmpty, `"start":"empty"`, "", true},
		{"", startNone, `"start":"none"`, "", false},
	} {
		file := filepath.Join(t.TempDir(), "durable.json")
		p := mustOpen(t, file)
		if b, _ := os.ReadFile(file); !bytes.Contains(b, []byte(`"start":"new"`)) || !p.isNew() {
			t.Fatalf("%s", b)
		}
		if err := p.save(nil); err != nil {
			t.Fatal(err)
		}
		p.file.Close()
		if p = mustOpen(t, file); !p.isNew() { // nobody has asked
			t.Errorf("%+v", p)
		}
		if err := p.settle(test.after, test.start); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(file); !bytes.Contains(b, []byte(test.file)) {
			t.Errorf("%s: %s", b, test.file)
		}
		for name, p := range map[string]*Position{"this process": p, "another": mustOpen(t, file)} {
			after, start := p.last()
			if p.isNew() || after != test.from || start.IsZero() != (test.from != "" || test.whole) {
				t.Errorf("%s: %+v is read from %q, %s", name, test, after, start)
			}
			if missed := p.begin(false); missed != (name == "another") || p.CatchUp != (missed || test.start != startNone) {
				t.Errorf("%s: something was missed: %v", name, missed)
			}
			if test.start != startNone {
				p.pass([]string{"a", "b"})
				if p.isFresh() { // of what was handed on some may be older
					for i := range 2 * keptIDs {
						p.pass([]string{fmt.Sprint("id", i)})
					}
				}
				if after, start := p.last(); after != test.from || !start.IsZero() {
					t.Errorf("%s: %+v is read from %q, %s after more has come", name, test, after, start)
				}
				if p.caughtUp(); p.CatchUp || p.isFresh() {
					t.Errorf("%s: %+v", name, p)
				}
			}
		}
	}
}

// What an earlier version has written is still read; without a time it is new.
func TestPositionFormat(t *testing.T) {
	for text, want := range map[string]string{
		`{"format":1,"account":"romeo@localhost","has_ids":true,"after":"","ids":["a","b"],"time":"2026-11-21T00:00:00Z"}`:  "a",
		`{"format":1,"account":"romeo@localhost","has_ids":true,"after":"z","ids":["a","b"],"time":"2026-11-21T00:00:00Z"}`: "z",
		`{"format":1,"account":"romeo@localhost","has_ids":true,"after":"","ids":[],"time":"2026-11-21T00:00:00Z"}`:         "2026-11-20T23:59:00Z",
		`{"format":1,"account":"romeo@localhost","has_ids":false,"after":"","ids":[],"time":"0001-01-01T00:00:00Z"}`:        "new",
	} {
		p, err := parsePosition([]byte(text), jid("romeo@localhost"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, start := p.last()
		if !start.IsZero() {
			got = start.Format(time.RFC3339)
		}
		if p.isNew() {
			got = "new"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Long ids are kept as long as they fit into what is written at once.
func TestPositionPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "durable.json")
	p := mustOpen(t, file)
	for i := range 100 {
		p.pass([]string{strings.Repeat("x", 300) + fmt.Sprint(i)})
	}
	if err := p.save(nil); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	again := mustOpen(t, file)
	if err != nil || info.Size() > onePage || len(again.IDs) < 8 || again.IDs[len(again.IDs)-1] != p.IDs[99] {
		t.Errorf("%v, %d bytes, %d ids", err, info.Size(), len(again.IDs))
	}
}

// The memory of what has come is bounded.
func TestPositionBounds(t *testing.T) {
	p := NewPosition(jid("romeo@localhost"))
	for i := range 10 * manyIDs {
		p.pass([]string{fmt.Sprint(i)})
	}
	if len(p.IDs) != manyIDs || p.IDs[manyIDs-1] != fmt.Sprint(10*manyIDs-1) || p.After != fmt.Sprint(9*manyIDs-1) {
		t.Errorf("%d, %s", len(p.IDs), p.After)
	}
	if err := p.save(nil); err != nil { // it is not durable
		t.Error(err)
	}
}

// What a server wants to be kept cannot make the file one that is never read again.
func TestPositionTooLarge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "durable.json")
	p := mustOpen(t, file)
	p.pass([]string{"one", strings.Repeat("x", maxPosition)})
	if err := p.save(nil); err != nil {
		t.Fatal(err)
	}
	if err := p.save(&xmpp.Resumption{JID: jid("romeo@localhost/r"), ID: strings.Repeat("x", maxPosition)}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("saved: %v", err)
	}
	if again := mustOpen(t, file); again.Session != nil || !again.has("one") {
		t.Errorf("%+v", again)
	}
}

// A file that cannot be ours is not begun anew: that would hide a loss.
func TestPositionBroken(t *testing.T) {
	dir := t.TempDir()
	for i, text := range []string{
		"", " \n", "x", "{", "[]", "{}", `{"format":2,"account":"romeo@localhost"}`, `{"format":1,"account":"juliet@localhost"}`,
		`{"format":1,"account":"romeo@localhost","session":{"jid":"romeo@other.example/x","id":"1"}}`, `{"format":1,"account":"romeo@localhost","session":{"jid":"romeo@localhost/x"}}`,
		`{"format":1,"account":"romeo@localhost","after":"\u0000"}`, `{"format":1,"account":"romeo@localhost","ids":["a","\ufffe"]}`,
		`{"format":1,"account":"romeo@localhost","session":{"jid":"romeo@localhost/x","id":"\u001b"}}`,
		`{"format":1,"account":"romeo@localhost","session":{"jid":"romeo@localhost/\u0001","id":"x"}}`,
		`{"format":1,"account":"@"}`, "\x00\xff", `{"format":1,"account":"romeo@localhost","ids":7}`,
	} {
		file := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: %v", text, err)
		}
		if b, _ := os.ReadFile(file); string(b) != text {
			t.Errorf("%q was changed", text)
		}
	}
}

func FuzzPosition(f *testing.F) {
	for _, seed := range []string{
		`{"format":1,"account":"romeo@localhost","session":{"jid":"romeo@localhost/x","id":"1","handled":4294967295},"has_ids":true,"after":"1","ids":["2","2",""],"time":"2026-11-21T00:00:00Z"}`,
		`{"format":1,"account":"romeo@localhost","start":"empty","behind":true,"has_ids":false,"after":"","ids":[],"time":"2026-11-21T00:00:00Z"}`,
	} {
		d := json.NewDecoder(strings.NewReader(seed))
		d.DisallowUnknownFields()
		if err := d.Decode(new(Position)); err != nil {
			f.Fatalf("a seed that is of no use: %v", err)
		}
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePosition(b, jid("romeo@localhost"))
		if err != nil {
			return
		}
		p.pass([]string{"new"})
		_, ids := p.tail(keptIDs)
		if !slices.Contains(ids, "new") || p.Session != nil && p.Session.ID == "" {
			t.Errorf("%+v", p)
		}
	})
}
