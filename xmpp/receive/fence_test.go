package receive

import (
	"testing"
	"time"

	"xmppkit/xmpp"
)

func jid(s string) xmpp.JID {
	j, err := xmpp.ParseJID(s)
	if err != nil {
		panic(err)
	}
	return j
}

// message is one that comes to romeo@example.org.
func message(t *testing.T, from, content string) *xmpp.Element {
	t.Helper()
	e, err := xmpp.Parse([]byte("<message xmlns='jabber:client' to='romeo@example.org' from='" + from + "'>" + content + "</message>"))
	if err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	return e
}

// What was stored before a listener began is told by the stamp of the own server or
// account, and by nobody else's: until the fence is crossed any, then one before that.
func TestFence(t *testing.T) {
	own := jid("romeo@example.org/here")
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const old, same, after = "2026-01-02T03:04:04.9Z", "2026-01-02T03:04:05Z", "2026-01-02T05:04:06+02:00"
	by := func(from, stamp string) string {
		return "<delay xmlns='urn:xmpp:delay' from='" + from + "' stamp='" + stamp + "'/>"
	}
	for content, want := range map[string]struct{ before, after bool }{
		"":                                 {false, false},
		by("example.org", old):             {true, true},
		by("romeo@example.org", old):       {true, true},
		by("example.org", same):            {true, false},
		by("example.org", after):           {true, false},
		by("example.org", "broken"):        {true, false},
		by("evil.example", old):            {false, false},
		by("romeo@example.org/phone", old): {false, false},
		by("example.org/x", old):           {false, false},
		by("example.org.evil", old):        {false, false},
		"<delay xmlns='urn:xmpp:delay' stamp='" + old + "'/>":                      {false, false},
		by("evil.example", old) + by("example.org", after):                         {true, false},
		by("evil.example", after) + by("example.org", old):                         {true, true},
		"<x xmlns='jabber:x:delay' from='example.org' stamp='20260102T03:04:04'/>": {true, true},
		"<y xmlns='evil'>" + by("example.org", old) + "</y>":                       {false, false},
	} {
		e := message(t, "juliet@example.net", "<body>b</body>"+content)
		f := new(fence)
		if got := f.leavesOut(own, e); got != want.before {
			t.Errorf("%s: left out before: %v", content, got)
		}
		f.crossed, f.began = true, began
		if got := f.leavesOut(own, e); got != want.after {
			t.Errorf("%s: left out after: %v", content, got)
		}
		f.began = time.Time{} // the server has no clock
		if f.leavesOut(own, e) || (*fence)(nil).leavesOut(own, e) {
			t.Errorf("%s: left out without a reason", content)
		}
	}
}
