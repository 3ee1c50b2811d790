package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xmppkit/cmd/exit"
)

// --to-file has one JID a line, and each gets one message.
func TestToFile(t *testing.T) {
	many := strings.Repeat("a@b@c\n", 100)
	for _, test := range []struct {
		file, args string
		code       int
		want       string // the recipients, or what the error has
	}{
		{"a@b.example\nc@d.example\n", "", 0, "a@b.example c@d.example"},
		{"\uFEFF# friends\n\n  a@b.example \t# the first\r\nxmpp:c@d.example\n\t#e@f.example\ng@h.example#1", "", exit.Data, "line 6: "},
		{"a@b.example/x #1\nxmpp:a@b.example/x%20%231\na#b@c.example\n#", "", 0, "a@b.example/x a@b.example/x #1 a#b@c.example"},
		{"a@b.example\nA@B.example\n\nc@d.example\na@b.example", "c@d.example e@f.example", 0, "c@d.example e@f.example a@b.example"},
		{"a@b.example", "c@d.example c@d.example", 0, "c@d.example c@d.example a@b.example"},
		{"xmpp:a@b.example?message;subject=x\nxmpp:a@b.example?message;subject=y", "", 0, "a@b.example a@b.example"},
		{"a@b.example c@d.example\n", "", exit.Data, "line 1: "},
		{"ok@b.example\n@\n\nxmpp:a@b?join\nxmpp:a@b.example?message;type=error\n\xff@b", "", exit.Data, "line 2: |line 4: |line 5: |line 6: "},
		{many, "", exit.Data, "line 1: |line 20: |80 lines more"},
		{"", "", exit.Data, "it contains no JID"},
		{"# nobody\n", "", exit.Data, "it contains no JID"},
		{"# nobody\n", "a@b.example", 0, "a@b.example"},
		{"a@b.example\nc@d.example", "--id x", exit.Usage, "2 recipients cannot share one id"},
	} {
		file := filepath.Join(t.TempDir(), "to")
		if err := os.WriteFile(file, []byte(test.file), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{file, "-"} {
			w := &world{in: test.file}
			w.run(t.Context(), append([]string{"send", "--dry-run", "-m", "x", "--to-file", name}, strings.Fields(test.args)...)...)
			var to []string
			for line := range strings.Lines(w.out) {
				_, rest, _ := strings.Cut(line, ` to="`)
				jid, _, _ := strings.Cut(rest, `"`)
				to = append(to, jid)
			}
			want := test.want
			if test.code != 0 {
				want = "" // nobody is sent to
			}
			if w.code != test.code || strings.Join(to, " ") != want {
				t.Errorf("%.100q: %d, %s, want %d, %s: %.300s", test.file, w.code, to, test.code, want, w.err)
			}
			for text := range strings.SplitSeq(test.want, "|") {
				if test.code != 0 && !strings.Contains(w.err, text) || strings.Count(w.err, "\n") > maxNamed+1 {
					t.Errorf("%.100q: %.300s", test.file, w.err)
				}
			}
		}
	}
}
