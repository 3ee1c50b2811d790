package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"xmppkit/xmpp"
)

// stateful is an Env that keeps its state in a directory of the test.
func stateful(t testing.TB) *Env {
	return &Env{Getenv: func(string) string { return "" }, flags: globals{stateDir: filepath.Join(t.TempDir(), "state")}}
}

func twoContacts(t testing.TB) *xmpp.Roster {
	juliet, nurse := jid("juliet@example.org"), jid("nurse@example.org")
	return &xmpp.Roster{Account: jid("romeo@example.org"), Version: "v1", Contacts: map[xmpp.JID]xmpp.Contact{
		nurse:  {JID: nurse, Subscription: "none", Ask: true, Approved: true},
		juliet: {JID: juliet, Name: "<J>\n\"\u009b", Subscription: "both", Groups: []string{"a", "b"}},
	}}
}

func TestRosterCache(t *testing.T) {
	env, r := stateful(t), twoContacts(t)
	if got := env.cachedRoster(r.Account); got != nil || env.cachedContacts(r.Account) != nil {
		t.Errorf("out of nothing: %+v", got)
	}
	env.keepRoster(r.Account, r, nil)
	for _, who := range []string{"romeo@example.org", "romeo@example.org/orchard"} {
		if got := env.cachedRoster(jid(who)); !reflect.DeepEqual(got, r) {
			t.Errorf("%s: got %+v", who, got)
		}
	}
	if got := env.cachedRoster(jid("juliet@example.org")); got != nil {
		t.Errorf("of another account: %+v", got)
	}
	if got := env.cachedContacts(r.Account); !reflect.DeepEqual(got, r.Sorted()) {
		t.Errorf("contacts: %v", got)
	}
	files, err := os.ReadDir(env.flags.stateDir)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if info, _ := files[0].Info(); info.Mode() != 0o600 {
		t.Error(info.Mode())
	}

	// What is not worth it, or not wanted, is not kept.
	file := filepath.Join(env.flags.stateDir, files[0].Name())
	for name, keep := range map[string]func(){
		"the same version": func() { env.keepRoster(r.Account, &xmpp.Roster{Account: r.Account, Version: "v1"}, r) },
		"no version":       func() { env.keepRoster(r.Account, &xmpp.Roster{Account: r.Account, Contacts: r.Contacts}, r) },
		"--no-cache": func() {
			env.flags.noCache = true
			defer func() { env.flags.noCache = false }()
			env.keepRoster(r.Account, &xmpp.Roster{Account: r.Account, Version: "v2", Contacts: r.Contacts}, r)
			if env.cachedRoster(r.Account) != nil {
				t.Error("--no-cache reads the cache")
			}
		},
	} {
		before, _ := os.ReadFile(file)
		keep()
		if after, _ := os.ReadFile(file); string(after) != string(before) {
			t.Errorf("%s: kept %s", name, after)
		}
	}
	env.keepRoster(r.Account, &xmpp.Roster{Account: r.Account, Version: "v2"}, r) // empty
	if _, err := os.Stat(file); err == nil {
		t.Error("contacts that are gone are kept")
	}
}

// A cache that this program has not written for this account is none.
func TestBrokenRosterCache(t *testing.T) {
	env, r := stateful(t), twoContacts(t)
	env.keepRoster(r.Account, r, nil)
	good, err := os.ReadFile(env.stateFile("roster", r.Account))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseRoster(good, r.Account); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{string(good), ""}, {string(good), "null"}, {string(good), "[]"}, {string(good), "\x00\xff"},
		{string(good), string(good) + "{}"},
		{`"format":1`, `"format":2`}, {`"format":1`, `"format":"1"`},
		{"romeo@example.org", "mallory@example.org"}, {"romeo@example.org", ""},
		{`"v1"`, `""`}, {`"v1"`, `1`},
		{"juliet@example.org", "nurse@example.org"}, {"juliet@example.org", "a@b@c"}, {"juliet@example.org", ""},
		{`"jid":"juliet@example.org",`, ""},
		{`"both"`, `"remove"`}, {`"both"`, `""`}, {`"both"`, `"all"`},
		{`["a","b"]`, `"a"`}, {`["a","b"]`, `["a","\u0007"]`}, {`"v1"`, `"\u0000"`}, {"juliet@example.org", "juliet@example.org/\uffff"},
		{`"name":"`, `"name":"\u001b`},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) {
			t.Fatalf("%q is not in %s", change[0], good)
		}
		if got, err := parseRoster([]byte(bad), r.Account); err == nil {
			t.Errorf("%s instead of %s: %+v", change[1], change[0], got)
		}
	}
}

// What is read is what was written, or nothing.
func FuzzParseRoster(f *testing.F) {
	env, r := stateful(f), twoContacts(f)
	env.keepRoster(r.Account, r, nil)
	good, _ := os.ReadFile(env.stateFile("roster", r.Account))
	for _, s := range []string{string(good), "", "{}", "null", strings.Replace(string(good), "both", "remove", 1), string(good[:len(good)/2])} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseRoster(b, r.Account)
		if err != nil {
			if got != nil {
				t.Errorf("an error, and %+v", got)
			}
			return
		}
		if got.Account != r.Account || got.Version == "" {
			t.Errorf("%+v", got)
		}
		for jid, c := range got.Contacts {
			if parsed, err := xmpp.SplitJID(jid.String()); err != nil || parsed != jid || c.JID != jid {
				t.Errorf("%q is %+v: %v", jid, c, err)
			}
		}
		if env.keepRoster(r.Account, got, nil); len(got.Contacts) > 0 {
			again := env.cachedRoster(r.Account)
			if again == nil || again.Version != got.Version || fmt.Sprint(again.Sorted()) != fmt.Sprint(got.Sorted()) {
				t.Errorf("%+v became %+v", got, again)
			}
		}
	})
}

func BenchmarkParseRoster(b *testing.B) {
	r := &xmpp.Roster{Account: jid("romeo@example.org"), Version: "v1", Contacts: make(map[xmpp.JID]xmpp.Contact)}
	for i := range 10_000 {
		j := xmpp.JID{Local: fmt.Sprint("contact", i), Domain: "example.org"}
		r.Contacts[j] = xmpp.Contact{JID: j, Name: fmt.Sprint("Contact ", i), Subscription: "both", Groups: []string{"Group"}}
	}
	env := stateful(b)
	env.keepRoster(r.Account, r, nil)
	text, err := os.ReadFile(env.stateFile("roster", r.Account))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := parseRoster(text, r.Account); err != nil {
			b.Fatal(err)
		}
	}
}
