package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"xmppkit/xmpp/xmpptest"
)

// canary is a password that must not turn up anywhere.
const canary = "Canary, 'tis a \"bird\" 7f3a"

// A canaryAccount is romeo, whose password is the canary, and all that may have seen
// it.
type canaryAccount struct {
	access
	dir string

	mu     sync.Mutex
	stream bytes.Buffer // what was said inside TLS
}

func newCanaryAccount(t *testing.T, password string, mechanisms ...string) *canaryAccount {
	t.Helper()
	a := new(canaryAccount)
	_, a.access = startServer(t, xmpptest.Config{
		Accounts: map[string]string{"romeo": password}, Mechanisms: mechanisms,
		Trace: func(_ int, _ bool, b []byte) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.stream.Write(b)
		},
	})
	a.dir = filepath.Dir(a.ca)
	for file, text := range map[string]string{
		"password":         canary + "\n",
		"xmppkit.password": canary,
		"sendxmpprc":       "username: romeo@localhost\npassword: " + canary + "\n",
		"config.toml":      "jid = 'romeo@localhost'\npassword = '''" + canary + "'''\n",
		// The arguments of the parent and the environment are a child's to see.
		"command": "#!/bin/sh\ncat /proc/$PPID/cmdline >>seen 2>/dev/null\nenv >>seen\ncat password\n",
		"handler": "#!/bin/sh\ncat /proc/$PPID/cmdline - >>seen 2>/dev/null\nenv >>seen\necho printed\n",
	} {
		if err := os.WriteFile(filepath.Join(a.dir, file), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (a *canaryAccount) environ(more ...string) []string {
	mine := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + a.dir, "XMPP_JID=romeo@localhost"}
	return slices.Concat(mine, a.access.environ, more)
}

// run returns everything that a command has shown to anybody.
func (a *canaryAccount) run(t *testing.T, stdin string, environ []string, args ...string) (seen string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "xmppkit", args...)
	c.Dir, c.Env, c.Stdin = a.dir, environ, strings.NewReader(stdin)
	out, _ := c.CombinedOutput()
	seen = string(out)
	files, _ := filepath.Glob(filepath.Join(a.dir, "state", "*"))
	for _, file := range append(files, filepath.Join(a.dir, "seen")) {
		b, _ := os.ReadFile(file)
		seen += string(b)
	}
	return seen, c.ProcessState.ExitCode()
}

// secrets are the canary in all the forms in which it, or what it can be guessed from,
// was on the wire.
func (a *canaryAccount) secrets(t *testing.T) []string {
	t.Helper()
	secrets := []string{canary, "7f3a", base64.StdEncoding.EncodeToString([]byte(canary)),
		base64.StdEncoding.EncodeToString([]byte("\x00romeo\x00" + canary))}
	a.mu.Lock()
	defer a.mu.Unlock()
	exchange := regexp.MustCompile(`<(?:auth|challenge|response|success)\b[^>]*>([^<]+)<`).FindAllSubmatch(a.stream.Bytes(), -1)
	for _, m := range exchange {
		data, err := base64.StdEncoding.DecodeString(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, string(m[1]))
		for field := range strings.SplitSeq(string(data), ",") {
			if len(field) > 12 { // p=, v=, r=, s=
				secrets = append(secrets, field)
			}
		}
	}
	return secrets
}

// A passwordWay is a way to give a password.
type passwordWay struct {
	name, stdin string
	environ     []string
	args        []string
}

func passwordWays() []passwordWay {
	return []passwordWay{
		{"file", "", nil, []string{"--password-file", "password"}},
		{"stdin", canary + "\nmore", nil, []string{"--password-file", "-"}},
		{"command", "", nil, []string{"--password-command", "./command"}},
		{"command beside environment", "", []string{"XMPP_PASSWORD=" + canary}, []string{"--password-command", "./command"}},
		{"environment", "", []string{"XMPP_PASSWORD=" + canary}, nil},
		{"config", "", nil, []string{"--config", "config.toml"}},
		{"sendxmpprc", "", nil, []string{"--config", "sendxmpprc"}},
		{"systemd", "", []string{"CREDENTIALS_DIRECTORY=."}, nil},
	}
}

