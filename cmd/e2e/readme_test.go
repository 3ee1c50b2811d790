package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadme runs what the README tells newcomers to type: each of its sh blocks as
// it stands, one after the other, in the shell of xmppkit demo.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	// What a block is known by, and what it prints.
	blocks := []struct{ has, prints string }{
		{"uname", ""},
		{"df ", ""},
		{"ping", "3 received, 0% loss"},
		{"jq -r .body)", "juliet says: O Romeo"},
		{"case", "no such account"},
		{"ping -c 2", ""},
		{"send -v", ""},
		{"listen", ""},
		{"roster", ""},
		{"presence", ""},
		{"disco", ""},
		{"--lines", ""},
		{"--durable inbox", ""},
		{"--durable jobs", ""},
		{"--unbuffered", "O Romeo"},
		{"select(.ok | not)", "nobody@example.org: service-unavailable\n"},
		{"group_by", "1 juliet@example.org\n"},
		{"you said", ""},
	}
	parts := strings.Split(string(readme), "```sh\n")[1:]
	if len(parts) != len(blocks) {
		t.Fatalf("%d blocks, want %d", len(parts), len(blocks))
	}
	var scripts []string
	for i, block := range blocks {
		script, _, _ := strings.Cut(parts[i], "```\n")
		if !strings.Contains(script, block.has) {
			t.Errorf("block %d is not that of %s:\n%s", i, block.has, script)
		}
		scripts = append(scripts, script)
	}
	outs, juliet := runInDemo(t, scripts)
	for i, block := range blocks {
		if needsJQ(scripts[i]) {
			continue
		}
		if !strings.Contains(outs[i], block.prints) {
			t.Errorf("%s\nprinted %q, want %q", scripts[i], outs[i], block.prints)
		}
		_, rest, _ := strings.Cut(parts[i], "```\n")
		if text, ok := strings.CutPrefix(rest, "```text\n"); ok {
			text, _, _ = strings.Cut(text, "```")
			if masked(outs[i]) != masked(text) {
				t.Errorf("%s\nprinted\n%s\nnot\n%s", scripts[i], outs[i], text)
			}
		}
	}
	for _, want := range []string{"load average", "romeo@example.org: backup of ", "[disk space]: Filesystem"} {
		if !strings.Contains(juliet, want) {
			t.Errorf("juliet got %q, want %q in it", juliet, want)
		}
	}
}

// runInDemo runs scripts in one demo, and returns what each has printed, and what juliet
// got of them.
func runInDemo(t *testing.T, scripts []string) (outs []string, juliet string) {
	dir := t.TempDir()
	for i, script := range scripts {
		if needsJQ(script) {
			t.Log("jq is not installed")
			script = ""
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".sh")), []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("xmppkit", "demo", "--", "sh", "-c", `for i in $(seq 0 `+fmt.Sprint(len(scripts)-1)+`); do
		sh -e $i.sh >$i.out 2>&1 || echo "exit code $?" >$i.failed
	done
	XMPP_JID=$XMPP_PEER_JID XMPP_PASSWORD=$XMPP_PEER_PASSWORD xmppkit listen --idle 500ms`)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("demo: %v\n%s", err, out)
	}
	for i, script := range scripts {
		out, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i, ".out")))
		if failed, e := os.ReadFile(filepath.Join(dir, fmt.Sprint(i, ".failed"))); err != nil || e == nil {
			t.Errorf("%s\n%s%s(%v)", script, out, failed, err)
		}
		outs = append(outs, string(out))
	}
	return outs, string(out)
}

// needsJQ reports whether a script needs a jq that is not there.
func needsJQ(script string) bool {
	_, err := exec.LookPath("jq")
	return strings.Contains(script, "jq") && err != nil && !interopRequired()
}

// masked leaves out what differs from run to run: times.
func masked(s string) string {
	return regexp.MustCompile(`\d+(\.\d+)?`).ReplaceAllString(s, "N")
}
