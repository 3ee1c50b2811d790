package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"xmppkit/cmd/files"
	"xmppkit/xmpp/receive"
)

// Of several that begin at the same time one has the file.
func TestPositionRace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "durable.json")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := files.CreateState(file, receive.NewFile(jid("romeo@localhost"))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	p, err := openPositionFile(file, jid("romeo@localhost"))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Error(left)
	}
}

// The file of a position is nobody else's.
func TestPositionFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "durable.json")
	p, err := openPositionFile(file, jid("romeo@localhost"))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := openPositionFile(file, jid("romeo@localhost")); err == nil {
		t.Error("others can change it")
	}
}

func TestDurableName(t *testing.T) {
	for _, name := range []string{"a", "backup-1.x_Y", strings.Repeat("a", 64)} {
		if !durableName(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", ".", "..", "-x", "a/b", "a b", "ä", strings.Repeat("a", 65), "a\x00"} {
		if durableName(name) {
			t.Errorf("%q is taken", name)
		}
	}
}
