package cmd

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/child"
	"xmppkit/cmd/exit"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

func newDemoCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: "demo [flags] [-- CMD ARG...]",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return exit.Usagef("demo: unexpected argument %q: a command goes after --", args[0])
			}
			d, err := startDemo()
			if err != nil {
				return &exit.Error{Code: exit.Temporary, Class: "connect", Err: fmt.Errorf("start the demo server: %w", err)}
			}
			defer d.stop()
			if len(args) > 0 {
				return d.run(cmd.Context(), env, args)
			}
			return d.tour(cmd.Context(), env)
		},
	}
}

// A demo is a running server and the directory with the files that commands need to use
// it.
type demo struct {
	server *xmpptest.Server
	dir    string
	found  []string // the environment in which commands find the server
}

const (
	demoPassword     = "wherefore"
	demoPeerPassword = "moonlight"
)

func startDemo() (*demo, error) {
	dir, err := os.MkdirTemp("", "xmppkit-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{dir: dir}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "xmppkit"))
	}
	if err == nil {
		d.server, err = xmpptest.Start(xmpptest.Config{
			Domain: "example.org", Friends: true,
			Accounts: map[string]string{"romeo": demoPassword, "juliet": demoPeerPassword},
		})
	}
	if err == nil {
		d.found, err = d.server.Environ(dir)
	}
	if err == nil { // in place of the user's
		err = os.WriteFile(filepath.Join(dir, "config.toml"), nil, 0o600)
	}
	if err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

func (d *demo) stop() {
	if d.server != nil {
		d.server.Close()
	}
	os.RemoveAll(d.dir)
}

// environ is the environment of this process with one of the two accounts, and without
// settings of any other account.
func (d *demo) environ(local, password string) []string {
	vars := slices.Clone(d.found)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "XMPP_") && !strings.HasPrefix(v, "PATH=") {
			vars = append(vars, v)
		}
	}
	return append(vars,
		"PATH="+d.dir+string(os.PathListSeparator)+os.Getenv("PATH"),
		"XMPP_JID="+local+"@"+d.server.Domain,
		"XMPP_PASSWORD="+password,
		"XMPP_CONFIG="+filepath.Join(d.dir, "config.toml"))
}

// juliet is online until stop is called, and greets each listener of romeo. Her priority
// leaves the messages to her for others (RFC 6121, section 8.5.2).
func (d *demo) juliet(ctx context.Context) (stop func(), err error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(d.server.CA())
	s, err := xmpp.Dial(ctx, xmpp.Options{
		JID:      xmpp.JID{Local: "juliet", Domain: d.server.Domain, Resource: "balcony"},
		Password: demoPeerPassword, Server: d.server.Addr(), RootCAs: roots,
	})
	if err == nil {
		online := xmpp.Add(xmpp.NewElement(xmpp.NSClient, "presence"), xmpp.NewText(xmpp.NSClient, "priority", "-1"))
		err = s.Flush(ctx, online)
	}
	if err != nil {
		return nil, fmt.Errorf("demo: juliet: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e, err := range s.Stanzas(context.Background()) { // until Close
			if err != nil {
				return
			}
			if isListener(e) {
				_ = s.Send(ctx, greeting(xmpp.Attr(e, "from"))) // if that fails, Stanzas fails too
			}
		}
	}()
	return func() {
		s.Close()
		<-ended
	}, nil
}

// isListener reports whether e is from a session of romeo that accepts messages.
func isListener(e *xmpp.Element) bool {
	from, err := xmpp.ParseJID(xmpp.Attr(e, "from"))
	priority, _ := xmpp.Text(e, xmpp.NSClient, "priority")
	return xmpp.Is(e, xmpp.NSClient, "presence") && xmpp.Attr(e, "type") == "" &&
		err == nil && from.Local == "romeo" && !strings.HasPrefix(strings.TrimSpace(priority), "-")
}

func greeting(to string) *xmpp.Element {
	m := xmpp.NewElement(xmpp.NSClient, "message", "type", "chat", "to", to, "id", xmpp.NewID())
	return xmpp.Add(m, xmpp.NewText(xmpp.NSClient, "body", "O Romeo, Romeo!\nWherefore art thou Romeo?"))
}

// run runs a command and passes its exit code on.
func (d *demo) run(ctx context.Context, env *Env, args []string) error {
	environ := append(d.environ("romeo", demoPassword),
		"XMPP_PEER_JID=juliet@"+d.server.Domain, "XMPP_PEER_PASSWORD="+demoPeerPassword)
	path, err := lookPath(args[0], d.dir)
	if err != nil {
		return notRunnable("demo", err)
	}
	stop, err := d.juliet(ctx)
	if err != nil {
		return err
	}
	defer stop()
	c := &child.Child{
		Path: path, Args: args, Env: environ, Stdin: env.In, Stdout: env.Out, Stderr: env.Err,
		Signal: func() os.Signal { return syscall.Signal(signalCode(ctx) - 128) },
		Grace:  func() time.Duration { return 5 * time.Second }, Linger: 5 * time.Second,
	}
	err = c.Run(ctx)
	switch _, ended := errors.AsType[*exec.ExitError](err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ended:
		return &exit.Error{Code: child.Code(err), Err: errSilent}
	}
	return notRunnable("demo", fmt.Errorf("run %s: %w", args[0], err))
}

