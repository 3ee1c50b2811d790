//go:build unix

package child

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sh(script string) *Child {
	return &Child{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Linger: 100 * time.Millisecond}
}

func TestCode(t *testing.T) {
	for script, want := range map[string]int{"true": 0, "exit 7": 7, "kill -TERM $$": 143, "kill -INT $$": 130, "sleep 60 & exit 0": 0} {
		c := sh(script)
		c.Group = true
		var out strings.Builder
		c.Stdout = &out
		ctx, cancel := context.WithCancel(t.Context())
		if got := Code(c.Run(ctx)); got != want {
			t.Errorf("%s: %d, want %d", script, got, want)
		}
		cancel()
	}
	for name, want := range map[string]int{"/missing": NotFound, "missing": NotFound, t.TempDir(): NotRunnable} {
		c := Child{Path: name, Args: []string{name}}
		if got := Code(c.Run(t.Context())); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	for err, want := range map[error]int{fs.ErrPermission: NotRunnable, exec.ErrNotFound: NotFound, fs.ErrNotExist: NotFound} {
		if got := Code(fmt.Errorf("run: %w", err)); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

// The end of the context ends what the program has started, too, and asks before it kills.
func TestGroup(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		asked  bool
	}{
		"ends when asked": {"trap 'echo >asked; exit 0' TERM; sleep 60 & echo $! >pid; wait", true},
		"does not listen": {"trap '' TERM; sleep 60 & echo $! >pid; wait; wait", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := sh("cd " + dir + "; " + test.script)
			c.Group, c.Grace = true, func() time.Duration { return time.Second / 2 }
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for {
					if b, _ := os.ReadFile(filepath.Join(dir, "pid")); strings.HasSuffix(string(b), "\n") {
						break
					}
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			if err := c.Run(ctx); err == nil {
				t.Error("no error")
			}
			if _, err := os.Stat(filepath.Join(dir, "asked")); (err == nil) != test.asked {
				t.Errorf("it was asked: %v", err)
			}
			var pid int
			b, _ := os.ReadFile(filepath.Join(dir, "pid"))
			fmt.Sscan(string(b), &pid)
			// A child of nobody is reaped by init, which may take a moment, or never do it.
			for range 200 {
				if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ") {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("process %d still runs", pid)
		})
	}
}

func TestSignal(t *testing.T) {
	c := sh("trap 'exit 9' USR1; while :; do sleep 0.01; done")
	c.Signal = func() os.Signal { return syscall.SIGUSR1 }
	c.Grace = func() time.Duration { return 10 * time.Second }
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got := Code(c.Run(ctx)); got != 9 {
		t.Errorf("%d, want 9", got)
	}
}
