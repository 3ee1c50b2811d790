package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// Presences are bounded: those who send them without end are not remembered without end.
func TestMaxPresences(t *testing.T) {
	for _, test := range []struct {
		n    int
		code int
	}{{1000, 0}, {maxPresences + 1, exitProtocol}} {
		flood := strings.Repeat("<presence from='a@b/c'/>", test.n)
		w := runFlooded(t, "inject@confirm="+flood, "presence")
		if w.code != test.code || w.out != "" || (w.code != 0) != strings.Contains(w.err, "presences") {
			t.Errorf("%d presences: exit code %d, %q, %q", test.n, w.code, w.out, w.err)
		}
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
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, s.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{dial: xmpp.Dial, vars: map[string]string{"XMPP_JID": "romeo@localhost", "XMPP_SERVER": s.Addr(), "XMPP_CA_FILE": ca}}
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
