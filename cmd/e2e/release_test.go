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

// TestUnits fails when the examples are not what the README shows, or when systemd finds
// something wrong in them.
func TestUnits(t *testing.T) {
	readme, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	self, err := exec.LookPath("xmppkit")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, part := range strings.Split(string(readme), "```ini\n")[1:] {
		unit, _, _ := strings.Cut(part, "```")
		shown = append(shown, unit)
	}
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
			t.Errorf("the README does not show %s", file)
		}
	}
	if len(files) != len(shown) || len(files) != 2 {
		t.Errorf("%d units, and %d in the README", len(files), len(shown))
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil && !interopRequired() {
		t.Skip("systemd-analyze is not installed")
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
}
