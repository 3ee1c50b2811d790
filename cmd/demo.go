package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/output"
	"xmppkit/xmpp/xmpptest"
)

func newDemoCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "demo [-- CMD ARG...]",
		Short: "Try everything against a server of its own",
		Long: `Demo starts an XMPP server inside this program, on free ports of the loopback
interface, with the accounts romeo and juliet and certificates made on the spot.

Alone it shows what the commands do: each is really run, and what follows is its
true output. With CMD it runs that with XMPP_JID, XMPP_PASSWORD, XMPP_SERVER and
XMPP_CA_FILE set for romeo, XMPP_PEER_JID and XMPP_PEER_PASSWORD for juliet, and
xmppkit first on PATH: a way to try a script without an account.

Exit code: that of CMD, or 0.`,
		Example: `  xmppkit demo
  xmppkit demo -- sh -c 'xmppkit ping && xmppkit send -m hello $XMPP_PEER_JID'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usageError("demo: unexpected argument %q: a command goes behind --", args[0])
			}
			d, err := startDemo()
			if err != nil {
				return &exitError{code: exitTemporary, class: "connect", err: fmt.Errorf("start the demo server: %w", err)}
			}
			defer d.stop()
			if len(args) > 0 {
				return d.run(cmd.Context(), env, args)
			}
			return d.tour(cmd.Context(), env)
		},
	}
}

// A demo is a running server and the directory that commands need to use it.
type demo struct {
	server *xmpptest.Server
	dir    string
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
		d.server, err = xmpptest.Start(xmpptest.Config{Accounts: map[string]string{"romeo": demoPassword, "juliet": demoPeerPassword}})
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "ca.pem"), d.server.CA(), 0o600)
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

// environ is this process's environment with the account of one of the two, and
// nothing of any other account.
func (d *demo) environ(local, password string) []string {
	var vars []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "XMPP_") && !strings.HasPrefix(v, "PATH=") {
			vars = append(vars, v)
		}
	}
	return append(vars,
		"PATH="+d.dir+string(os.PathListSeparator)+os.Getenv("PATH"),
		"XMPP_JID="+local+"@"+d.server.Domain,
		"XMPP_PASSWORD="+password,
		"XMPP_SERVER="+d.server.Addr(),
		"XMPP_CA_FILE="+filepath.Join(d.dir, "ca.pem"),
		"XMPP_CONFIG="+filepath.Join(d.dir, "config.toml"),
		"XMPP_STATE_DIR="+filepath.Join(d.dir, "state"))
}

// run runs a command and passes its exit code on.
func (d *demo) run(ctx context.Context, env *Env, args []string) error {
	environ := append(d.environ("romeo", demoPassword),
		"XMPP_PEER_JID=juliet@"+d.server.Domain, "XMPP_PEER_PASSWORD="+demoPeerPassword)
	path, err := lookPath(args[0], d.dir)
	if err != nil {
		return notRunnable("demo", err)
	}
	c := exec.CommandContext(ctx, path, args[1:]...)
	c.Args[0] = args[0]
	c.Env, c.Stdin, c.Stdout, c.Stderr = environ, env.In, env.Out, env.Err
	c.Cancel = func() error { return c.Process.Signal(syscall.Signal(signalCode(ctx) - 128)) }
	c.WaitDelay = 5 * time.Second
	err = c.Run()
	switch exit, ended := errors.AsType[*exec.ExitError](err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ended:
		return &exitError{code: exitCode(exit.ProcessState), err: errSilent}
	}
	return &exitError{code: 126, class: "input", err: fmt.Errorf("demo: run %s: %w", args[0], err)}
}

// exitCode is the code of a process that has ended, in the way of a shell.
func exitCode(p *os.ProcessState) int {
	if w, ok := p.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return p.ExitCode()
}

// errSilent is the error of a command that has already said what is wrong.
var errSilent = errors.New("")

// lookPath finds a command as it will be found with dir first on PATH.
func lookPath(name, dir string) (string, error) {
	if name == "xmppkit" {
		return filepath.Join(dir, name), nil
	}
	return exec.LookPath(name)
}

// tourText is a part of the tour: what a person would see on a terminal.
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
	t := &tour{demo: d, ctx: ctx, env: env}
	t.say("An XMPP server runs at %s, with TLS and the accounts romeo and juliet.", d.server.Addr())
	t.say("What follows is really run, against that server.\n")

	t.say("# Is the server there?")
	t.run("romeo", "ping -c 2 -i 0.1")

	t.say("# Juliet is offline; the server keeps what is sent to her, and confirms that.")
	t.run("romeo", "send -m 'But soft, what light?' juliet@localhost")
	t.run("romeo", "send -v -m 'It is the east.' juliet@localhost")

	t.say("# Juliet listens: text for people, JSON for programs.")
	t.run("juliet", "listen --count 2 --for 5s")
	t.run("romeo", "send --subject balcony -m 'See how she leans' juliet@localhost")
	t.run("juliet", "listen --json --count 1 --for 5s")

	t.say("# Contacts: juliet is asked to show when she is online, and approves.")
	t.run("romeo", "presence subscribe juliet@localhost")
	t.run("juliet", "presence approve romeo@localhost")
	t.run("romeo", "roster add --name Juliet --group Capulet juliet@localhost")

	t.say("# A message that bounces is a failure, and says so by its exit code.")
	t.run("romeo", "send -m hello nobody@localhost")
	t.run("romeo", "send --json -m hello nobody@localhost")

	t.say("# Try a script of your own:  xmppkit demo -- ./script")
	return t.err
}

type tour struct {
	*demo
	ctx context.Context
	env *Env
	err error
}

func (t *tour) say(format string, args ...any) {
	if t.err == nil {
		t.err = t.env.print(tourText{Kind: "text", Text: fmt.Sprintf(format, args...)})
	}
}

// run runs xmppkit as one of the accounts, and shows what it printed and its exit
// code where that is not 0.
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
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && t.err == nil {
		t.err = t.env.print(tourText{Kind: "output", Text: fmt.Sprintf("(exit code %d)", exit.ExitCode())})
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
