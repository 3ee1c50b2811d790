package cmd

import (
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
		s, err := xmpptest.Start(xmpptest.Config{
			Accounts: map[string]string{"romeo": "secret"},
			Faults:   []xmpptest.Fault{"inject@confirm=" + xmpptest.Fault(flood)},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, s.CA(), 0o600); err != nil {
			t.Fatal(err)
		}
		w := &world{dial: xmpp.Dial, vars: map[string]string{"XMPP_JID": "romeo@localhost"}}
		w.run(t.Context(), "presence", "--server", s.Addr(), "--ca-file", ca, "--no-cache")
		if w.code != test.code || w.out != "" || (w.code != 0) != strings.Contains(w.err, "presences") {
			t.Errorf("%d presences: exit code %d, %q, %q", test.n, w.code, w.out, w.err)
		}
	}
}
