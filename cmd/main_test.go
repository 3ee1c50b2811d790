package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/prompt"
	"xmppkit/xmpp"
)

// A world is what a run of the program in this process gets, and what came of it.
type world struct {
	vars map[string]string
	in   string
	dial func(context.Context, xmpp.Options) (*xmpp.Session, error)
	ask  func(ctx context.Context, prompt string, limit time.Duration) (string, error)

	code     int
	out, err string
}

var errStop = errors.New("stopped by the test")

// run runs the program with the account romeo@example.org, unless vars say otherwise.
func (w *world) run(ctx context.Context, args ...string) {
	var out, err bytes.Buffer
	env := &Env{
		In: strings.NewReader(w.in), Out: &out, Err: &err,
		Getenv: func(name string) string {
			if v, ok := w.vars[name]; ok {
				return v
			}
			return map[string]string{"XMPP_JID": "romeo@example.org", "XMPP_PASSWORD": "secret"}[name]
		},
		ReadPassword: w.ask,
		Dial:         w.dial,
	}
	if env.ReadPassword == nil {
		env.ReadPassword = func(context.Context, string, time.Duration) (string, error) { return "", prompt.ErrNoTerminal }
	}
	w.code = Main(ctx, env, args)
	w.out, w.err = out.String(), err.String()
}

// failing returns a world whose connection fails so.
func failing(err error) *world {
	return &world{dial: func(context.Context, xmpp.Options) (*xmpp.Session, error) { return nil, err }}
}

// An object is the one that an error is with --json.
type object struct {
	Kind      string
	Class     string
	OK        bool
	ExitCode  int `json:"exit_code"`
	Retryable bool
	Message   string
	Hint      string
	JID, Host string
	Error     *struct{ Condition, Type, Text string }
}

func (w *world) object(t *testing.T) object {
	t.Helper()
	var o object
	d := json.NewDecoder(strings.NewReader(w.err))
	if err := d.Decode(&o); err != nil || d.More() || strings.Count(w.err, "\n") != 1 {
		t.Fatalf("standard error is not one object: %q", w.err)
	}
	if o.Kind != "error" || o.OK || o.ExitCode != w.code || !strings.HasPrefix(w.err, `{"kind":"error","time":"`) {
		t.Errorf("exit code %d with %s", w.code, w.err)
	}
	return o
}

// fails runs ping --json with an error of Dial.
func fails(t *testing.T, err error) object {
	t.Helper()
	w := failing(err)
	w.run(t.Context(), "ping", "--json", "--no-cache")
	if w.out != "" {
		t.Errorf("standard output has %q", w.out)
	}
	return w.object(t)
}

