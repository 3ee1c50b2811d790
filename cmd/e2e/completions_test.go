package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestCompletions fails when the files in completions are not what the program says.
func TestCompletions(t *testing.T) {
	for shell, file := range map[string]string{
		"bash": "completions/xmppkit.bash", "zsh": "completions/_xmppkit",
		"fish": "completions/xmppkit.fish", "powershell": "completions/xmppkit.ps1",
	} {
		want, err := exec.Command("xmppkit", "completion", shell).Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(root, file))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run go generate (%v)", file, err)
		}
	}
}
