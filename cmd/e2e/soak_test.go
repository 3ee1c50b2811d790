package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"xmppkit/cmd"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// soakMessages is how many messages a soak is of.
func soakMessages() int {
	if os.Getenv("XMPPKIT_FAULTS") != "" {
		return 100_000
	}
	return 10_000
}

// soak is a listener under a flood.
type soak struct {
	access
	from     *rawClient
	messages int
	args     []string
}

func newSoak(t *testing.T) *soak {
	server, a := startServer(t, xmpptest.Config{
		Accounts:   map[string]string{"romeo": scriptPassword, "juliet": scriptPassword},
		Mechanisms: []string{"SCRAM-SHA-256", "PLAIN"},
	})
	raw, err := dialRaw(server.DirectAddr(), a.ca, "romeo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.close)
	n := soakMessages()
	return &soak{
		a, raw, n,
		[]string{"listen", "-j", "juliet@localhost", "--json", "--durable", "soak", "--count", fmt.Sprint(n)},
	}
}

// ahead is how many messages the flood is ahead of the listener: a server ends the session
// of who is 5,000 behind, and that is not what is tested here.
const ahead = 4000

// read counts the results of the listener. The first message goes before all others,
// so that nothing of them is stored; f is called after each tenth.
func (s *soak) read(out io.Reader, f func(tenth int)) (int, error) {
	if err := s.from.write(canned("juliet@localhost", 1)); err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	n, sent := 0, 1
	for lines.Scan() {
		n++
		if more := min(n+ahead, s.messages) - sent; more > 0 && (n == 1 || n%500 == 0) {
			if err := s.from.write(canned("juliet@localhost", more)); err != nil {
				return n, err
			}
			sent += more
		}
		if n%(s.messages/10) == 0 {
			f(n / (s.messages / 10))
		}
	}
	return n, lines.Err()
}

// TestSoakMemory holds that the resident set of a listener does not grow.
func TestSoakMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	if raced() {
		t.Skip("the race detector takes the memory")
	}
	s := newSoak(t)
	c := s.command(s.args...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var rss []int64
	n, err := s.read(out, func(int) { rss = append(rss, residentKiB(c)) })
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	if err != nil || n != s.messages || len(rss) < 9 {
		t.Fatalf("%d of %d messages, %v", n, s.messages, err)
	}
	t.Logf("%d messages, RSS in KiB after each tenth: %v", n, rss)
	// It may be gone when its last line is read. What it needs for a moment, because another
	// process had the processor, is no growth, nor is what it needs to begin with: a tenth
	// can be over before the first garbage is collected.
	first, last := slices.Max(rss[:3]), slices.Min(rss[6:9])
	if last > 40<<10 || last-first > 2<<10 {
		t.Errorf("RSS of %d KiB at the beginning, %d at the end; want a growth below 2 MB, and an end below 40 MB", first, last)
	}
}

// residentKiB is what /proc says of a process that runs.
func residentKiB(c *exec.Cmd) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
	_, rss, _ := bytes.Cut(status, []byte("VmRSS:"))
	var kib int64
	fmt.Sscan(string(rss), &kib)
	return kib
}

// TestSoakGoroutines holds that a listener does not leave goroutines behind. The
// listener runs in this process, with the server and the flood.
func TestSoakGoroutines(t *testing.T) {
	s := newSoak(t)
	env := make(map[string]string)
	for _, kv := range s.command(s.args...).Env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	in, out := io.Pipe()
	var stderr bytes.Buffer
	ended := make(chan int, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	go func() {
		e := &cmd.Env{In: strings.NewReader(""), Out: out, Err: &stderr, Dial: xmpp.Dial, Getenv: func(k string) string { return env[k] }}
		ended <- cmd.Main(ctx, e, s.args)
		out.Close()
	}()
	var goroutines []int
	n, err := s.read(in, func(int) { goroutines = append(goroutines, runtime.NumGoroutine()) })
	if code := <-ended; code != 0 || err != nil || n != s.messages {
		t.Fatalf("%d of %d messages, exit code %d, %v\n%s", n, s.messages, code, err, &stderr)
	}
	t.Logf("%d messages, goroutines after each tenth: %v", n, goroutines)
	if first, last := goroutines[0], goroutines[8]; last > first+3 { // some are always about to end
		t.Errorf("%d goroutines after a tenth, %d before the end", first, last)
	}
}

// raced reports whether this is a build with -race.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return true
		}
	}
	return false
}