// The usage errors that come before a connection is opened.
func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args string
		vars map[string]string
		want int
		text string
	}{
		{"nonsense", nil, exit.Usage, `unknown command "nonsense" (hint: xmppkit --help lists the commands)`},
		{"sned", nil, exit.Usage, "did you mean send?"},
		{"send", nil, exit.Usage, "missing argument: JID"},
		{"__complete", nil, exit.Usage, "__complete: missing argument: the word to complete"},
		{"__completeNoDesc", nil, exit.Usage, "__completeNoDesc: missing argument"},
		{"ping a b", nil, exit.Usage, `unexpected argument "b"`},
		{"ping --count 0", nil, exit.Usage, "--count"},
		{"ping --timeout never", nil, exit.Usage, "want a duration"},
		{"ping --tls maybe", nil, exit.Usage, `"maybe": want auto, direct or starttls`},
		{"ping --tls-pin x", nil, exit.Usage, "malformed pin"},
		{"ping --tls-pin=", nil, exit.Usage, "malformed pin"},
		{"ping", map[string]string{"XMPP_TLS_PIN": ", "}, exit.Usage, `XMPP_TLS_PIN: malformed pin ", "`},
		{"ping --server a:b", nil, exit.Usage, "malformed server"},
		{"ping -j example.org", nil, exit.Usage, "is a server, not an account"},
		{"ping -j @", nil, exit.Usage, "malformed JID"},
		{"ping @", nil, exit.Usage, "malformed JID"},
		{"ping", map[string]string{"XMPP_JID": "@"}, exit.Usage, "malformed JID"},
		{"ping", map[string]string{"XMPP_ALLOW_PLAIN": "perhaps"}, exit.Usage, "XMPP_ALLOW_PLAIN"},
		{"ping", map[string]string{"XMPP_JID": ""}, exit.Config, "no account"},
		{"ping", map[string]string{"XMPP_PASSWORD": ""}, exit.Config, "no password for romeo@example.org (hint: set XMPP_PASSWORD"},
		{"ping --ca-file /nonexistent", nil, exit.Input, "/nonexistent"},
		{"ping --ca-file main_test.go", nil, exit.Config, "contains no PEM certificate"},
		{"ping --password hunter2", nil, exit.Usage, "no flag takes a password"},
		{"ping --password=hunter2", nil, exit.Usage, "no flag takes a password"},
		{"send -m x --url /path a@b", nil, exit.Usage, "not an absolute URL"},
		{"send -m x -f y a@b", nil, exit.Usage, "cannot be combined"},
		{"send -m  a@b", nil, exit.Data, "is empty"},
		{"send -f /nonexistent a@b", nil, exit.Input, "/nonexistent"},
		{"send --to-file", nil, exit.Usage, "needs an argument"},
		{"send --to-file  -m x a@b", nil, exit.Usage, "--to-file: empty"},
		{"send --to-file -", nil, exit.Usage, "standard input is already the message (hint: give the text with --message or --file)"},
		{"send --to-file - -f -", nil, exit.Usage, "standard input is already the message"},
		{"send --to-file - --lines", nil, exit.Usage, "standard input is already the message"},
		{"send --to-file - -m x --password-file - a@b", map[string]string{"XMPP_PASSWORD": ""}, exit.Usage, "--password-file -"},
		{"send --to-file /nonexistent -m x", nil, exit.Input, "/nonexistent"},
		{"listen --only x", nil, exit.Usage, "--only"},
		{"listen --match (", nil, exit.Usage, "--match"},
		{"listen -- true", nil, exit.Usage, "CMD needs senders (hint: name their JIDs before --, or pass --anyone)"},
		{"listen -- -x@y", nil, exit.Usage, "CMD needs senders"},
		{"listen a@b --", nil, exit.Usage, "no CMD after --"},
		{"listen --anyone", nil, exit.Usage, "need a CMD after --"},
		{"listen --reply a@b", nil, exit.Usage, "need a CMD after --"},
		{"listen --exec-timeout 1s a@b", nil, exit.Usage, "need a CMD after --"},
		{"listen --exec-timeout 0 a@b -- true", nil, exit.Usage, "--exec-timeout: want a duration above 0"},
		{"listen --anyone a@b -- true", nil, exit.Usage, "--anyone and JIDs cannot be combined"},
		{"listen - -- true", nil, exit.Usage, `"-" is not a JID`},
		{"listen -x@y -- true", nil, exit.Usage, "unknown shorthand flag"},
		{"listen a@b@c -- true", nil, exit.Usage, "malformed JID"},
		{"listen --anyone -- /nonexistent/x", nil, 127, "listen: exec: \"/nonexistent/x\""},
		{"listen --anyone -- ./main_test.go", nil, 126, "permission denied"},
		{"demo x", nil, exit.Usage, "after --"},
	} {
		w := &world{vars: test.vars, dial: func(context.Context, xmpp.Options) (*xmpp.Session, error) {
			t.Errorf("%s: a connection", test.args)
			return nil, errStop
		}}
		w.run(t.Context(), strings.Split(test.args, " ")...)
		if w.code != test.want || !strings.Contains(w.err, test.text) || w.out != "" {
			t.Errorf("%s: %d, want %d, %q", test.args, w.code, test.want, w.err)
		}
		if strings.Contains(w.err, "hunter2") {
			t.Errorf("%s: the password is repeated: %s", test.args, w.err)
		}
		if !strings.HasPrefix(w.err, "xmppkit: ") || strings.Count(w.err, "\n") != 1 {
			t.Errorf("%s: %q", test.args, w.err)
		}
	}
}

