package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Groups and contacts that others have named. In one shell or another, each of them
// creates the file pwned or is another word, if it is not quoted.
var (
	hostileGroups = []string{
		"aa$(touch pwned)", "ab`touch pwned`", `ac'q"d`, "ad e  f", "ae!!h", "af;&|#<>()x", "ag*?[a]{b,c}", `ah\t\\n\`, "ai$HOME~",
		"aj(touch pwned)", "ak$({touch,pwned})@d", "al%s%n^e", "amé ü", "an${x:-$(touch pwned)}", "ao=b:c@d", "ap@$(touch pwned)=b", "aq\u3000\u2003b", "ar\u00a0\u200abc", "as😀x",
		"~root/x", "=cat", "#c", "!x", "$(touch pwned)", "`touch pwned`", "*", ">pwned", "(touch pwned)", ";touch pwned", "&x", "|y", "'z", `"w`, `\v`, "%u",
	}
	hostileContacts = []string{
		"b$({touch,pwned})@d.example", "c`touch${IFS}pwned`@d.example", "-rf@d.example", "e@d.example/r 'q\" $(touch pwned)", "f!!;(touch#pwned)|*~@d.example",
		"juliet@example.net", "juliet@example.org",
	}
)

// A shell completes and runs what a person types at a terminal; xmppkit is a function in
// it that writes down its arguments.
type shell struct {
	*person
	dir string
}

const toldArguments = "xmppkit() { printf '%s\\0' \"$@\" >args.new; command mv args.new args; }\n"

var shells = map[string]struct {
	rc   string // with what is loaded at the start, which is completion
	args []string
}{
	"bash": {toldArguments + "HISTFILE=\nsource ./completion\n", []string{"--noprofile", "--rcfile", "rc", "-i"}},
	"zsh":  {toldArguments + "HISTFILE=\nsetopt ksharrays\nautoload -Uz compinit; compinit -u -D\nsource ./completion\n", []string{"-d", "-i"}},
	"fish": {"function xmppkit; printf '%s\\0' $argv >args.new; command mv args.new args; end\nsource ./completion\n", []string{"--no-config", "-i", "-C", "source rc"}},
}

func startShell(t *testing.T, name string) *shell {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if interopRequired() {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	script, err := exec.Command("xmppkit", "completion", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	keepHostileRoster(t, filepath.Join(dir, "state"))
	for file, text := range map[string]string{"completion": string(script), "rc": shells[name].rc, ".zshrc": shells[name].rc} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	master, terminal := openTerminal(t)
	c := exec.Command(name, shells[name].args...)
	c.Dir, c.Stdin, c.Stdout, c.Stderr = dir, terminal, terminal, terminal
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "ZDOTDIR=" + dir, "TERM=xterm", "INPUTRC=/dev/null", "LC_ALL=C.UTF-8",
		"XMPP_JID=romeo@localhost", "XMPP_STATE_DIR=" + filepath.Join(dir, "state")}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	s := &shell{&person{t: t, terminal: master, more: make(chan string, 16)}, dir}
	go s.read()
	s.types("xmppkit ready", "ready")
	return s
}

// keepHostileRoster makes the roster that was cached.
func keepHostileRoster(t *testing.T, dir string) {
	t.Helper()
	type contact struct {
		JID          string   `json:"jid"`
		Subscription string   `json:"subscription"`
		Groups       []string `json:"groups"`
	}
	var contacts []contact
	for _, jid := range hostileContacts {
		contacts = append(contacts, contact{jid, "both", hostileGroups})
	}
	contacts[0].Groups = append(slices.Clone(hostileGroups), "Verona")
	b, err := json.Marshal(map[string]any{"format": 1, "account": "romeo@localhost", "version": "1", "contacts": contacts})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("romeo@localhost"))
	_ = os.Mkdir(dir, 0o700)
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("roster-%x.json", sum[:8])), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// types types a line and Enter, and compares the arguments that xmppkit gets.
func (s *shell) types(line string, want ...string) {
	s.t.Helper()
	io.WriteString(s.terminal, line+"\r")
	file := filepath.Join(s.dir, "args")
	late := time.After(20 * time.Second)
	for {
		b, err := os.ReadFile(file)
		if err == nil {
			_ = os.Remove(file)
			if got := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"); !slices.Equal(got, want) {
				s.t.Errorf("%q became\n%q, want\n%q", line, got, want)
			}
			break
		}
		select {
		case text := <-s.more:
			s.said += text
		case <-time.After(5 * time.Millisecond):
		case <-late:
			s.t.Fatalf("%q did not run: %q", line, s.said[max(0, len(s.said)-1000):])
		}
	}
	if _, err := os.Lstat(filepath.Join(s.dir, "pwned")); err == nil {
		s.t.Fatalf("%q was executed", line)
	}
}