// A login by each way to give a password, that succeeds and that fails, shows the
// password, or what it can be guessed from, to nobody.
func TestCanary(t *testing.T) {
	for _, server := range []struct {
		name, password string
		mechanisms     []string
		code           int
	}{
		{"SCRAM", canary, nil, 0},
		{"SCRAM without channel binding", canary, []string{"SCRAM-SHA-1"}, 0},
		{"PLAIN", canary, []string{"PLAIN"}, 0},
		{"wrong", "another", nil, 77},
		{"wrong PLAIN", "another", []string{"PLAIN"}, 77},
	} {
		for _, way := range passwordWays() {
			t.Run(server.name+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				a := newCanaryAccount(t, server.password, server.mechanisms...)
				for _, mode := range [][]string{{"-vv"}, {"-v", "--json"}} {
					args := append(append([]string{"ping", "--allow-plain"}, mode...), way.args...)
					seen, code := a.run(t, way.stdin, a.environ(way.environ...), args...)
					if code != server.code || !strings.Contains(seen, "xmppkit: * ") {
						t.Fatalf("exited with %d, want %d:\n%s", code, server.code, seen)
					}
					secrets := a.secrets(t)
					if len(secrets) < 5 {
						t.Fatalf("no login in %s", a.stream.String())
					}
					for _, secret := range secrets {
						if strings.Contains(seen, secret) {
							t.Errorf("%q is in\n%s", secret, seen)
						}
					}
				}
			})
		}
	}
}

// What listen runs sees no password, nor the variables that say where it is: what
// strangers write is handed to it.
func TestCanaryHandler(t *testing.T) {
	ways := append(passwordWays(),
		passwordWay{"command in environment", "", []string{"XMPP_PASSWORD_COMMAND=cat password # 7f3a"}, nil},
		passwordWay{"file in environment", "", []string{"XMPP_PASSWORD_FILE=password"}, nil},
		passwordWay{"file beside environment", "", []string{"XMPP_PASSWORD=" + canary, "XMPP_PEER_PASSWORD=" + canary}, []string{"--password-file", "password"}})
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			a := newCanaryAccount(t, canary)
			password := a.environ("XMPP_PASSWORD=" + canary)
			if seen, code := a.run(t, "", password, "send", "-m", "hello", "romeo@localhost"); code != 0 {
				t.Fatalf("exited with %d:\n%s", code, seen)
			}
			args := append([]string{"listen", "-vv", "--count", "1", "--for", "10s"}, way.args...)
			seen, code := a.run(t, way.stdin, a.environ(way.environ...), append(args, "romeo@localhost", "--", "./handler")...)
			if code != 0 || !strings.Contains(seen, "XMPP_BODY=hello\n") || !strings.Contains(seen, "\nprinted\n") {
				t.Fatalf("exited with %d:\n%s", code, seen)
			}
			for _, secret := range a.secrets(t) {
				if strings.Contains(seen, secret) {
					t.Errorf("%q is in\n%s", secret, seen)
				}
			}
			if strings.Contains(seen, "\nXMPP_PASSWORD") || strings.Contains(seen, "\nXMPP_PEER_PASSWORD") {
				t.Errorf("a way to get it is in\n%s", seen)
			}
		})
	}
}

// What cannot be used as a password, or as a file that holds one, is not quoted.
func TestCanaryErrors(t *testing.T) {
	a := newCanaryAccount(t, canary)
	for file, text := range map[string]string{
		"broken.toml": "password = " + canary, "type.toml": "password = ['" + canary + "']", "key.toml": "[a]\nb = '''" + canary + "'''",
		"number.toml": "password = 7f3a", "bad.rc": "romeo@localhost x\n" + canary, "bad2.rc": "username: x y\npassword: " + canary,
		"control": canary + "\x07", "both.toml": "password_command = 'x'\npassword = '''" + canary + "'''",
	} {
		if err := os.WriteFile(filepath.Join(a.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"ping", "-vv", "--config", file}
		if file == "control" {
			args = []string{"ping", "-vv", "--password-file", file}
		}
		seen, code := a.run(t, "", a.environ(), args...)
		if code != 78 || strings.Contains(seen, "7f3a") {
			t.Errorf("%s: exited with %d:\n%s", file, code, seen)
		}
	}
	for _, args := range [][]string{{"ping", "--password", canary}, {"ping", "--password=" + canary}, {"ping", "-p" + canary}, {"ping", "-p", canary}} {
		if seen, code := a.run(t, "", a.environ(), args...); code != 2 || strings.Contains(seen, "7f3a") {
			t.Errorf("%q: exited with %d:\n%s", args, code, seen)
		}
	}
}
