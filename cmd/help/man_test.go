package help

import "testing"

// The version of a packager, or of a build of the day, leaves room for the date.
func TestManualFooter(t *testing.T) {
	for v, want := range map[string]string{
		"0.1.0":                             "xmppkit 0.1.0",
		"0.1.0-1~bpo12+1":                   "xmppkit 0.1.0-1~bpo12+1",
		"0.1.0+20261125081500.abcdef012345": "xmppkit 0.1.0+2026112508150...",
	} {
		if got := footer(v); got != want || len(got) > 30 {
			t.Errorf("%s: %q, want %q", v, got, want)
		}
	}
}

// What roff would take for itself is text, and text can be copied to a shell.
func TestRoff(t *testing.T) {
	got := roff(".a\n.b 'c' --d \\e ~/x `y` \"z\" ^")
	want := `\&.a` + "\n" + `\&.b \(aqc\(aq \-\-d \ee \(ti/x \(gay\(ga \(dqz\(dq \(ha`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
