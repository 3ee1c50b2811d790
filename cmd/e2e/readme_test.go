package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A block is a script that a page shows, and the output that it shows below it.
type block struct{ script, output string }

// TestReadme runs what the README tells newcomers to type: each of its sh blocks as it
// stands, one after the other, in the shell of xmppkit demo.
func TestReadme(t *testing.T) {
	readme := readPage(t, "README.md")
	if n := strings.Count(readme, "\n"); n > 250 {
		t.Errorf("the README has %d lines, want at most 250", n)
	}
	for _, link := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(root + "/" + link[1]); err != nil {
			t.Errorf("dead link: %v", err)
		}
	}
	var blocks []block
	for _, part := range strings.Split(readme, "```sh\n")[1:] {
		script, rest, _ := strings.Cut(part, "```\n")
		output := ""
		if text, ok := strings.CutPrefix(rest, "```text\n"); ok {
			output, _, _ = strings.Cut(text, "```")
		}
		blocks = append(blocks, block{script, output})
	}
	juliet := runBlocks(t, blocks, 11)
	for _, want := range []string{"load average", "romeo@example.org: backup of ", "[disk space]: Filesystem"} {
		if !strings.Contains(juliet, want) {
			t.Errorf("juliet got %q, want %q in it", juliet, want)
		}
	}
	_, crontab, _ := strings.Cut(readme, "```crontab\n")
	crontab, _, _ = strings.Cut(crontab, "```")
	if crontab == "" || !slices.Contains(recipes(t), crontab) {
		t.Errorf("the recipes do not have\n%s", crontab)
	}
}

// TestRecipes runs the recipes in the same way. Those for systemd and cron are for TestUnits
// and TestCrontab.
func TestRecipes(t *testing.T) {
	var blocks []block
	for _, recipe := range recipes(t) {
		if !strings.HasPrefix(recipe, "# /etc/systemd/") && !strings.HasPrefix(recipe, "XMPP_CONFIG=") {
			blocks = append(blocks, block{script: recipe})
		}
	}
	juliet := runBlocks(t, blocks, 16)
	for _, want := range []string{"load average", "romeo@example.org: backup of ", "[disk space]: Filesystem", "you said: O Romeo", "a word, please?"} {
		if !strings.Contains(juliet, want) {
			t.Errorf("juliet got %q, want %q in it", juliet, want)
		}
	}
}

func readPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(root + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// recipes are the indented parts of the topic of that name, without the indentation.
func recipes(t *testing.T) (all []string) {
	for _, part := range regexp.MustCompile(`(?m)^[^ \n].*\n`).Split(readPage(t, "cmd/help/recipes.txt"), -1) {
		if recipe := strings.Trim(strings.ReplaceAll("\n"+part, "\n  ", "\n"), "\n"); recipe != "" {
			all = append(all, recipe+"\n")
		}
	}
	return all
}

// runBlocks runs at least n blocks, compares what they print with what they should, and
// returns what juliet got.
func runBlocks(t *testing.T, blocks []block, n int) (juliet string) {
	if len(blocks) < n {
		t.Fatalf("%d blocks, want at least %d", len(blocks), n)
	}
	// What the scripts print that have these words in them.
	prints := []struct{ has, want string }{
		{"nobody@example.org || code", "no such account"},
		{"jq -r .body)", "juliet says: O Romeo"},
		{"--unbuffered", "O Romeo"},
		{"select(.ok | not)", "nobody@example.org: service-unavailable\n"},
		{"group_by", "1 juliet@example.org\n"},
		{"ping -c 3", "3 received, 0% loss"},
		{"carbons", "it has carbons\n"},
	}
	var scripts []string
	for _, b := range blocks {
		scripts = append(scripts, b.script)
	}
	outs, juliet := runInDemo(t, scripts)
	for i, b := range blocks {
		if needsJQ(b.script) {
			continue
		}
		for _, p := range prints {
			if strings.Contains(b.script, p.has) && !strings.Contains(outs[i], p.want) {
				t.Errorf("%s\nprinted %q, want %q", b.script, outs[i], p.want)
			}
		}
		if b.output != "" && masked(outs[i]) != masked(b.output) {
			t.Errorf("%s\nprinted\n%s\nnot\n%s", b.script, outs[i], b.output)
		}
	}
	return juliet
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
