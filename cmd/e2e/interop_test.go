package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"xmppkit/xmpp/xmpptest"
)

// This file runs a real Prosody and a real ejabberd for the scripts: private ones, each with its
// own directory, ports, certificate and accounts, that end with the tests. It knows how to start a
// server and how to give it an account; it speaks no XMPP.

// realServer is a running server that the scripts talk to.
type realServer struct {
	name     string // of the target: "prosody13"
	kind     string // "prosody" or "ejabberd"
	starttls string // HOST:PORT
	direct   string // HOST:PORT, TLS from the first byte
	caFile   string
	logFile  string // all that the server prints

	home       *home
	command    func(*home) *exec.Cmd
	process    *process
	addAccount func(h *home, user, password string) error
}

// register creates an account. The user must be in its prepared form, as the server stores it,
// and new. It waits for a server that cannot do that yet: ejabberd listens before it has opened
// its tables, and answers 500 until then (23.01).
func (s *realServer) register(user, password string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := s.addAccount(s.home, user, password)
		if err == nil {
			return nil
		}
		if !errors.Is(err, errNotReady) || s.process.hasEnded() || time.Now().After(deadline) {
			return fmt.Errorf("register %s with %s: %w", user, s.name, err)
		}
	}
}

// errNotReady says of a server that it may do later what it cannot do now.
var errNotReady = errors.New("not ready")

// run starts the server, on the ports and data of its home, and returns when it is ready.
func (s *realServer) run() (err error) {
	if s.process, err = s.home.run(s.command(s.home)); err != nil {
		return err
	}
	if err := s.home.waitReady(s.process); err != nil {
		s.stop()
		return fmt.Errorf("%w\n%s", err, s.home.lastOutput())
	}
	return nil
}

// stop ends the server: it may tidy up for a while, but not for long.
func (s *realServer) stop() { s.process.stop() }

// kill ends the server as a crash does.
func (s *realServer) kill() {
	s.signal(os.Kill)
	<-s.process.done
}

// signal sends a signal, unless the server has ended.
func (s *realServer) signal(sig os.Signal) { _ = s.process.cmd.Process.Signal(sig) }

// errNotInstalled says that there is nothing to test against: skip, and say so.
var errNotInstalled = errors.New("not installed")

// interopRequired reports whether a server that is not installed is a failure, as it is in CI.
func interopRequired() bool { return os.Getenv("XMPPKIT_INTEROP") == "required" }

// startProsody starts a Prosody in a directory of its own below dir. The second result stops it.
func startProsody(dir string) (*realServer, func(), error) {
	program, err := exec.LookPath("prosody")
	if err != nil {
		return nil, nil, fmt.Errorf("prosody: %w", errNotInstalled)
	}
	return start(dir, prosody("prosody", program))
}

// startProsody13 starts the one of Debian's backports.
func startProsody13(dir string) (*realServer, func(), error) {
	program, err := unpacked("prosody13")
	if err != nil {
		return nil, nil, err
	}
	return start(dir, prosody("prosody13", program))
}

func prosody(name, program string) recipe {
	return recipe{
		name:      name,
		kind:      "prosody",
		config:    "prosody.cfg.lua",
		directory: prosodyAccounts,
		command: func(h *home) *exec.Cmd {
			return exec.Command(program, "--config", h.path("prosody.cfg.lua"), "-F")
		},
		addAccount: (*home).writeProsodyAccount,
	}
}

// startEjabberd starts an ejabberd in a directory of its own below dir. The second result stops it.
func startEjabberd(dir string) (*realServer, func(), error) {
	libraries, err := ejabberdLibraries()
	if err != nil {
		return nil, nil, err
	}
	return start(dir, ejabberd("ejabberd", libraries))
}

// ejabberdLibraries is where Erlang finds the ejabberd that is installed.
func ejabberdLibraries() (string, error) {
	code, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin/ejabberd.beam") // the pattern is well-formed
	if len(code) == 0 {
		return "", fmt.Errorf("ejabberd: %w", errNotInstalled)
	}
	if sqlite, _ := filepath.Glob("/usr/lib/erlang/lib/p1_sqlite3-*"); len(sqlite) == 0 {
		return "", fmt.Errorf("erlang-p1-sqlite3: %w", errNotInstalled)
	}
	return librariesOf(code[0]), nil
}

// startEjabberd24 starts the one of Debian's backports. It needs newer libraries than the stock one.
func startEjabberd24(dir string) (*realServer, func(), error) {
	code, err := unpacked("root/usr/lib/*/ejabberd-24.*/ebin/ejabberd.beam")
	if err != nil {
		return nil, nil, err
	}
	erlang, err := unpacked("root/usr/lib/erlang/lib")
	if err != nil {
		return nil, nil, err
	}
	return start(dir, ejabberd("ejabberd24", librariesOf(code)+":"+erlang))
}

// librariesOf is where Erlang looks for the library that a file of code, in its ebin, is of.
func librariesOf(code string) string { return filepath.Join(filepath.Dir(code), "..", "..") }

