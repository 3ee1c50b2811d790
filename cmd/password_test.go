//go:build unix

package cmd

import (
	"bytes"
	"context"
	"fmt"
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