// errSilent is the error of a command that has already reported what is wrong.
var errSilent = errors.New("")

// lookPath finds a command as a shell would with dir first in PATH.
func lookPath(name, dir string) (string, error) {
	if name == "xmppkit" {
		return filepath.Join(dir, name), nil
	}
	return exec.LookPath(name)
}

// tourText is a part of the tour: what a user would see on a terminal.
type tourText struct {
	Kind string `json:"kind"`
	Text string `json:"text"`

	prompt string
}

func (r tourText) WriteText(t *output.Text) {
	if r.Text == "" {
		t.Printf("\n")
		return
	}
	for line := range strings.SplitSeq(r.Text, "\n") {
		t.Block(r.prompt, line) // keeps tabs
	}
}

// tour runs commands as the two accounts and shows them with their output.
func (d *demo) tour(ctx context.Context, env *Env) error {
	t := &tour{demo: d, ctx: ctx, env: env, leave: func() {}}
	defer func() { t.leave() }()
	t.say("An XMPP server for %s runs at %s, with TLS and the accounts romeo and juliet.", d.server.Domain, d.server.Addr())
	t.say("The commands below really run against that server.\n")

	t.say("# Is the server there, and what can it do?")
	t.run("romeo", "ping -c 2 -i 0.1")
	t.run("romeo", "disco")

	t.say("# Contacts, and which of them are online.")
	t.run("romeo", "roster")
	t.run("romeo", "roster add --name Juliet --group Capulet juliet@example.org")
	t.run("romeo", "presence juliet@example.org")

	t.say("# Juliet is offline. The server stores messages for her, and confirms them.")
	t.run("romeo", "send -m 'But soft, what light?' juliet@example.org")
	t.run("romeo", "send -v -m 'It is the east.' juliet@example.org")

	t.say("# Juliet listens: text for people, JSON for programs.")
	t.run("juliet", "listen --count 2 --for 5s")
	t.run("romeo", "send --subject balcony -m 'See how she leans' juliet@example.org")
	t.run("juliet", "listen --json --count 1 --for 5s")

	t.say("# Run a program for each message, and reply with its output.")
	t.run("romeo", "send -m 'What do you run?' juliet@example.org")
	t.run("juliet", "listen --count 1 --for 5s romeo@example.org --reply -- xmppkit version")
	t.run("romeo", "listen --count 1 --for 5s")

	t.say("# Now juliet comes online.")
	t.online()
	t.run("romeo", "presence juliet@example.org")
	t.run("romeo", "listen --count 1 --for 5s juliet@example.org")

	t.say("# Ask a contact to show when it is online. It approves.")
	t.run("romeo", "presence unsubscribe juliet@example.org")
	t.run("romeo", "presence subscribe juliet@example.org")
	t.run("juliet", "presence approve romeo@example.org")

	t.say("# A message that bounces is a failure. The exit code says so.")
	t.run("romeo", "send -m hello nobody@example.org")
	t.run("romeo", "send --json -m hello nobody@example.org")

	t.say("# Try it yourself:  xmppkit demo -- sh")
	return t.err
}

type tour struct {
	*demo
	ctx context.Context
	env *Env
	err error

	leave func() // of juliet, once she is online
}

// online lets juliet come online.
func (t *tour) online() {
	if t.err != nil {
		return
	}
	leave, err := t.juliet(t.ctx)
	if err != nil {
		t.err = err
		return
	}
	t.leave = leave
}

func (t *tour) say(format string, args ...any) {
	if t.err == nil {
		t.err = t.env.print(tourText{Kind: "text", Text: fmt.Sprintf(format, args...)})
	}
}

// run runs xmppkit as one of the accounts. It shows the output, and the exit code if
// that is not 0.
func (t *tour) run(local, command string) {
	if t.err != nil {
		return
	}
	password := demoPassword
	if local == "juliet" {
		password = demoPeerPassword
	}
	ctx, cancel := context.WithTimeout(t.ctx, 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(t.dir, "xmppkit"), splitWords(command)...)
	c.Env = t.environ(local, password)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if t.ctx.Err() != nil {
		t.err = context.Cause(t.ctx)
		return
	}
	t.err = t.env.print(tourText{Kind: "command", Text: "xmppkit " + command, prompt: local + "$ "})
	if out.Len() > 0 && t.err == nil {
		t.err = t.env.print(tourText{Kind: "output", Text: strings.TrimSuffix(out.String(), "\n")})
	}
	if ended, ok := errors.AsType[*exec.ExitError](err); ok && t.err == nil {
		t.err = t.env.print(tourText{Kind: "output", Text: fmt.Sprintf("(exit code %d)", ended.ExitCode())})
	} else if err != nil && t.err == nil {
		t.err = fmt.Errorf("demo: xmppkit %s: %w", command, err)
	}
	t.say("")
}

// splitWords splits at spaces that are not inside single quotes.
func splitWords(s string) []string {
	var words []string
	quoted := false
	for i, part := range strings.Split(s, "'") {
		if quoted = i%2 == 1; quoted {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}
