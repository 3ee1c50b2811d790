// Package e2e tests the program from outside, as its users see it. It has nothing but tests.
package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/rogpeppe/go-internal/testscript"

	"xmppkit/cmd"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
	"xmppkit/xmpp/xmpptest"
)

func TestMain(m *testing.M) {
	// The scripts wait more than they compute. The command line overrides it.
	flag.Set("test.parallel", strconv.Itoa(4*runtime.GOMAXPROCS(0)))
	// The race detector sleeps for a second at the end of each program.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	testscript.Main(m, map[string]func(){"xmppkit": xmppkit})
}

// xmppkit is what main does, which no other package can import.
func xmppkit() {
	ctx, stop := cmd.NotifyContext(context.Background())
	context.AfterFunc(ctx, stop)
	if nameserver := os.Getenv(nameserverVar); nameserver != "" {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, nameserver)
		}}
	}
	os.Exit(cmd.Main(ctx, cmd.System(), os.Args[1:]))
}

// nameserverVar is an environment variable with the address of the nameserver that is asked
// in place of the system's.
const nameserverVar = "XMPPKIT_NAMESERVER"

// root is where the module is: the scripts, and the files that are published.
const root = "../.."

// The scripts run against each target. Every script has two accounts of its own,
// $ROMEO and $JULIET, with one password; a configuration file says that it is Romeo. The
// environment does not: what it has beside XMPP_JID is for no other account.
const scriptPassword = "O, I am fortune's fool!"

func TestEmbedded(t *testing.T) {
	runScripts(t, "embedded", "embedded", func(e *testscript.Env, romeo, juliet string) error {
		server, err := startEmbedded(e.Setenv, e.Defer, e.WorkDir, romeo, juliet)
		e.Values[embeddedKey{}] = &server
		e.Values[registerKey{}] = server.AddAccount
		return err
	})
}

func TestProsody(t *testing.T)  { runInterop(t, startProsody) }
func TestEjabberd(t *testing.T) { runInterop(t, startEjabberd) }

func TestProsody13(t *testing.T)  { runInterop(t, startProsody13) }
func TestEjabberd24(t *testing.T) { runInterop(t, startEjabberd24) }

func runInterop(t *testing.T, start func(string) (*realServer, func(), error)) {
	server, stop, err := start(t.TempDir())
	if errors.Is(err, errNotInstalled) && !interopRequired() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	runScripts(t, server.name, server.kind, func(e *testscript.Env, romeo, juliet string) error {
		e.Values[privateKey{}] = &private{t: t, start: start}
		for _, user := range []string{romeo, juliet} {
			if err := server.register(user, scriptPassword); err != nil {
				return err
			}
		}
		e.Values[registerKey{}] = server.register
		e.Setenv("XMPP_SERVER", server.starttls)
		e.Setenv("DIRECT", server.direct)
		e.Setenv("XMPP_CA_FILE", server.caFile)
		return nil
	})
}

// scriptsFor returns the scripts that run on a target. In CI the modern servers run only
// those that begin with the line "# modern": what depends most on the server.
func scriptsFor(t *testing.T, target string) []string {
	files, _ := filepath.Glob(root + "/testdata/scripts/*.txtar") // the pattern is well-formed
	if modern := target == "prosody13" || target == "ejabberd24"; modern && interopRequired() {
		files = slices.DeleteFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && !bytes.HasPrefix(text, []byte("# modern\n"))
		})
	}
	if len(files) < 20 {
		t.Fatalf("%d scripts for %s", len(files), target)
	}
	return files
}

