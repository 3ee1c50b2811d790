//go:build unix

package cmd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
)

// A panic says what was at hand, but not the password.
func TestPanicHidesPassword(t *testing.T) {
	const canary = "canary7f3a"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		var stdout, stderr bytes.Buffer
		env := &Env{
			Out: &stdout, Err: &stderr,
			Getenv: func(key string) string {
				return map[string]string{"XMPP_JID": "romeo@localhost", "XMPP_PASSWORD": canary}[key]
			},
			Dial: func(_ context.Context, o xmpp.Options) (*xmpp.Session, error) {
				if o.Password != canary {
					t.Errorf("the password is %q", string(o.Password))
				}
				panic(fmt.Errorf("at "+verb, o))
			},
		}
		code := Main(t.Context(), env, []string{"ping", "-vv", "--no-cache"})
		if seen := stdout.String() + stderr.String(); code != exit.Bug || strings.Contains(seen, canary) || strings.Contains(seen, fmt.Sprintf("%x", canary)) {
			t.Errorf("%s: exited with %d:\n%s", verb, code, seen)
		}
	}
}

func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	check := func(want string) {
		t.Helper()
		f, info, err := openFile(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := private(f.Name(), info); fmt.Sprint(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{0o777: "is in a directory that everybody can write into", 0o777 | os.ModeSticky: "<nil>", 0o700: "<nil>"} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		check(want)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{
		0o600: "<nil>", 0o400: "<nil>", 0o700: "<nil>",
		0o640: "is open to others (mode 0640)", 0o604: "is open to others (mode 0604)", 0o620: "is open to others (mode 0620)",
	} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		check(want)
		os.Remove(file)
	}
	if os.Geteuid() == 0 {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(file, 1234, 1234); err != nil {
			t.Skip(err)
		}
		check("belongs to somebody else")
	}
	file = os.DevNull
	check("is no regular file")
}
