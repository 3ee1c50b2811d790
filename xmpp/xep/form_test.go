package xep

import (
	"runtime"
	"testing"

	"xmppkit/xmpp"
)

// A field that comes again and again takes no more than its values do.
func TestFormRepeated(t *testing.T) {
	const n = 20_000
	x := xmpp.NewElement(NSForm, "x")
	for range n {
		xmpp.Add(x, xmpp.Add(xmpp.NewElement(NSForm, "field", "var", "a"), xmpp.NewText(NSForm, "value", "v")))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	form := FormOf(x)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; len(form.Fields["a"]) != n || got > 100<<20 {
		t.Errorf("%d values took %d MiB", len(form.Fields["a"]), got>>20)
	}
}