func runScripts(t *testing.T, target, kind string, prepare func(e *testscript.Env, romeo, juliet string) error) {
	var scripts atomic.Int32
	testscript.Run(t, testscript.Params{
		Files:               scriptsFor(t, target),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			// A configuration file must not be writable by others, whatever the umask.
			if err := exec.Command("chmod", "-R", "go-w", e.WorkDir).Run(); err != nil {
				return err
			}
			n := scripts.Add(1)
			romeo, juliet := fmt.Sprintf("romeo%d", n), fmt.Sprintf("juliet%d", n)
			e.Setenv("TARGET", target)
			e.Setenv("GORACE", os.Getenv("GORACE"))
			e.Setenv("ROMEO", romeo+"@localhost")
			e.Setenv("JULIET", juliet+"@localhost")
			account := filepath.Join(e.WorkDir, ".account.toml")
			if err := os.WriteFile(account, []byte("jid = '"+romeo+"@localhost'\n"), 0o600); err != nil {
				return err
			}
			e.Setenv("XMPP_CONFIG", account)
			e.Setenv("XMPP_PASSWORD", scriptPassword)
			e.Setenv("XMPP_STATE_DIR", filepath.Join(e.WorkDir, "state"))
			return prepare(e, romeo, juliet)
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "embedded", "prosody", "ejabberd": // of any version
				return cond == kind, nil
			case "prosody13", "ejabberd24":
				return cond == target, nil
			case "required":
				return interopRequired(), nil
			case "root":
				return os.Geteuid() == 0, nil
			case "unshare":
				return exec.Command("unshare", "-m", "true").Run() == nil, nil
			}
			if file, ok := strings.CutPrefix(cond, "file:"); ok {
				_, err := os.Stat(file)
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    scriptExits,
			"online":   scriptOnline,
			"raw":      scriptRaw,
			"rooms":    scriptRooms,
			"says":     scriptSays,
			"receipts": scriptReceipts,
			"refuses":  scriptRefuses,
			"register": scriptRegister,
			"deep":     scriptDeep,
			"server":   scriptServer,
			"disturb":  scriptDisturb,
			"private":  scriptPrivate,
			"ndjson":   scriptNDJSON,
			"closedfd": scriptClosed,
		},
	})
}

// registerKey is where a script keeps what makes accounts.
type registerKey struct{}

// register JID PASSWORD makes one more account.
func scriptRegister(ts *testscript.TestScript, _ bool, args []string) {
	local, _, _ := strings.Cut(args[0], "@")
	ts.Check(ts.Value(registerKey{}).(func(local, password string) error)(local, args[1]))
}

// embeddedKey is where a script keeps its embedded server.
type embeddedKey struct{}

// startEmbedded starts a server for one script.
func startEmbedded(setenv func(k, v string), later func(func()), dir, romeo, juliet string, faults ...xmpptest.Fault) (*xmpptest.Server, error) {
	c := xmpptest.Config{Accounts: map[string]string{romeo: scriptPassword, juliet: scriptPassword}, Faults: faults}
	server, err := xmpptest.Start(c)
	if err != nil {
		return nil, err
	}
	later(server.Close)
	environ, err := server.Environ(dir)
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		setenv(name, value)
	}
	setenv("DIRECT", server.DirectAddr())
	return server, err
}

// server FAULT... replaces the embedded server by one that misbehaves. A fault in
// double quotes is one with the escapes of Go.
func scriptServer(ts *testscript.TestScript, _ bool, args []string) {
	var faults []xmpptest.Fault
	for _, arg := range args {
		if text, err := strconv.Unquote(arg); err == nil {
			arg = text
		}
		f, err := xmpptest.ParseFault(arg)
		ts.Check(err)
		faults = append(faults, f)
	}
	local := func(jid string) string {
		l, _, _ := strings.Cut(jid, "@")
		return l
	}
	server, err := startEmbedded(ts.Setenv, ts.Defer, ts.Getenv("WORK"), local(ts.Getenv("ROMEO")), local(ts.Getenv("JULIET")), faults...)
	ts.Check(err)
	*ts.Value(embeddedKey{}).(**xmpptest.Server) = server
}

// disturb cut breaks all connections to the embedded server, or to a private one; disturb
// restart does so as if it had been killed and started again, as a private one is; disturb
// FAULT... is what later ones get, of the embedded one.
func scriptDisturb(ts *testscript.TestScript, _ bool, args []string) {
	if p, ok := ts.Value(privateKey{}).(*private); ok {
		ts.Check(p.disturb(args[0]))
		return
	}
	server := *ts.Value(embeddedKey{}).(**xmpptest.Server)
	switch args[0] {
	case "cut":
		server.Cut()
	case "restart":
		server.Restart()
	default:
		var faults []xmpptest.Fault
		for _, arg := range args {
			faults = append(faults, xmpptest.Fault(arg))
		}
		ts.Check(server.SetFaults(faults...))
	}
}

// exits CODE [-within DURATION] PROGRAM ARG... demands the exit code and, where it
// is about a limit, that it took no longer than that.
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE [-within DURATION] PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	limit := time.Duration(0)
	if args[0] == "-within" {
		limit, err = time.ParseDuration(args[1])
		ts.Check(err)
		args = args[2:]
	}
	started := time.Now()
	err = ts.Exec(args[0], args[1:]...)
	took := time.Since(started)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("%s exited with %d, want %d", args[0], got, want)
	}
	if limit = time.Duration(float64(limit) * busy()); limit > 0 && took > limit {
		ts.Fatalf("%s took %s, want at most %s", args[0], took, limit)
	}
}

