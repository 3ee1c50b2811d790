package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xmppkit/xmpp/xmpptest"
)

// openTerminal returns both ends of a pseudo terminal.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// A person reads and types at a terminal.
type person struct {
	t        *testing.T
	terminal *os.File
	said     string
	more     chan string
}

func (p *person) read() {
	b := make([]byte, 1024)
	for {
		n, err := p.terminal.Read(b)
		if err != nil {
			return
		}
		p.more <- string(b[:n])
	}
}

// await reads until the end of what is said is text and done is true.
func (p *person) await(text string, done func() bool) {
	p.t.Helper()
	late := time.After(10 * time.Second)
	for !strings.HasSuffix(p.said, text) || !done() {
		select {
		case s := <-p.more:
			p.said += s
		case <-time.After(10 * time.Millisecond):
		case <-late:
			p.t.Fatalf("waiting for %q: %q", text, p.said)
		}
	}
}

// The terminal asks for the password and does not show it; it belongs to a password
// command while that runs. However that ends, the script that called gets it back as
// it was.
func TestTerminal(t *testing.T) {
	a := newCanaryAccount(t, scriptPassword)
	const (
		script = `trap : INT QUIT; xmppkit ping "$@"; code=$?; echo over >&2; read -r next </dev/tty && [ "$next" = next ] && exit $code`
		read   = `printf 'Password of it: ' >&2; stty -echo; read -r p; echo "$p"`
	)
	for _, test := range []struct {
		name, typed string
		args        []string
		code        int
	}{
		{"prompt", scriptPassword + "\n", nil, 0},
		{"empty", "\n", nil, 78},
		{"interrupted", "\x03", nil, 130},
		{"quit", "O, I\x1c", nil, 130},
		{"given up", "\x04", nil, 78},
		{"given up in the middle", "O, I am\x04\x04", nil, 78},
		{"late", "", []string{"--timeout", "300ms"}, 124},
		{"command", scriptPassword + "\n", []string{"--password-command", read + "; stty echo"}, 0},
		{"command interrupted", "\x03", []string{"--password-command", read}, 130},
		{"command late", "", []string{"--password-command", read, "--timeout", "300ms"}, 124},
	} {
		t.Run(test.name, func(t *testing.T) {
			master, terminal := openTerminal(t)
			c := exec.Command("sh", append([]string{"-c", script, "sh"}, test.args...)...)
			c.Env, c.Stderr = a.environ(), terminal
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 2}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			defer c.Process.Kill()
			p := &person{t: t, terminal: master, more: make(chan string, 16)}
			go p.read()
			p.await(": ", func() bool { return !echoes(t, terminal) })
			io.WriteString(master, test.typed)
			p.await("over\r\n", func() bool { return true })
			if strings.Contains(p.said, "fortune") || !echoes(t, terminal) {
				t.Errorf("echo is %v after %q", echoes(t, terminal), p.said)
			}
			io.WriteString(master, "next\n")
			_ = c.Wait()
			if code := c.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exited with %d, want %d, and said %q", code, test.code, p.said)
			}
		})
	}
}

