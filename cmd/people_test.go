package cmd

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// What is kept of presences is bounded. Those of strangers are not kept at all, and
// nobody's end the command.
func TestPresenceFlood(t *testing.T) {
	many := func(from string) string {
		var b strings.Builder
		for i := range 40_000 {
			fmt.Fprintf(&b, "<presence from='"+from+"'><status>%s</status></presence>", i, strings.Repeat("x", 500))
		}
		return b.String()
	}
	huge := "<presence from='eve@evil.example/x'><show>away</show><status>" + strings.Repeat("x", 3<<20) + "</status></presence>"
	refused := "<presence type='error' from='eve@evil.example'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" +
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>" + strings.Repeat("x", 3<<20) + "</text></error></presence>"
	const leftOut = "xmppkit: dropped parts of the presences of eve@evil.example: too many, or too large\n"
	eve := []string{"presence", "eve@evil.example"}
	for name, test := range map[string]struct {
		flood   string
		command []string
		code    int
		lines   int // at least
		most    int // bytes
		err     string
	}{
		"accounts":         {many("e%d@evil.example/x"), []string{"presence"}, 0, 0, 0, ""},
		"resources":        {many("eve@evil.example/%d"), []string{"presence"}, 0, 0, 0, ""},
		"roster":           {many("eve@evil.example/%d"), []string{"roster", "--presence"}, 0, 0, 0, ""},
		"resources of one": {many("eve@evil.example/%d"), eve, 0, 500, 2 << 20, leftOut},
		"status":           {huge, eve, 0, 1, 100, leftOut},
		"error":            {refused, eve, 1, 1, 4<<10 + 100, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := runFlooded(t, "inject@confirm="+test.flood, test.command...)
			if w.code != test.code || strings.Count(w.out, "\n") < test.lines || len(w.out) > test.most || w.err != test.err {
				t.Errorf("exit code %d, %.200q, %q", w.code, w.out, w.err)
			}
		})
	}
}

// Changes of the roster without an end are an error that names the limit.
func TestRosterFlood(t *testing.T) {
	push := "<iq type='set' id='p'><query xmlns='jabber:iq:roster'><item jid='a@b' name='" + strings.Repeat("x", 1<<20) + "'/></query></iq>"
	w := runFlooded(t, "inject@confirm="+strings.Repeat(push, 66), "roster")
	if w.code != exit.Protocol || w.out != "" || w.err != "xmppkit: romeo@localhost: get the roster: too many roster changes (more than 64 MiB)\n" {
		t.Errorf("exit code %d, %.200q, %q", w.code, w.out, w.err)
	}
}

// runFlooded runs a command against a server that injects a flood.
func runFlooded(t *testing.T, fault string, args ...string) *world {
	t.Helper()
	s, err := xmpptest.Start(xmpptest.Config{Accounts: map[string]string{"romeo": "secret"}, Faults: []xmpptest.Fault{xmpptest.Fault(fault)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	environ, err := s.Environ(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dial: xmpp.Dial, vars: map[string]string{"XMPP_JID": "romeo@localhost"}}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		w.vars[name] = value
	}
	w.run(t.Context(), append([]string{"--no-cache"}, args...)...)
	return w
}

// Requests that nobody wants to see are not kept while a command runs.
func TestListenRequestFlood(t *testing.T) {
	const request = "<iq type='get' id='1' from='mallory@evil.example/x'><q xmlns='u'>%s</q></iq>"
	const message = "<message from='juliet@localhost/x'><body>hi</body></message>"
	w := runFlooded(t, "inject@session="+message+strings.Repeat(fmt.Sprintf(request, strings.Repeat("x", 10_000)), 4000)+message,
		"listen", "--no-reconnect", "--count", "2", "--for", "20s", "--anyone", "--", "sleep", "1")
	if w.code != 0 || w.err != "" {
		t.Errorf("exit code %d, %q", w.code, w.err)
	}
}

// Presences are waited for longer where somebody is at another server, unless --settle
// says how long, and no longer than until all who are named have answered.
func TestSettle(t *testing.T) {
	contact := func(subscription string) string {
		return "inject@confirm=<iq type='set' id='p'><query xmlns='jabber:iq:roster'><item jid='mercutio@example.net' subscription='" + subscription + "'/></query></iq>"
	}
	const refused = "inject@confirm=<presence type='error' from='mercutio@example.net'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
	const there = "inject@confirm=<presence from='mercutio@example.net/x'/>"
	for _, test := range []struct {
		fault, command string
		want           time.Duration
	}{
		{"", "presence", settleNear},
		{"", "roster --presence", settleNear},
		{"", "presence juliet@localhost", settleNear},
		{"", "presence localhost", settleNear},
		{"", "presence mercutio@example.net", settleFar},
		{"", "presence juliet@localhost mercutio@example.net", settleFar},
		{"", "presence --settle 3s juliet@localhost", 3 * time.Second},
		{"", "presence --settle 100ms mercutio@example.net", 100 * time.Millisecond},
		{"", "presence --settle 500ms mercutio@example.net", 500 * time.Millisecond},
		{"", "presence --settle 0 mercutio@example.net", 0},
		{contact("both"), "presence", settleFar},
		{contact("to"), "roster --presence", settleFar},
		{contact("from"), "presence", settleNear},
		{contact("both"), "presence juliet@localhost", settleNear},
		{there, "presence mercutio@example.net", settleFar},
		{there, "presence mercutio@example.net/x", 0},
		{there, "presence mercutio@example.net/y", settleFar},
		{refused, "presence mercutio@example.net", 0},
		{refused, "presence benvolio@example.net", settleFar},
		{refused, "presence mercutio@example.net mercutio@example.net/x", 0},
		{refused, "presence mercutio@example.net juliet@localhost", settleFar},
	} {
		synctest.Test(t, func(t *testing.T) {
			var faults []xmpptest.Fault
			if test.fault != "" {
				faults = append(faults, xmpptest.Fault(test.fault))
			}
			s := newStage(t, faults...)
			started := time.Now()
			r := s.run(t.Context(), nil, strings.Fields(test.command)...)
			if took := time.Since(started); took < test.want || took > test.want+50*time.Millisecond || r.code > 1 {
				t.Errorf("%s: %s took %s, want %s: %d, %s", test.fault, test.command, took, test.want, r.code, r.err)
			}
		})
	}
}