// busy is how many times longer a limit is than it is said to be, because of what else the
// machine does: as many times as there are processes for each processor, where that is known,
// between 1 and 4.
func busy() float64 {
	var processes float64
	text, _ := os.ReadFile("/proc/loadavg")
	fmt.Sscan(string(text), &processes)
	return min(max(1, processes/float64(runtime.NumCPU())), 4)
}

// online JID waits until a listener of the account, or that with the resource, is
// available: another resource of it is then shown the first one's presence (RFC 6121,
// section 4.2.2).
func scriptOnline(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	jid, err := xmpp.ParseJID(args[0])
	ts.Check(err)
	s := scriptSession(ctx, ts, jid.Bare())
	defer s.Close()
	ts.Check(awaitPresence(ctx, s, jid))
}

func awaitPresence(ctx context.Context, s *xmpp.Session, jid xmpp.JID) error {
	low := xmpp.Add(xmpp.NewElement(xmpp.NSClient, "presence"), xmpp.NewText(xmpp.NSClient, "priority", "-128"))
	if err := s.Send(ctx, low); err != nil {
		return err
	}
	for e, err := range s.Stanzas(ctx) {
		if err != nil {
			return err
		}
		from, _ := s.From(e)
		if e.Tag == "presence" && from.Bare() == jid.Bare() && from != s.JID() && xmpp.Attr(e, "type") == "" && (jid.Resource == "" || from == jid) {
			return nil
		}
	}
	return nil
}

// raw JID XML... sends the stanzas as the account, and waits until the server has
// taken them. They are written without prefixes.
func scriptRaw(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	jid, err := xmpp.ParseJID(args[0])
	ts.Check(err)
	var stanzas []*xmpp.Element
	for _, xml := range args[1:] {
		doc := etree.NewDocument()
		ts.Check(doc.ReadFromString(xml))
		doc.Root().CreateAttr("xmlns", xmpp.NSClient)
		stanzas = append(stanzas, doc.Root())
	}
	s := scriptSession(ctx, ts, jid)
	defer s.Close()
	_, err = s.Ping(ctx, s.Server(), stanzas...)
	ts.Check(err)
}

// rooms N JID keeps JID in N new rooms until the end of the script (XEP-0045).
func scriptRooms(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	jid, err := xmpp.ParseJID(args[1])
	ts.Check(err)
	s := scriptSession(ctx, ts, jid)
	ts.Defer(func() { s.Close() })
	for i := range n {
		join := xmpp.NewElement(xmpp.NSClient, "presence", "to", fmt.Sprintf("%s%d@muc.localhost/me", jid.Local, i+1))
		ts.Check(s.Send(ctx, xmpp.Add(join, xmpp.NewElement("http://jabber.org/protocol/muc", "x"))))
	}
	for e, err := range s.Stanzas(ctx) {
		ts.Check(err)
		if _, ok := xmpp.Text(e, xmpp.NSClient, "subject"); ok { // the last part of joining
			n--
		}
		if n == 0 {
			return
		}
	}
}

// says JID ROOM [-config FIELD=VALUE]... TEXT... joins a room as the local part of JID, says
// something there, leaves, and waits until the room has reflected it. A room that is new then
// stays; with -config it is configured first.
func scriptSays(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	jid, err := xmpp.ParseJID(args[0])
	ts.Check(err)
	s := scriptSession(ctx, ts, jid)
	defer s.Close()
	room, nick := args[1], jid.Local
	join := xmpp.NewElement(xmpp.NSClient, "presence", "to", room+"/"+nick)
	ts.Check(s.Send(ctx, xmpp.Add(join, xmpp.NewElement("http://jabber.org/protocol/muc", "x"))))
	await := func(done func(e *xmpp.Element) bool) {
		for e, err := range s.Stanzas(ctx) {
			ts.Check(err)
			if done(e) {
				return
			}
			if xmpp.Attr(e, "type") == "error" {
				ts.Fatalf("%s: %v", room, xmpp.ErrorOf(e))
			}
		}
	}
	await(func(e *xmpp.Element) bool { _, ok := xmpp.Text(e, xmpp.NSClient, "subject"); return ok })
	to, err := xmpp.ParseJID(room)
	ts.Check(err)
	fields := [][2]string{{"muc#roomconfig_persistentroom", "1"}, {"muc#roomconfig_publicroom", "0"}} // other scripts list the public rooms
	args = args[2:]
	for len(args) > 1 && args[0] == "-config" {
		name, value, _ := strings.Cut(args[1], "=")
		fields, args = append(fields, [2]string{name, value}), args[2:]
	}
	const owner = "http://jabber.org/protocol/muc#owner"
	form := xmpp.Add(xmpp.NewElement(owner, "query"), xep.Submit("http://jabber.org/protocol/muc#roomconfig", fields...))
	if _, err := s.IQ(ctx, xmpp.NewIQ("set", to, form)); err != nil && len(fields) > 2 { // else who is no owner is refused
		ts.Fatalf("configure %s: %v", room, err)
	}
	for _, text := range args {
		m := xmpp.NewElement(xmpp.NSClient, "message", "to", room, "type", "groupchat", "id", xmpp.NewID())
		ts.Check(s.Send(ctx, xmpp.Add(m, xmpp.NewText(xmpp.NSClient, "body", text))))
		await(func(e *xmpp.Element) bool {
			return xmpp.Attr(e, "id") == xmpp.Attr(m, "id") && xmpp.Attr(e, "type") == "groupchat"
		})
	}
}