// A panic is a bug that is reported as one.
func TestPanic(t *testing.T) {
	w := &world{dial: func(context.Context, xmpp.Options) (*xmpp.Session, error) { panic("canary") }}
	w.run(t.Context(), "ping", "--json", "--no-cache")
	if o := w.object(t); w.code != exit.Bug || o.Class != "bug" || !strings.Contains(o.Message, "canary") || o.Retryable {
		t.Errorf("%+v", o)
	}
}

// Help and version are results, and no connection is opened for them.
func TestHelp(t *testing.T) {
	for _, args := range []string{"", "--help", "send --help", "help listen", "version", "version --json"} {
		w := failing(errStop)
		w.run(t.Context(), strings.Fields(args)...)
		if w.code != 0 || w.out == "" || w.err != "" {
			t.Errorf("%s: %d, %q, %q", args, w.code, w.out, w.err)
		}
	}
}

// The password comes from the environment or a person who is asked for it.
func TestPassword(t *testing.T) {
	var prompt string
	ask := func(_ context.Context, p string, _ time.Duration) (string, error) {
		prompt = p
		return "typed", nil
	}
	for _, test := range []struct {
		env, want string
		asked     bool
	}{{"secret", "secret", false}, {"", "typed", true}} {
		var got xmpp.Secret
		w := &world{vars: map[string]string{"XMPP_PASSWORD": test.env}, ask: ask, dial: func(_ context.Context, o xmpp.Options) (*xmpp.Session, error) {
			got = o.Password
			return nil, errStop
		}}
		prompt = ""
		w.run(t.Context(), "ping", "-j", "romeo@example.org/r", "--no-cache")
		if string(got) != test.want || (prompt == "Password of romeo@example.org: ") != test.asked {
			t.Errorf("%q after the prompt %q", string(got), prompt)
		}
		if strings.Contains(w.out+w.err, test.want) {
			t.Errorf("it is shown: %s", w.err)
		}
	}
}

