package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseTOML(t *testing.T) {
	pin := func(s string) string { return "sha256:" + strings.Repeat(s, 32) }
	c, err := Parse("f", `# what all have in common
jid = "romeo@example.org"
timeout = 5
tls_pin = "`+pin("ab")+`"
default_account = "my work"

[account."my work"]
jid = "juliet@example.net/balcony"
password_command = 'pass show work'
timeout = "2m"
allow_plain = true
tls_pin = ["`+pin("01")+`", "`+pin("23")+`"]
server = "[::1]:5222"
tls = "direct"

[account]
other = { resource = "cron" }
`)
	if err != nil {
		t.Fatal(err)
	}
	want := File{
		Name:     "f",
		Lines:    map[string]int{"": 2, "my work": 8, "other": 17},
		Defaults: Section{"jid": {"romeo@example.org"}, "timeout": {"5"}, "tls_pin": {pin("ab")}},
		Accounts: map[string]Section{
			"my work": {
				"jid": {"juliet@example.net/balcony"}, "password_command": {"pass show work"}, "timeout": {"2m"}, "allow_plain": {"true"},
				"tls_pin": {pin("01"), pin("23")}, "server": {"[::1]:5222"}, "tls": {"direct"},
			},
			"other": {"resource": {"cron"}},
		},
		DefaultAccount: "my work",
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v", c)
	}
}

// What is wrong is said with its line, and never with the value of a password.
func TestParseTOMLErrors(t *testing.T) {
	for text, want := range map[string]string{
		"jidd = \"a@b\"":   "f:1: jidd: unknown key",
		"\n\npassword = 3": "f:3: password: want a quoted string",
		"password = \"\"":  "f:1: password: empty",
		"password = \"hunter2\"\npassword_file = \"x\"": "f:1: password: there is a password_file as well",
		"jid = [\"a@b\"]":            "f:1: jid: want a quoted string",
		"jid = \"example.org\"":      `f:1: jid: "example.org" is a server, not an account: want user@domain`,
		"timeout = true":             "f:1: timeout: want a quoted string or a number of seconds",
		"timeout = -1":               `f:1: timeout: want a duration such as "30s", "2m", "7d" or plain seconds`,
		"allow_plain = \"true\"":     "f:1: allow_plain: want true or false",
		"tls = \"none\"":             `f:1: tls: "none": want auto, direct or starttls`,
		"tls_pin = []":               "f:1: tls_pin: empty",
		"tls_pin = [1]":              "f:1: tls_pin: want a quoted string or a list of them",
		"tls_pin = [[\"x\"]]":        "f:1: tls_pin: want a quoted string or a list of them",
		"server = \"a:b:c\"":         `f:1: server: malformed server "a:b:c": want HOST or HOST:PORT`,
		"resource = \"a\\u0007\"":    `f:1: resource: malformed JID`,
		"default_account = 1":        "f:1: default_account: want a quoted string",
		"account = 3":                "f:1: account: want a table: [account.NAME]",
		"[account]\n\njid = \"a@b\"": "f:3: account.jid: want a table: [account.NAME]",
		"[[account]]\njid = \"a@b\"": "f:1: account: want a table: [account.NAME]",
		"[account.x]\njid = \"a@b\"\ndefault_account = \"x\"": "f:3: account.x.default_account: unknown key",
		"[account.x]\n[account.x.jid]\ny = 1":                 "f:2: account.x.jid: want a quoted string",
		"[work]\njid = \"a@b\"":                               "f:1: work: unknown key",
		"[work.x]\njid = \"a@b\"":                             "f:1: work: unknown key",
		"jid = \"a@b\"\n[[w.x.y]]\n[v.z]":                     "f:3: v: unknown key",
		"\n[account.x.y.z]":                                   "f:2: account.x.y: unknown key",
		"timeout = 1\nwork.x.y = 1\nwork.x.z = 1":             "f:2: work: unknown key",
		"\n[account.\"\"]\njid = \"a@b\"":                     "f:2: account.\"\": want a name: [account.NAME]",
		"jid = \"a@b\"\njid = \"a@b\"":                        "f:2: this is not TOML",
		"password = hunter2":                                  "f:1: this is not TOML",
		"\npassword = 12hunter2":                              "f:2: this is not TOML",
		"password = \"hunter2\nx":                             "f:1: this is not TOML",
		"\xff\xff":                                            "f:1: this is not TOML",
	} {
		_, err := Parse("f", text)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Bytes of any kind are read or refused, with the name of the file, and what is read
// is fit for the flags.
func fuzzConfig(f *testing.F, parse func(file, text string) (File, error)) {
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse("FILE", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "FILE:") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		for s := range c.each {
			for key, values := range s {
				for _, v := range values {
					if err := checkSetting(key, v); err != nil || settingType(key) == "" {
						t.Errorf("%q: %s = %q: %v", text, key, v, err)
					}
				}
			}
		}
		for s := range c.each {
			if _, err := s.ResolvePaths("/dir/FILE", "/home"); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add("jid = \"a@b\"\n[account.x]\ntls_pin = [\"sha256:00\"]\ntimeout = 3\n")
	f.Add("account = {x = {password_file = \"~/x\"}}\ndefault_account = \"x\"")
	f.Add("account.x.y = 1979-05-27T07:32:00Z")
	fuzzConfig(f, parseTOML)
}
