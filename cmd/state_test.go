package cmd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xmppkit/cmd/files"
	"xmppkit/xmpp"
)

// What is remembered of logins: read, written only if it changed, and never a failure.
func TestState(t *testing.T) {
	jid := xmpp.JID{Local: "romeo", Domain: "example.org", Resource: "r"}
	env := func(vars map[string]string) *Env {
		return &Env{Getenv: func(name string) string { return vars[name] }}
	}
	for _, test := range []struct {
		vars  map[string]string
		flags globals
		dir   string
	}{
		{map[string]string{"XDG_STATE_HOME": "/x", "HOME": "/h"}, globals{}, "/x/xmppkit"},
		{map[string]string{"HOME": "/h"}, globals{}, "/h/.local/state/xmppkit"},
		{map[string]string{"XDG_STATE_HOME": "x", "HOME": "/h"}, globals{}, "/h/.local/state/xmppkit"},
		{map[string]string{"XDG_STATE_HOME": "x"}, globals{}, ""},
		{map[string]string{"XDG_STATE_HOME": "x", "HOME": "h"}, globals{}, ""},
		{nil, globals{}, ""},
		{map[string]string{"STATE_DIRECTORY": "/var/lib/a", "XDG_STATE_HOME": "/x", "HOME": "/h"}, globals{}, "/var/lib/a/xmppkit"},
		{map[string]string{"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, globals{}, "/var/lib/a/xmppkit"},
		{map[string]string{"STATE_DIRECTORY": "a:/b", "XDG_STATE_HOME": "/x"}, globals{}, "/x/xmppkit"},
		{map[string]string{"STATE_DIRECTORY": "/var/lib/a"}, globals{stateDir: "s"}, "s"},
		{map[string]string{"STATE_DIRECTORY": "/var/lib/a"}, globals{noCache: true}, ""},
		{map[string]string{"HOME": "/h"}, globals{stateDir: "s"}, "s"},
		{map[string]string{"HOME": "/h"}, globals{stateDir: "s", noCache: true}, ""},
	} {
		e := env(test.vars)
		e.flags = test.flags
		file := e.stateFile("login", jid)
		if file != "" && filepath.Dir(file) != test.dir || (file == "") != (test.dir == "") {
			t.Errorf("%+v: %s", test, file)
		}
		if other := e.stateFile("login", xmpp.JID{Local: "romeo2", Domain: "example.org"}); file != "" && (other == file || e.stateFile("login", jid.Bare()) != file) {
			t.Errorf("one file for two accounts, or two for one: %s", file)
		}
	}

	e := env(nil)
	e.flags.stateDir = filepath.Join(t.TempDir(), "new", "state")
	o := xmpp.Options{JID: jid, Memory: new(xmpp.Memory)}
	before, err := e.remember(&o)
	if err != nil {
		t.Error(err)
	}
	e.store(o, before) // nothing to write
	if _, err := os.Stat(e.flags.stateDir); err == nil || before != (xmpp.Memory{}) {
		t.Errorf("%+v, %v", before, err)
	}
	o.Memory.NoPlain = true
	e.store(o, before)
	info, err := os.Stat(e.stateFile("login", jid))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if dir, err := os.Stat(e.flags.stateDir); err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", dir, err)
	}
	again := xmpp.Options{JID: jid.Bare(), Memory: new(xmpp.Memory)}
	if got, err := e.remember(&again); err != nil || got != (xmpp.Memory{NoPlain: true}) || *again.Memory != got {
		t.Errorf("%+v, %v", got, err)
	}
	// One that ends later, and knew nothing of that, takes nothing back.
	e.store(xmpp.Options{JID: jid, Memory: &xmpp.Memory{TLSUnique: true}}, xmpp.Memory{})
	if got, err := e.remember(&again); err != nil || got != (xmpp.Memory{NoPlain: true, TLSUnique: true}) {
		t.Errorf("%+v, %v", got, err)
	}
	if all, _ := os.ReadDir(e.flags.stateDir); len(all) != 1 {
		t.Errorf("left behind: %v", all)
	}
	e.flags.stateDir = filepath.Join(e.stateFile("login", jid), "below-a-file")
	e.store(o, xmpp.Memory{}) // not a failure
	if before, err := e.remember(&o); err != nil || before != (xmpp.Memory{}) {
		t.Errorf("%+v, %v", before, err)
	}
	e.flags.stateDir = os.DevNull // which some give for none
	if before, err := e.remember(&o); err != nil || before != (xmpp.Memory{}) {
		t.Errorf("%+v, %v", before, err)
	}
}

// What is remembered of logins allows nothing where it cannot be read, and is repaired by
// the next login.
func TestDamagedMemory(t *testing.T) {
	jid := xmpp.JID{Local: "romeo", Domain: "example.org"}
	e := &Env{Getenv: func(string) string { return "" }}
	e.flags.stateDir = t.TempDir()
	file := e.stateFile("login", jid)
	const whole = `{"no_plain":false,"tls_unique":true}`
	damage := map[string]func() error{
		"a directory":     func() error { return os.Mkdir(file, 0o700) },
		"a dangling link": func() error { return os.Symlink(filepath.Join(t.TempDir(), "none"), file) },
		"a link inside": func() error {
			return errors.Join(os.WriteFile(file+".other", []byte(whole), 0o600), os.Symlink(filepath.Base(file)+".other", file))
		},
		"a link outside": func() error {
			other := filepath.Join(t.TempDir(), "other")
			return errors.Join(os.WriteFile(other, []byte(whole), 0o600), os.Symlink(other, file))
		},
		"long": func() error {
			return errors.Join(os.WriteFile(file, []byte(whole), 0o600), os.Truncate(file, files.MaxState+1))
		},
	}
	for _, text := range []string{
		" ", "{}", "[]", "null", `{"no_plain":"yes","tls_unique":true}`, `{"no_plain":true,"tls_unique":7}`, `{"no_plain":null,"tls_unique":true}`, `{"no_plaim":true,"tls_unique":true}`,
		whole + "x", whole + whole, strings.Repeat("\x00", len(whole)),
	} {
		damage[text] = func() error { return os.WriteFile(file, []byte(text), 0o600) }
	}
	for n := range whole {
		damage[whole[:n]] = func() error { return os.WriteFile(file, []byte(whole[:n]), 0o600) }
	}
	for name, do := range damage {
		if err := do(); err != nil {
			t.Fatal(err)
		}
		o := xmpp.Options{JID: jid, Memory: new(xmpp.Memory)}
		before, err := e.remember(&o)
		if err == nil || !strings.Contains(err.Error(), file) || *o.Memory != (xmpp.Memory{NoPlain: true}) {
			t.Errorf("%s: %+v, %v", name, *o.Memory, err)
		}
		e.store(o, before)
		again := xmpp.Options{JID: jid, Memory: new(xmpp.Memory)}
		if _, err := e.remember(&again); (err != nil) != (name == "a directory") || !again.Memory.NoPlain {
			t.Errorf("%s: %+v, %v after the next login", name, *again.Memory, err)
		}
		os.RemoveAll(file)
	}
}
