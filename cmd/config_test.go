package cmd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
)

// chosen runs a ping with a configuration file and a systemd credential, and returns what it
// would connect with.
func chosen(t *testing.T, config, credential string, vars map[string]string, args ...string) (got string, w *world) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"XMPP_JID": "", "XMPP_PASSWORD": "", "XMPP_CONFIG": file}
	for k, v := range vars {
		all[k] = v
	}
	if credential != "" {
		all["CREDENTIALS_DIRECTORY"] = dir
		if err := os.WriteFile(filepath.Join(dir, "xmppkit.password"), []byte(credential), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w = &world{vars: all, dial: func(_ context.Context, o xmpp.Options) (*xmpp.Session, error) {
		got = fmt.Sprintf("%s %s %s %v", o.JID.Bare(), string(o.Password), o.Server, o.AllowPlain)
		return nil, errStop
	}}
	w.run(t.Context(), append([]string{"ping", "--no-cache"}, args...)...)
	return got, w
}

const twoAccounts = `default_account = "r"
[account.r]
jid = "romeo@a.example"
password = "pr"
server = "sr"
[account.j]
jid = "juliet@b.example"
password = "pj"
server = "sj"
[account.none]
timeout = 5
`

// Who is meant, and what of the environment is that account's.
func TestChoose(t *testing.T) {
	juliet := map[string]string{
		"XMPP_JID": "juliet@b.example/env", "XMPP_PASSWORD": "ej", "XMPP_SERVER": "es", "XMPP_ALLOW_PLAIN": "1",
	}
	account := func(name string) map[string]string { return map[string]string{"XMPP_ACCOUNT": name} }
	secret := func(name string) map[string]string {
		return map[string]string{"XMPP_ACCOUNT": name, "XMPP_PASSWORD": "x"}
	}
	with := func(name string) map[string]string {
		m := account(name)
		for k, v := range juliet {
			m[k] = v
		}
		return m
	}
	for _, test := range []struct {
		vars map[string]string
		args string
		want string
	}{
		{nil, "", "romeo@a.example pr sr false"},
		{nil, "-a j", "juliet@b.example pj sj false"},
		{nil, "-j juliet@b.example/x", "juliet@b.example pj sj false"},
		{nil, "-j xmpp:juliet@B.example", "juliet@b.example pj sj false"},
		{nil, "-a j -j juliet@b.example/x", "juliet@b.example pj sj false"},
		{account("j"), "", "juliet@b.example pj sj false"},
		{account("j"), "-a r", "romeo@a.example pr sr false"},
		{account("j"), "-j romeo@a.example", "romeo@a.example pr sr false"},
		{account("nobody"), "-j romeo@a.example", "romeo@a.example pr sr false"},
		{juliet, "", "juliet@b.example ej es true"},
		{juliet, "-a j", "juliet@b.example ej es true"},
		{juliet, "-a r", "romeo@a.example pr sr false"},
		{juliet, "-j romeo@a.example", "romeo@a.example pr sr false"},
		{juliet, "-a none", "juliet@b.example ej es true"},
		{with("r"), "", "romeo@a.example pr sr false"},
		{with("j"), "", "juliet@b.example ej es true"},
		{with("r"), "-j juliet@b.example", "juliet@b.example ej es true"},
		{map[string]string{"XMPP_JID": "@", "XMPP_PASSWORD": "x"}, "-a r", "romeo@a.example pr sr false"},
		{map[string]string{"XMPP_PASSWORD": "x"}, "-a r", "romeo@a.example x sr false"},
		{secret("j"), "", "juliet@b.example x sj false"},
		{secret("j"), "-j juliet@b.example/x", "juliet@b.example x sj false"},
		{secret("none"), "-j juliet@c.example", "juliet@c.example x  false"},
		{secret("j"), "-a r", "romeo@a.example pr sr false"},
		{secret("nobody"), "-j romeo@a.example", "romeo@a.example pr sr false"},
		{map[string]string{"XMPP_JID": "juliet@b.example"}, "", "juliet@b.example pj sj false"},
	} {
		got, w := chosen(t, twoAccounts, "", test.vars, strings.Fields(test.args)...)
		if got != test.want {
			t.Errorf("%v %s: %s, want %s; %s", test.vars, test.args, got, test.want, w.err)
		}
	}
	for _, test := range []struct {
		config string
		vars   map[string]string
		args   string
		code   int
		text   string
	}{
		{"", nil, "-a r -j juliet@b.example", exit.Usage, "-a r is the account romeo@a.example, but -j is juliet@b.example"},
		{"", nil, "-a x -j juliet@b.example", exit.Config, `no account "x"`},
		{"", account("x"), "", exit.Config, `no account "x" in `},
		{"", nil, "-a none", exit.Config, "no account configured"},
		{"", nil, "-j romeo@c.example", exit.Config, "no password for romeo@c.example"},
		{"", juliet, "-j romeo@c.example", exit.Config, "no password for romeo@c.example: the one in the environment is for XMPP_JID, juliet@b.example/env"},
		{"", account("j"), "-j romeo@c.example", exit.Config, "no password for romeo@c.example (hint: "},
		{"", secret("j"), "-j romeo@c.example", exit.Config, "no password for romeo@c.example: the one in the environment is for XMPP_ACCOUNT, j"},
		{"", map[string]string{"XMPP_JID": "@"}, "", exit.Usage, `XMPP_JID: malformed JID`},
		{"[account.x]\npassword='px'", with("x"), "-j romeo@c.example", exit.Config, "no password for romeo@c.example"},
		{"password='pt'", map[string]string{"XMPP_JID": "juliet@b.example"}, "-j romeo@c.example", exit.Config, "no password for romeo@c.example"},
		{"", juliet, "--jid=", exit.Config, "no account: --jid is empty"},
		{"", juliet, "--account=", exit.Config, "no account: --account is empty"},
		{"", nil, "-j @", exit.Usage, `--jid: malformed JID`},
		{"[account.a]\njid='x@y'\n[account.b]\njid='x@y/z'", nil, "-j x@y", exit.Usage, "has more than one account x@y: a, b (hint: choose one with -a NAME)"},
		{"[account.a]\njid='x@y'\n[account.b]\njid='x@y/z'", map[string]string{"XMPP_JID": "x@y"}, "", exit.Usage, "a, b"},
	} {
		if test.config == "" {
			test.config = twoAccounts
		}
		got, w := chosen(t, test.config, "", test.vars, strings.Fields(test.args)...)
		if w.code != test.code || !strings.Contains(w.err, test.text) || got != "" {
			t.Errorf("%v %s: %d %s, %s", test.vars, test.args, w.code, w.err, got)
		}
	}
	for _, args := range [][]string{{"-j", "romeo@c.example"}, {"-a", "r"}} { // what names nobody is for all
		if got, w := chosen(t, "password='pt'\n[account.r]\njid='romeo@c.example'", "", nil, args...); got != "romeo@c.example pt  false" {
			t.Errorf("%q: %s, %s", args, got, w.err)
		}
	}
	_, w := chosen(t, twoAccounts, "", juliet, "-v", "-a", "r")
	if want := "xmppkit: * ignored for romeo@a.example, because XMPP_JID is juliet@b.example/env: XMPP_PASSWORD, XMPP_SERVER, XMPP_ALLOW_PLAIN\n"; !strings.Contains(w.err, want) {
		t.Errorf("%s", w.err)
	}
}

// Whatever says who, and wherever passwords, servers and what trusts them are: no password
// of one account goes to another's server.
func TestNoPasswordOfAnother(t *testing.T) {
	// Each account is of a domain of its own; what is an account's begins with its letter.
	section := func(l string) string {
		return fmt.Sprintf("jid = '%[1]s@%[1]s.example'\npassword = '%[1]s-password'\nserver = '%[1]s-server'\nallow_plain = true\n", l)
	}
	configs := map[string]string{
		"nothing": "", "top": section("t"), "sections": "[account.a]\n" + section("a") + "[account.b]\n" + section("b"),
		"default":          "default_account = 'a'\n[account.a]\n" + section("a") + "[account.b]\n" + section("b"),
		"top and sections": section("t") + "[account.a]\n" + section("a") + "[account.bare]\njid = 'b@b.example'\n[account.b]\njid='c@c.example'\npassword='c-password'",
		"sendxmpprc":       "username: t@t.example\njserver: t-server\nport: 5222\npassword: t-password\nallow_plain: true\n",
	}
	environments := []map[string]string{
		nil, {"XMPP_ACCOUNT": "a"}, {"XMPP_ACCOUNT": "bare"}, {"XMPP_ACCOUNT": "a", "XMPP_PASSWORD": "a-password", "XMPP_SERVER": "a-server"},
		{"XMPP_ACCOUNT": "a", "XMPP_PASSWORD_COMMAND": "echo a-password"}, {"XMPP_ACCOUNT": "a", "XMPP_SERVER": "a-server", "XMPP_ALLOW_PLAIN": "1"},
		{"XMPP_JID": "e@e.example", "XMPP_PASSWORD": "e-password", "XMPP_SERVER": "e-server", "XMPP_ALLOW_PLAIN": "1"},
		{"XMPP_JID": "e@e.example", "XMPP_SERVER": "e-server"}, {"XMPP_JID": "e@e.example", "XMPP_PASSWORD": "e-password"},
		{"XMPP_JID": "e@e.example", "XMPP_PASSWORD_COMMAND": "echo e-password", "XMPP_ACCOUNT": "a"},
		{"XMPP_JID": "a@a.example", "XMPP_PASSWORD": "a-password"}, {"XMPP_JID": "t@t.example", "XMPP_SERVER": "t-server"},
		{"XMPP_JID": "b@b.example", "XMPP_SERVER": "b-server", "XMPP_ACCOUNT": "b"},
	}
	flags := []string{"", "-a a", "-a b", "-a bare", "-j a@a.example", "-j b@b.example", "-j t@t.example", "-j e@e.example", "-j x@x.example", "-a a -j a@a.example", "-a a -j x@x.example"}
	connected := 0
	for name, config := range configs {
		for _, vars := range environments {
			for _, credential := range []string{"", vars["XMPP_JID"]} {
				if credential != "" {
					credential = credential[:1] + "-password"
				}
				for _, args := range flags {
					got, _ := chosen(t, config, credential, vars, strings.Fields(args)...)
					if got == "" {
						continue
					}
					connected++
					f := strings.Split(got, " ")
					jid, password, server, plain := f[0], f[1], f[2], f[3] == "true"
					wrong := ""
					switch owner := jid[:1]; {
					case !strings.HasPrefix(password, owner+"-"):
						wrong = "the password is of another account"
					case server != "" && server[:1] != owner:
						wrong = "the server is of another account"
					case server == "" && plain && name != "sendxmpprc" && vars["XMPP_ALLOW_PLAIN"] == "":
						wrong = "PLAIN is allowed without a server"
					}
					if wrong != "" {
						t.Errorf("%s, %v, credential %q, %q: %s: %s", name, vars, credential, args, got, wrong)
					}
				}
			}
		}
	}
	if connected < 100 {
		t.Errorf("only %d of them had a password", connected)
	}
}
