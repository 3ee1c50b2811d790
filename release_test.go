package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// TestVersion fails when the program and the changelog name different versions.
func TestVersion(t *testing.T) {
	log, err := os.ReadFile("CHANGELOG.md")
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