// receipts JID is a program that answers messages with receipts until the end of the
// script (XEP-0184).
func scriptReceipts(ts *testscript.TestScript, _ bool, args []string) {
	scriptAnswers(ts, args[0], func(m *xmpp.Element) *xmpp.Element {
		const ns = "urn:xmpp:receipts"
		if xmpp.Child(m, ns, "request") == nil {
			return nil
		}
		r := xmpp.NewElement(xmpp.NSClient, "message", "to", xmpp.Attr(m, "from"), "id", xmpp.NewID())
		return xmpp.Add(r, xmpp.NewElement(ns, "received", "id", xmpp.Attr(m, "id")))
	})
}

// refuses JID CONDITION is one that refuses them for the moment.
func scriptRefuses(ts *testscript.TestScript, _ bool, args []string) {
	scriptAnswers(ts, args[0], func(m *xmpp.Element) *xmpp.Element {
		return xmpp.Refusal(m, "wait", xmpp.Condition(args[1]))
	})
}

// deep JID is one that answers requests with more levels than anybody reads.
func scriptDeep(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	jid, err := xmpp.ParseJID(args[0])
	ts.Check(err)
	o := scriptOptions(ts, jid)
	o.HandleIQ = func(_ context.Context, iq *xmpp.Element) *xmpp.Element {
		return xmpp.Result(iq, xmpptest.Deep(100))
	}
	s, err := xmpp.Dial(ctx, o)
	ts.Check(err)
	ts.Defer(func() { s.Close() })
}

func scriptAnswers(ts *testscript.TestScript, who string, answer func(m *xmpp.Element) *xmpp.Element) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	jid, err := xmpp.ParseJID(who)
	ts.Check(err)
	s := scriptSession(ctx, ts, jid)
	_, err = s.Ping(ctx, s.Server(), xmpp.NewElement(xmpp.NSClient, "presence"))
	ts.Check(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e, err := range s.Stanzas(context.Background()) {
			if err != nil {
				return
			}
			if a := answer(e); a != nil && e.Tag == "message" && xmpp.Attr(e, "type") != "error" {
				_ = s.Send(context.Background(), a)
			}
		}
	}()
	ts.Defer(func() {
		s.Close()
		<-ended
	})
}

func scriptSession(ctx context.Context, ts *testscript.TestScript, jid xmpp.JID) *xmpp.Session {
	s, err := xmpp.Dial(ctx, scriptOptions(ts, jid))
	ts.Check(err)
	return s
}

func scriptOptions(ts *testscript.TestScript, jid xmpp.JID) xmpp.Options {
	pem, err := os.ReadFile(ts.Getenv("XMPP_CA_FILE"))
	ts.Check(err)
	return xmpp.Options{JID: jid, Password: scriptPassword, Server: ts.Getenv("XMPP_SERVER"), RootCAs: pool(pem)}
}

func pool(pem []byte) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return roots
}

// ndjson FILE demands that each line is a JSON object whose first key is kind.
func scriptNDJSON(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if text == "" {
		ts.Fatalf("%s is empty", args[0])
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, `{"kind":"`) || !strings.HasSuffix(line, "}\n") || !json.Valid([]byte(line)) {
			ts.Fatalf("%s: not a result: %q", args[0], line)
		}
	}
}

// closedfd CODE FDS PROGRAM ARG... is exits with file descriptors closed, as by
// >&- in a shell.
func scriptClosed(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: closedfd CODE FDS PROGRAM ARG...")
	}
	redirections := ""
	for _, fd := range strings.Split(args[1], ",") {
		redirections += " " + fd + ">&-"
	}
	scriptExits(ts, neg, append([]string{args[0], "sh", "-c", `exec "$@"` + redirections, "sh"}, args[2:]...))
}