// A flag outranks its variable, which outranks the default.
func TestPrecedence(t *testing.T) {
	pin := func(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }
	type seen struct {
		o        xmpp.Options
		deadline time.Duration
		json     bool
	}
	for name, test := range map[string]struct {
		vars map[string]string
		args []string
		get  func(seen) string
		want string
	}{
		"jid, default":               {nil, nil, func(s seen) string { return s.o.JID.String() }, "romeo@example.org"},
		"jid, flag":                  {map[string]string{"XMPP_JID": ""}, []string{"--jid", "juliet@example.org/x"}, func(s seen) string { return s.o.JID.String()[:len("juliet@example.org/x-")] }, "juliet@example.org/x-"},
		"server, default":            {nil, nil, func(s seen) string { return s.o.Server }, ""},
		"server, variable":           {map[string]string{"XMPP_SERVER": "a:1"}, nil, func(s seen) string { return s.o.Server }, "a:1"},
		"server, flag":               {map[string]string{"XMPP_SERVER": "a:1"}, []string{"--server", "b:2"}, func(s seen) string { return s.o.Server }, "b:2"},
		"tls, default":               {nil, nil, func(s seen) string { return string(s.o.TLS) }, "auto"},
		"tls, variable":              {map[string]string{"XMPP_TLS": "direct"}, nil, func(s seen) string { return string(s.o.TLS) }, "direct"},
		"tls, flag":                  {map[string]string{"XMPP_TLS": "nonsense"}, []string{"--tls", "starttls"}, func(s seen) string { return string(s.o.TLS) }, "starttls"},
		"tls, flag with the default": {map[string]string{"XMPP_TLS": "direct"}, []string{"--tls", "auto"}, func(s seen) string { return string(s.o.TLS) }, "auto"},
		"pin, default":               {nil, nil, func(s seen) string { return fmt.Sprint(s.o.Pins) }, "[]"},
		"pin, variable":              {map[string]string{"XMPP_TLS_PIN": strings.ToUpper(pin("a"))}, nil, func(s seen) string { return fmt.Sprint(s.o.Pins) }, "[" + pin("a") + "]"},
		"pin, flags": {map[string]string{"XMPP_TLS_PIN": pin("a")}, []string{"--tls-pin", pin("b"), "--tls-pin", pin("c")},
			func(s seen) string { return fmt.Sprint(s.o.Pins) }, "[" + pin("b") + " " + pin("c") + "]"},
		"plain, default":    {nil, nil, func(s seen) string { return fmt.Sprint(s.o.AllowPlain) }, "false"},
		"plain, variable":   {map[string]string{"XMPP_ALLOW_PLAIN": "1"}, nil, func(s seen) string { return fmt.Sprint(s.o.AllowPlain) }, "true"},
		"plain, variable 0": {map[string]string{"XMPP_ALLOW_PLAIN": "0"}, nil, func(s seen) string { return fmt.Sprint(s.o.AllowPlain) }, "false"},
		"plain, flag":       {map[string]string{"XMPP_ALLOW_PLAIN": "1"}, []string{"--allow-plain=false"}, func(s seen) string { return fmt.Sprint(s.o.AllowPlain) }, "false"},
		"timeout, default":  {nil, nil, func(s seen) string { return s.deadline.String() }, "30s"},
		"timeout, variable": {map[string]string{"XMPP_TIMEOUT": "7"}, nil, func(s seen) string { return s.deadline.String() }, "7s"},
		"timeout, flag":     {map[string]string{"XMPP_TIMEOUT": "7"}, []string{"--timeout", "2m"}, func(s seen) string { return s.deadline.String() }, "2m0s"},
		"timeout, none":     {nil, []string{"--timeout", "0"}, func(s seen) string { return s.deadline.String() }, "0s"},
		"json, default":     {nil, nil, func(s seen) string { return fmt.Sprint(s.json) }, "false"},
		"json, variable":    {map[string]string{"XMPP_JSON": "1"}, nil, func(s seen) string { return fmt.Sprint(s.json) }, "true"},
		"json, flag":        {map[string]string{"XMPP_JSON": "1"}, []string{"--json=false"}, func(s seen) string { return fmt.Sprint(s.json) }, "false"},
	} {
		t.Run(name, func(t *testing.T) {
			var got seen
			w := &world{vars: test.vars, dial: func(ctx context.Context, o xmpp.Options) (*xmpp.Session, error) {
				got.o = o
				if deadline, ok := ctx.Deadline(); ok {
					got.deadline = time.Until(deadline).Round(time.Second)
				}
				return nil, errStop
			}}
			w.run(t.Context(), append([]string{"ping", "--no-cache"}, test.args...)...)
			got.json = strings.HasPrefix(w.err, "{")
			if s := test.get(got); s != test.want || w.code != exit.Bug {
				t.Errorf("%s, want %s; %s", s, test.want, w.err)
			}
		})
	}
	for _, test := range []struct {
		value, flag string
		want        time.Duration
	}{{"", "", 30 * time.Second}, {"7", "", 7 * time.Second}, {"7", "9", 9 * time.Second}, {"60", "", time.Minute}} { // listen has no timeout, its login has
		w := &world{vars: map[string]string{"XMPP_TIMEOUT": test.value}, dial: func(ctx context.Context, _ xmpp.Options) (*xmpp.Session, error) {
			deadline, _ := ctx.Deadline()
			if got := time.Until(deadline).Round(time.Second); got != test.want {
				t.Errorf("listen, %+v: %s", test, got)
			}
			return nil, errStop
		}}
		args := []string{"listen", "--no-cache"}
		if test.flag != "" {
			args = append(args, "--timeout", test.flag)
		}
		w.run(t.Context(), args...)
	}
}