// unpacked returns a file of the servers that .ci/modern has unpacked.
func unpacked(pattern string) (string, error) {
	dir := os.Getenv("XMPPKIT_MODERN")
	if dir == "" {
		return "", fmt.Errorf("%w: .ci/modern unpacks it, and XMPPKIT_MODERN says where", errNotInstalled)
	}
	found, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is well-formed
	if len(found) == 0 {
		return "", fmt.Errorf("%w: no %s in XMPPKIT_MODERN=%s", errNotInstalled, pattern, dir)
	}
	return found[0], nil
}

// ejabberd is the recipe of one with its code in libraries.
//
// It runs the Erlang machine itself: ejabberdctl insists on the system's user and directories. The
// node has no name, so there is no distribution, no epmd and no cookie.
func ejabberd(name, libraries string) recipe {
	return recipe{
		name:      name,
		kind:      "ejabberd",
		config:    "ejabberd.yml",
		directory: "mnesia",
		command: func(h *home) *exec.Cmd {
			return h.erlang(libraries, "-s", "ejabberd")
		},
		addAccount: (*home).postEjabberdAccount,
	}
}

// erlang is the command of an ejabberd; the arguments say what it does.
func (h *home) erlang(libraries string, args ...string) *exec.Cmd {
	cmd := exec.Command("erl", append([]string{
		"-noinput",
		"+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", // idle schedulers sleep instead of spinning
		"-mnesia", "dir", strconv.Quote(h.path("mnesia")),
	}, args...)...)
	cmd.Env = []string{
		"ERL_LIBS=" + libraries,
		"ERL_CRASH_DUMP_BYTES=0",
		"EJABBERD_CONFIG_PATH=" + h.path("ejabberd.yml"),
		"EJABBERD_LOG_PATH=" + h.path("ejabberd.log"),
	}
	// SQLite waits for the disk at each commit. What a killed process has written
	// survives it in the kernel: the disk is for power failures.
	if faster, _ := filepath.Glob("/usr/lib/*/libeatmydata.so"); len(faster) > 0 {
		cmd.Env = append(cmd.Env, "LD_PRELOAD="+faster[0])
	}
	return cmd
}

const prosodyAccounts = "data/localhost/accounts"

// writeProsodyAccount writes the file of mod_auth_internal_plain, which is read at every login.
func (h *home) writeProsodyAccount(user, password string) error {
	file := h.path(prosodyAccounts, prosodyFileName(user)+".dat")
	if err := os.WriteFile(file, []byte("return { password = "+luaString(password)+" };\n"), 0o600); err != nil {
		return err
	}
	return h.giveAway(file)
}

// prosodyFileName is encode of Prosody's util.datamanager: %xx for all but ASCII letters and digits.
func prosodyFileName(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// luaString quotes s byte by byte: Lua does not know the escapes of Go.
func luaString(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, `\%03d`, c)
	}
	return `"` + b.String() + `"`
}

// postEjabberdAccount asks ejabberd's API, which listens on the loopback interface only.
func (h *home) postEjabberdAccount(user, password string) error {
	body, err := json.Marshal(map[string]string{"user": user, "host": h.Domain, "password": password})
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Post("http://"+h.addr(h.HTTP)+"/api/register", "application/json", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errNotReady, err)
	}
	defer resp.Body.Close()
	reason, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // best effort: the status is known
	switch {
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusConflict: // it is there, by a try whose answer was lost
		return nil
	case resp.StatusCode >= 500:
		return fmt.Errorf("%w: %s: %s", errNotReady, resp.Status, reason)
	}
	return fmt.Errorf("%s: %s", resp.Status, reason)
}

// recipe is what one server does differently from the other.
type recipe struct {
	name       string
	kind       string // and the system's user that runs it when the tests run as root
	config     string // made from testdata/interop/CONFIG.tmpl
	directory  string // below the home, that has to be there
	command    func(*home) *exec.Cmd
	addAccount func(h *home, user, password string) error

	ip, domain string
	ca         *xmpptest.Authority
	storage    string // of ejabberd
}

// start runs the recipe. Another program can take a port between our choice and the server's bind, so
// that is tried twice.
func start(dir string, r recipe) (_ *realServer, _ func(), err error) {
	r.ip, r.domain, r.storage = cmp.Or(r.ip, "127.0.0.1"), cmp.Or(r.domain, "localhost"), cmp.Or(r.storage, "sql")
	if r.ca == nil {
		if r.ca, err = xmpptest.NewAuthority(); err != nil {
			return nil, nil, err
		}
	}
	server, stop, err := r.start(filepath.Join(dir, r.name))
	if errors.Is(err, errPortTaken) {
		server, stop, err = r.start(filepath.Join(dir, r.name+"-again"))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", r.name, err)
	}
	return server, stop, nil
}

func (r recipe) start(dir string) (*realServer, func(), error) {
	h, err := r.furnish(dir)
	if err != nil {
		return nil, nil, err
	}
	s := &realServer{
		name:       r.name,
		kind:       r.kind,
		starttls:   h.addr(h.StartTLS),
		direct:     h.addr(h.Direct),
		caFile:     h.path("ca.pem"),
		logFile:    h.path("output.log"),
		home:       h,
		command:    r.command,
		addAccount: r.addAccount,
	}
	if err := s.run(); err != nil {
		return nil, nil, err
	}
	return s, s.stop, nil
}
