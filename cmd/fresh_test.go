package cmd

import (
	"testing"
	"time"
)

// What was stored before a listener began is told by the stamp of the own server or
// account, and by nobody else's: until the fence is crossed any, then one before that.
func TestFence(t *testing.T) {
	own := jid("romeo@example.org/here")
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const old, same, after = "2026-01-02T03:04:04.9Z", "2026-01-02T03:04:05Z", "2026-01-02T05:04:06+02:00"
	by := func(from, stamp string) string { return "<delay from='" + from + "' stamp='" + stamp + "'/>" }
	for content, want := range map[string]struct{ before, after bool }{
		"":                             {false, false},
		by("example.org", old):         {true, true},
		by("OWN", old):                 {true, true},
		by("example.org", same):        {true, false},
		by("example.org", after):       {true, false},
		by("example.org", "broken"):    {true, false},
		by("evil.example", old):        {false, false},
		by("OWN/phone", old):           {false, false},
		by("example.org/x", old):       {false, false},
		by("example.org.evil", old):    {false, false},
		"<delay stamp='" + old + "'/>": {false, false},
		by("evil.example", old) + by("example.org", after):                         {true, false},
		by("evil.example", after) + by("example.org", old):                         {true, true},
		"<x xmlns='jabber:x:delay' from='example.org' stamp='20260102T03:04:04'/>": {true, true},
		"<y xmlns='evil'>" + by("example.org", old) + "</y>":                       {false, false},
	} {
		e := element("<message from='JULIET' to='OWN'><body>b</body>" + content + "</message>")
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
