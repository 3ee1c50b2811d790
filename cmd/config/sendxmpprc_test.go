package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseSendxmpprc(t *testing.T) {
	for text, want := range map[string]Section{
		// What the manual of sendxmpp shows.
		"# my account\n\nalice@jabber.org  secret\n": {"jid": {"alice@jabber.org"}, "password": {"secret"}},
		"alice@jabber.org;foo.com secret":            {"jid": {"alice@jabber.org"}, "password": {"secret"}, "server": {"foo.com"}},
		"alice@jabber.org:1234 secret":               {"jid": {"alice@jabber.org"}, "password": {"secret"}, "server": {"jabber.org:1234"}},
		"alice@jabber.org;foo.com:1234 secret":       {"jid": {"alice@jabber.org"}, "password": {"secret"}, "server": {"foo.com:1234"}},
		"al#ice@talk.google.com secret gmail.com":    {"jid": {"al#ice@gmail.com"}, "password": {"secret"}, "server": {"talk.google.com"}},
		"username: alice\njserver: jabber.org\nport: 5222\npassword: my secret \n": {
			"jid": {"alice@jabber.org"}, "password": {"my secret "}, "server": {"jabber.org:5222"}},
		"username: lubomir.host\njserver: talk.google.com\npassword: a=b#c\ncomponent: gmail.com": {
			"jid": {"lubomir.host@gmail.com"}, "password": {"a=b#c"}, "server": {"talk.google.com"}},
		// And that of go-sendxmpp.
		"username: alice@jabber.org\npassword: \"my secret\"\nalias: al\n": {"jid": {"alice@jabber.org"}, "password": {"my secret"}},
		"username: alice@jabber.org\njserver: xmpp.jabber.org\nport: 5223\neval_password: pass jabber | head -1\nresource: cron\nallow_plain: true": {
			"jid": {"alice@jabber.org"}, "password_command": {"pass jabber | head -1"}, "server": {"xmpp.jabber.org:5223"}, "resource": {"cron"}, "allow_plain": {"true"}},
		"username alice@jabber.org\r\npassword secret\r\n":                      {"jid": {"alice@jabber.org"}, "password": {"secret"}},
		"username: alice@jabber.org\npassword: secret\neval_password: pass x\n": {"jid": {"alice@jabber.org"}, "password_command": {"pass x"}},
		"username: alice@jabber.org\njserver: jabber.org\nport: 0":              {"jid": {"alice@jabber.org"}},
		"jserver: jabber.org": {},
	} {
		c, err := Parse(filepath.Join("go-sendxmpp", "config"), text)
		if err != nil || !reflect.DeepEqual(c.Defaults, want) {
			t.Errorf("%q: %v, %v", text, c.Defaults, err)
		}
	}
	// For sendxmpp quotes are characters like others.
	c, err := Parse(".sendxmpprc", "password: \"x\"\n")
	if err != nil || c.Defaults.Get("password") != `"x"` {
		t.Errorf("%v, %v", c.Defaults, err)
	}
}

func TestParseSendxmpprcErrors(t *testing.T) {
	for text, want := range map[string]string{
		"alice@jabber.org secret\nhunter2\n":                     "f:2: want KEY: VALUE or USER@SERVER PASSWORD",
		"username: alice@jabber.org\n password: hunter2":         "f:2: want KEY: VALUE or",
		"username: alice\npassword: hunter2":                     `f: jid: malformed JID "alice@"`,
		"username: alice@jabber.org\npassword: hunter2\nport: x": `f: server: malformed server "jabber.org:x"`,
	} {
		_, err := Parse("f", text)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzSendxmpprc(f *testing.F) {
	f.Add("# c\nalice@b;c:5 secret d\n")
	f.Add("username: a\njserver: b:1\npassword: x\neval_password: y\ncomponent: d\nallow_plain: 1")
	fuzzConfig(f, func(file, text string) (File, error) {
		s, _, err := parseSendxmpprc(file, text)
		return File{Defaults: s}, err
	})
}
