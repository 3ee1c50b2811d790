package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// TestReadme runs what the README tells newcomers to type: each of its sh blocks as
// it stands, against a server for example.org.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	server, err := xmpptest.Start(xmpptest.Config{Domain: "example.org", Accounts: map[string]string{"romeo": scriptPassword, "juliet": scriptPassword}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, server.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(jid, script string) string {
		c := exec.Command("sh", "-e", "-c", script)
		c.Dir = t.TempDir()
		c.Env = append(os.Environ(), "XMPP_JID="+jid, "XMPP_PASSWORD="+scriptPassword, "XMPP_SERVER="+server.Addr(),
			"XMPP_CA_FILE="+ca, "XMPP_STATE_DIR="+t.TempDir(), "XMPP_CONFIG="+os.DevNull)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s\n%s", err, script, out)
		}
		return string(out)
	}
	// What a block is known by, what Juliet has said before it, and what it prints.
	blocks := []struct{ has, said, prints string }{
		{"uname", "", ""},
		{"df ", "", ""},
		{"ping", "", "3 received, 0% loss"},
		{"jq -r .body)", "I am here", "juliet says: I am here\n"},
		{"case", "", "no such account"},
		{"ping -c 2", "", ""},
		{"send -v", "", ""},
		{"listen", "I am\nand who are you?", ""},
		{"roster", "", ""},
		{"presence", "", ""},
		{"disco", "", ""},
		{"--lines", "", ""},
		{"--durable inbox", "for the inbox", ""},
		{"--durable jobs", "how long are you up?", ""},
		{"--unbuffered", "I am back", "I am back\n"},
		{"select(.ok | not)", "", "nobody@example.org: service-unavailable\n"},
		{"group_by", "again", "1 juliet@example.org\n"},
		{"you said", "who is there?", ""},
	}
	scripts := strings.Split(string(readme), "```sh\n")[1:]
	if len(scripts) != len(blocks) {
		t.Fatalf("%d blocks, want %d", len(scripts), len(blocks))
	}
	for i, block := range blocks {
		script, rest, _ := strings.Cut(scripts[i], "```\n")
		if !strings.Contains(script, block.has) {
			t.Errorf("block %d is not that of %s:\n%s", i, block.has, script)
		}
		if _, err := exec.LookPath("jq"); strings.Contains(script, "jq") && err != nil && !interopRequired() {
			t.Log("jq is not installed")
			continue
		}
		say := func() { run("juliet@example.org", "xmppkit send -m '"+block.said+"' romeo@example.org") }
		var saying sync.WaitGroup
		switch {
		case strings.Contains(script, "--new"):
			saying.Go(func() {
				awaitListener(t, server)
				say()
			})
		case block.said != "":
			say()
		}
		out := run("romeo@example.org", script)
		saying.Wait()
		if !strings.Contains(out, block.prints) {
			t.Errorf("%s\nprinted %q, want %q", script, out, block.prints)
		}
		if text, ok := strings.CutPrefix(rest, "```text\n"); ok {
			text, _, _ = strings.Cut(text, "```")
			if masked(out) != masked(text) {
				t.Errorf("%s\nprinted\n%s\nnot\n%s", script, out, text)
			}
		}
	}
	got := run("juliet@example.org", "xmppkit listen --idle 500ms")
	if !strings.Contains(got, "load average") ||
		!strings.Contains(got, "romeo@example.org: backup of ") || !strings.Contains(got, "[disk space]: Filesystem") {
		t.Errorf("juliet got %q", got)
	}
}

// masked leaves out what differs from run to run: times.
func masked(s string) string {
	return regexp.MustCompile(`\d+(\.\d+)?`).ReplaceAllString(s, "N")
}

// awaitListener waits until a listener of Romeo is available.
func awaitListener(t *testing.T, server *xmpptest.Server) {
	romeo := xmpp.JID{Local: "romeo", Domain: "example.org"}
	s, err := xmpp.Dial(t.Context(), xmpp.Options{JID: romeo, Password: scriptPassword, Server: server.Addr(), RootCAs: pool(server.CA())})
	if err == nil {
		defer s.Close()
		err = awaitPresence(t.Context(), s, romeo)
	}
	if err != nil {
		t.Error(err)
	}
}
