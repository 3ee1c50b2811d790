package cmd

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// A trouble that lasts for a minute is reported once, without -v, and so is its end; one
// that is over before is not. How it ends decides the exit code.
func TestListenTrouble(t *testing.T) {
	for _, test := range []struct {
		away, total time.Duration
		args        []string
		code        int
		stderr      string
	}{
		{20 * time.Second, 5 * time.Minute, nil, 0, `^$`},
		{10 * time.Minute, time.Hour, nil, 0, `^[^\n]*: connect to [^\n]*: refused; trying again\n[^\n]*: reconnected\n$`},
		{10 * time.Minute, time.Hour, []string{"-q"}, 0, `^[^\n]*: refused; trying again\n[^\n]*: reconnected\n$`},
		{10 * time.Minute, time.Hour, []string{"--json"}, 0, `^{"kind":"error",[^\n]*"ok":true,[^\n]*refused; trying again",[^\n]*}\n{[^\n]*"ok":true,[^\n]*reconnected"[^\n]*}\n$`},
		{10 * time.Hour, time.Hour, nil, exit.Temporary, `^[^\n]*; trying again\n[^\n]*: connect to [^\n]*: refused \(hint: [^\n]*\)\n$`},
		{10 * time.Hour, 30 * time.Second, []string{"--count", "1"}, exit.Temporary, `^[^\n]*: connect to [^\n]*: refused \(hint: [^\n]*\)\n$`},
	} {
		synctest.Test(t, func(t *testing.T) {
			args := append([]string{"listen", "--for", test.total.String()}, test.args...)
			_, stderr, code := runThrough(t, time.Second, test.away, args)
			if code != test.code || !regexp.MustCompile(test.stderr).MatchString(stderr) {
				t.Errorf("away for %s, listening for %s %v: code %d\n%s", test.away, test.total, test.args, code, stderr)
			}
		})
	}
}

// What was set is shown again after a loss, which is reported, and printed once. A time that is
// over while it cannot be shown is a failure.
func TestPresenceTrouble(t *testing.T) {
	for _, test := range []struct {
		away, total time.Duration
		args        []string
		code        int
		stderr      string
	}{
		{0, time.Minute, nil, 0, `^[^\n]*: connection lost: [^\n]*; trying again\n[^\n]*: reconnected\n$`},
		{20 * time.Second, 5 * time.Minute, nil, 0, `^[^\n]*: connection lost: [^\n]*; trying again\n[^\n]*: reconnected\n$`},
		{20 * time.Second, 10 * time.Second, nil, exit.Temporary, `^[^\n]*; trying again\n[^\n]*: refused \(hint: [^\n]*\)\n$`},
		{10 * time.Hour, time.Hour, nil, exit.Temporary, `^[^\n]*; trying again\n[^\n]*: refused \(hint: [^\n]*\)\n$`},
		{10 * time.Hour, time.Hour, []string{"--timeout", "30s"}, exit.Timeout, `^[^\n]*; trying again\n[^\n]*: no answer within 30s \(hint: [^\n]*\)\n$`},
	} {
		for _, command := range []string{"set", "watch"} {
			synctest.Test(t, func(t *testing.T) {
				args := append([]string{"presence", command, "--for", test.total.String()}, test.args...)
				stdout, stderr, code := runThrough(t, time.Second, test.away, args)
				if code != test.code || !regexp.MustCompile(test.stderr).MatchString(stderr) {
					t.Errorf("%s, away for %s, set for %s: code %d\n%s", command, test.away, test.total, code, stderr)
				}
				if command == "set" && strings.Count(stdout, "\n") != 1 {
					t.Errorf("away for %s, set for %s: printed %q", test.away, test.total, stdout)
				}
			})
		}
	}
}

// runThrough runs a command whose connection is lost after some time, and cannot be had
// again for another.
func runThrough(t *testing.T, after, away time.Duration, args []string) (stdout, stderr string, code int) {
	server, err := xmpptest.New(xmpptest.Config{Accounts: map[string]string{"romeo": "wherefore"}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(server.CA())
	var out, log bytes.Buffer
	started := time.Now()
	time.AfterFunc(after, server.Cut)
	env := &Env{
		Out: &out, Err: &log,
		Getenv: func(name string) string {
			return map[string]string{"XMPP_JID": "romeo@localhost", "XMPP_PASSWORD": "wherefore", "XMPP_SERVER": "127.0.0.1:5222"}[name]
		},
		Dial: func(ctx context.Context, o xmpp.Options) (*xmpp.Session, error) {
			o.RootCAs = roots
			o.DialContext = func(context.Context, string, string) (net.Conn, error) {
				if gone := time.Since(started) - after; gone >= 0 && gone < away {
					return nil, errors.New("refused")
				}
				there, here := net.Pipe()
				go server.ServeConn(there, false)
				return here, nil
			}
			return xmpp.Dial(ctx, o)
		},
	}
	code = Main(t.Context(), env, args)
	if strings.Contains(log.String(), "bug") {
		t.Error(log.String())
	}
	return out.String(), log.String(), code
}
