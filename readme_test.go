package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
		c.Env = append(os.Environ(), "XMPP_JID="+jid, "XMPP_PASSWORD="+scriptPassword, "XMPP_SERVER="+server.Addr(),
			"XMPP_CA_FILE="+ca, "XMPP_STATE_DIR="+t.TempDir())
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s\n%s", err, script, out)
		}
		return string(out)
	}
	run("juliet@example.org", "xmppkit send -m 'I am here' romeo@example.org")

	want := map[string]string{"jq": "juliet says: I am here\n", "case": "no such account", "df": "", "uname": "", "ping": "3 received, 0% loss"}
	blocks := strings.Split(string(readme), "```sh\n")[1:]
	if len(blocks) != len(want) {
		t.Fatalf("%d blocks, want %d", len(blocks), len(want))
	}
	for _, block := range blocks {
		script, _, _ := strings.Cut(block, "```")
		if _, err := exec.LookPath("jq"); strings.Contains(script, "jq") && err != nil && !interopRequired() {
			t.Log("jq is not installed")
			continue
		}
		out := run("romeo@example.org", script)
		for word, text := range want {
			if strings.Contains(script, word+" ") && !strings.Contains(out, text) {
				t.Errorf("%s\nprinted %q, want %q", script, out, text)
			}
		}
	}
	got := run("juliet@example.org", "xmppkit listen --count 2 --for 5s")
	if !strings.Contains(got, "romeo@example.org: backup of ") || !strings.Contains(got, "[disk space]: Filesystem") {
		t.Errorf("juliet got %q", got)
	}
}
