package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestVersion fails when the program and the changelog name different versions.
func TestVersion(t *testing.T) {
	log, err := os.ReadFile(root + "/CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	newest := regexp.MustCompile(`(?m)^## ([^ ]+) \(\d{4}-\d\d-\d\d\)$`).FindSubmatch(log)
	if newest == nil {
		t.Fatal(`want a heading "## VERSION (DATE)" in CHANGELOG.md`)
	}
	out, err := exec.Command("xmppkit", "--version", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Version string }
	if err := json.Unmarshal(out, &got); err != nil || got.Version != string(newest[1]) {
		t.Errorf("version %q, and %s in the changelog (%v)", got.Version, newest[1], err)
	}
}

// TestUnits fails when the examples are not what the recipes show, or when systemd finds
// something wrong in them.
func TestUnits(t *testing.T) {
	self, err := exec.LookPath("xmppkit")
	if err != nil {
		t.Fatal(err)
	}
	shown := recipes(t)
	files, _ := filepath.Glob(root + "/examples/*.service") // the pattern is well-formed
	dir := t.TempDir()
	programs := strings.NewReplacer("/usr/local/bin/xmppkit", self, "/usr/local/bin/job", "/bin/true") // that exist
	for i, file := range files {
		unit, err := os.ReadFile(file)
		if err == nil {
			files[i] = filepath.Join(dir, filepath.Base(file))
			err = os.WriteFile(files[i], []byte(programs.Replace(string(unit))), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(shown, string(unit)) {
			t.Errorf("the recipes do not show %s", file)
		}
		for _, want := range []string{"\nWants=network-online.target\nAfter=network-online.target\n", "\nDynamicUser=yes\n",
			"\nRestartPreventExitStatus=2 ", " 69 76 77 78\n", "\nSuccessExitStatus=143\n", "[Install]"} {
			if !strings.Contains(string(unit), want) {
				t.Errorf("%s: no %q", file, want)
			}
		}
	}
	shown = slices.DeleteFunc(shown, func(recipe string) bool { return !strings.HasPrefix(recipe, "# /etc/systemd/") })
	if len(files) != len(shown) || len(files) != 2 {
		t.Errorf("%d units, and %d in the recipes", len(files), len(shown))
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil && !interopRequired() {
		t.Skip("systemd-analyze is not installed")
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
}

// TestCrontab runs what the README has for cron, with what cron has: a user's home, sh and
// a short PATH.
func TestCrontab(t *testing.T) {
	self, err := exec.LookPath("xmppkit")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(readPage(t, "README.md"), "```crontab\n")
	table, _, _ = strings.Cut(table, "```")
	dir := t.TempDir()
	programs := strings.NewReplacer("/usr/local/bin/xmppkit", self, "/usr/local/bin/backup", "false", "/etc/xmppkit.toml", dir+"/xmppkit.toml")
	script := "set -e; umask 077\n" +
		`printf '%s = "%s"\n' jid "$XMPP_JID" password "$XMPP_PASSWORD" server "$XMPP_SERVER" ca_file "$XMPP_CA_FILE" >xmppkit.toml` + "\n"
	variables, jobs := "", 0
	for line := range strings.Lines(programs.Replace(table)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.Contains(name, " ") {
			variables += " " + name + "='" + value + "'"
			continue
		}
		job := regexp.MustCompile(`^([0-9*/,-]+\s+){5}`).ReplaceAllString(line, "")
		if job == line || strings.Contains(job, "%") { // which is a line break to cron
			t.Errorf("no line of a crontab: %q", line)
		}
		jobs++
		script += "env -i HOME=\"$PWD\" SHELL=/bin/sh PATH=/usr/bin:/bin" + variables + " sh <<'END'\n" + job + "END\n"
	}
	c := exec.Command("xmppkit", "demo", "--", "sh", "-c", script+`XMPP_JID=$XMPP_PEER_JID XMPP_PASSWORD=$XMPP_PEER_PASSWORD xmppkit listen --count 1 --for 20s`)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil || jobs != 1 || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), " romeo@example.org: no backup on ") {
		t.Errorf("%d jobs, %v: %s", jobs, err, out)
	}
}