// Whatever stops the prompt, the echo is on while a shell has the terminal and off when
// the prompt is back, and what was typed before the stop does not count.
func TestTerminalStopped(t *testing.T) {
	a := newCanaryAccount(t, scriptPassword)
	const script = `set -m; xmppkit ping --timeout "$@"; code=$?; while [ $code -gt 140 ]; do
		stty echo </dev/tty; echo $code stopped >&2; read -r next </dev/tty; eval "$next" >/dev/null; code=$?; done; echo over $code >&2`
	// It does as the prompt does: it is silent again when it is back.
	command := []string{"--password-command", `stty -echo; trap "stty -echo; printf 'Password of it: ' >&2" CONT; printf 'Password of it: ' >&2; until read -r p; do :; done; stty echo; echo "$p"`}
	for _, test := range []struct {
		name   string
		stop   syscall.Signal // 0 for Control-Z
		steps  []string       // what the shell does after each stop
		answer string
		over   string
		args   []string
	}{
		{"Control-Z", 0, []string{"fg"}, scriptPassword + "\n", "over 0", nil},
		{"longer than --timeout", 0, []string{"sleep 5; fg"}, scriptPassword + "\n", "over 0", nil},
		{"SIGSTOP for longer", syscall.SIGSTOP, []string{"sleep 5; fg"}, scriptPassword + "\n", "over 0", nil},
		{"again", 0, []string{"fg", "fg", "fg"}, scriptPassword + "\n", "over 0", nil},
		{"SIGTSTP", syscall.SIGTSTP, []string{"fg"}, scriptPassword + "\n", "over 0", nil},
		{"SIGSTOP", syscall.SIGSTOP, []string{"fg"}, scriptPassword + "\n", "over 0", nil},
		{"given up", 0, []string{"fg"}, "\x04", "over 78", nil},
		{"interrupted", 0, []string{"fg"}, "\x03", "over 130", nil},
		{"quit", 0, []string{"fg"}, "\x1c", "over 130", nil},
		{"command", 0, []string{"fg", "fg"}, scriptPassword + "\n", "over 0", command},
		{"command stopped", syscall.SIGSTOP, []string{"fg"}, scriptPassword + "\n", "over 0", command},
		{"command in the background", 0, []string{"bg; sleep 0.5; fg"}, scriptPassword + "\n", "over 0", command},
		{"command interrupted", 0, []string{"fg"}, "\x03", "over 130", command},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			master, terminal := openTerminal(t)
			timeout := "30"
			if strings.HasPrefix(test.steps[0], "sleep") {
				timeout = "4"
			}
			c := exec.Command("sh", append([]string{"-c", script, "sh", timeout}, test.args...)...)
			c.Env, c.Stderr = a.environ(), terminal
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 2}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			defer c.Process.Kill()
			p := &person{t: t, terminal: master, more: make(chan string, 16)}
			go p.read()
			for _, step := range test.steps {
				p.await(": ", func() bool { return !echoes(t, terminal) })
				io.WriteString(master, "half a pass")
				if test.stop == 0 {
					io.WriteString(master, "\x1a")
				} else if group, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPGRP); err != nil || syscall.Kill(-group, test.stop) != nil {
					t.Fatal("cannot stop it", err)
				}
				p.await("stopped\r\n", func() bool { return echoes(t, terminal) })
				if test.stop != 0 {
					io.WriteString(master, "\x15") // it may come after all was dropped
				}
				io.WriteString(master, step+"\n")
			}
			p.await(": ", func() bool { return !echoes(t, terminal) })
			io.WriteString(master, test.answer)
			p.await(test.over+"\r\n", func() bool { return echoes(t, terminal) })
			if strings.Contains(p.said, "fortune") || strings.Contains(p.said, "half") && test.stop == 0 {
				t.Errorf("said %q", p.said)
			}
		})
	}
}

// How far a stream has come is shown to a person who does not see the results, on one
// line that is gone at the end.
func TestProgress(t *testing.T) {
	a := newCanaryAccount(t, scriptPassword)
	for _, test := range []struct {
		flag, shown string
		out         bool // standard output is the terminal as well
	}{
		{"--json", " sent, ", false}, {"--json=false", " sent, ", false}, {"--json=false", " sent, ", true},
		{"--json", `"ok":true`, true}, {"--quiet", "", false}, {"--verbose", "confirmed by", false},
	} {
		master, terminal := openTerminal(t)
		in, feed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command("xmppkit", "send", "--lines", "romeo@localhost", test.flag)
		c.Env, c.Stdin, c.Stderr = append(a.environ(), "XMPP_PASSWORD="+scriptPassword), in, terminal
		if test.out {
			c.Stdout = terminal
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		in.Close()
		p := &person{t: t, terminal: master, more: make(chan string, 16)}
		go p.read()
		io.WriteString(feed, "a\nb\n")
		if test.shown != "" {
			p.await("", func() bool { return strings.Contains(p.said, test.shown) })
		}
		feed.Close()
		if err := c.Wait(); err != nil {
			t.Errorf("%s: %v", test.flag, err)
		}
		end := ""
		if test.shown == " sent, " {
			end = " 0 unconfirmed\x1b[K\r\x1b[K"
		}
		p.await(end, func() bool { return true })
		if test.shown == "" && p.said != "" || strings.Contains(p.said, " sent, ") != (test.shown == " sent, ") {
			t.Errorf("%s: %q", test.flag, p.said)
		}
	}
}

// A person who does not see the results of history sees how many messages were read, once it
// has taken a while.
func TestHistoryProgress(t *testing.T) {
	_, a := startServer(t, xmpptest.Config{Accounts: map[string]string{"romeo": scriptPassword}, Faults: []xmpptest.Fault{"archive=cut"}})
	c := a.command("send", "--lines", "romeo@localhost")
	c.Stdin = strings.NewReader(strings.Repeat("x\n", 52))
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		flag  string
		out   bool // standard output is the terminal as well
		shown bool
	}{
		{"--json", false, true}, {"--json=false", false, true}, {"--json=false", true, false}, {"--quiet", false, false},
	} {
		master, terminal := openTerminal(t)
		c := a.command("history", "--all", "--retry", "3", test.flag) // it waits for a second before each try
		c.Stderr, c.Stdin = terminal, terminal
		if test.out {
			c.Stdout = terminal
		}
		p := &person{t: t, terminal: master, more: make(chan string, 64)}
		go p.read()
		if err := c.Run(); err != nil {
			t.Errorf("%s: %v", test.flag, err)
		}
		if test.shown {
			p.await("/s\x1b[K\r\x1b[K", func() bool { return true })
		} else {
			p.await("", func() bool { return true })
		}
		if strings.Contains(p.said, " messages read, ") != test.shown {
			t.Errorf("%s: %q", test.flag, p.said)
		}
	}
}