// quoted returns a word as it is typed without quotes.
func quoted(word string) string {
	var b bytes.Buffer
	for _, r := range word {
		if r < 0x80 && !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz-@.", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Completion inserts what is offered to the letter, and executes nothing of it, nor of
// what was typed.
func TestCompletionHostile(t *testing.T) {
	for name := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startShell(t, name)
			for _, g := range hostileGroups {
				n := 1
				if g[0] == 'a' {
					n = 2
					s.types("xmppkit roster --group "+g[:2]+"\t --group Ver\t", "roster", "--group", g, "--group", "Verona")
				}
				r := []rune(g)
				most := string(r[:len(r)-1])
				for _, typed := range []string{"'" + strings.Trim(g[:n], "'"), `"` + quoted(g[:n])[len(quoted(g[:n]))-n:], quoted(g[:n]), quoted(most)} {
					if most == "" && typed == "" || strings.ContainsAny(typed, "'\"") && strings.ContainsAny(g[:1], "'\"$`\\!") {
						continue // it would be other than what is meant
					}
					s.types("xmppkit roster --group "+typed+"\t --group Ver\t", "roster", "--group", g, "--group", "Verona")
				}
			}
			for _, jid := range hostileContacts[:5] {
				s.types("xmppkit send -- "+jid[:1]+"\t -\t", "send", "--", jid, "-rf@d.example")
			}
			s.types("xmppkit send juliet@example.n\t jul\tn\t", "send", "juliet@example.net", "juliet@example.net")
			s.types("xmppkit send jul\to\t --jid=juliet@example.n\t", "send", "juliet@example.org", "--jid=juliet@example.net")
		})
	}
}

// Whatever was typed before: it is quoted in any way, and is not executed.
func TestCompletionTyped(t *testing.T) {
	for name := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startShell(t, name)
			for typed, word := range map[string]string{
				"'price: $(touch pwned)'": "price: $(touch pwned)", `"\$(touch pwned)"`: "$(touch pwned)", `\$\(touch\ pwned\)\;x`: "$(touch pwned);x",
				"'`touch pwned`'": "`touch pwned`", "'(touch pwned)'": "(touch pwned)", `"it's; touch pwned"`: "it's; touch pwned", `'a "b'`: `a "b`,
				"'~'": "~", "'--'": "--", "'*'": "*", "'a  b'": "a  b", `'a\b'`: `a\b`,
			} {
				if name != "bash" || !strings.Contains(word, "`") { // with those bash completes nothing
					s.types("xmppkit send -m "+typed+" --typ\the\t", "send", "-m", word, "--type", "headline")
				}
			}
			// These are not run: then the shell itself would execute them.
			for _, live := range []string{`"$(touch pwned)"`, "$(touch pwned)", "(touch pwned)", "`touch pwned`", "\"`touch pwned`\"", "<(touch pwned)",
				"${x:-$(touch pwned)}", "$[$(touch pwned)]", ">pwned"} {
				s.types("xmppkit send -m "+live+" --ty\t juliet@\t\x15xmppkit next", "next")
				s.types("xmppkit listen -- "+live+" \t\x15xmppkit next", "next")
			}
			for _, current := range []string{"--file '$(touch pwned)/", "--file='$(touch pwned)", "--state-dir '`touch pwned`/", "'$(touch pwned)", `"\$(touch pwned)`, `\$\(touch\ pwned\)/`} {
				s.types("xmppkit send "+current+"\t\t\x15xmppkit next", "next")
				s.types("xmppkit listen -- "+current+"\t\t\x15xmppkit next", "next")
			}
			for _, live := range []string{`"$(touch pwned)`, "\"`touch pwned`/", `"${x:-$(touch pwned)}/`, "$(touch pwned)/", "`touch pwned`/", "{a,$(touch pwned)}/", "<(touch pwned)/"} {
				if name == "zsh" {
					continue // it expands the word under the cursor itself, of whatever command
				}
				for _, before := range []string{"send ", "send --file ", "--state-dir=", "listen -- ", "listen -- cat ", "roster --group "} {
					s.types("xmppkit "+before+live+"\t\t\x15xmppkit next", "next")
				}
			}
		})
	}
}
