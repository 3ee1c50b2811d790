package cmd

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What a watcher shows in its first session, in the next one, and when that has settled: a
// presence is FROM:TYPE[:STATUS].
func TestWatched(t *testing.T) {
	for _, test := range []struct{ first, next, shown, gone string }{
		{"a@x/1:available", "a@x/1:available", "", ""},
		{"a@x/1:available", "a@x/1:available:here", "a@x/1:available:here", ""},
		{"a@x/1:available", "", "", "a@x/1"},
		{"a@x/1:available a@x/2:available", "a@x/2:available", "", "a@x/1"},
		{"a@x/1:available", "a@x:unavailable", "", "a@x/1"},
		{"a@x/1:available", "a@x/1:unavailable", "a@x/1:unavailable", ""},
		{"a@x/1:available", "a@x:unavailable a@x/1:available", "", ""},
		{"a@x/1:available a@x/1:unavailable", "a@x:unavailable", "", ""},
		{"a@x/1:available a@x/1:unavailable", "a@x/1:unavailable", "", ""},
		{"", "a@x/1:available", "a@x/1:available", ""},
		{"", "a@x/1:available a@x/1:unavailable", "a@x/1:available a@x/1:unavailable", ""},
		{"a@x/1:available", "a@x/1:available a@x/1:available", "a@x/1:available", ""}, // said twice
		{"a@x:error", "a@x:error", "", ""},
		{"a@x:error", "", "", ""},
		{"a@x:error", "a@x/1:available", "a@x/1:available", ""},
		{"a@x:subscribe", "a@x:subscribe b@x:subscribe", "b@x:subscribe", ""},
		{"a@x:subscribed", "a@x:subscribed", "a@x:subscribed", ""},
	} {
		w := new(watched)
		w.begin()
		if got := shown(w, test.first); got != test.first {
			t.Errorf("%s: the first session shows %q", test.first, got)
		}
		if gone := w.settled(); len(gone) > 0 {
			t.Errorf("%s: gone in the first session: %+v", test.first, gone)
		}
		w.begin()
		if got := shown(w, test.next); got != test.shown {
			t.Errorf("%s, then %s: shows %q, want %q", test.first, test.next, got, test.shown)
		}
		var gone []string
		for _, r := range w.settled() {
			gone = append(gone, r.From)
		}
		if got := strings.Join(gone, " "); got != test.gone {
			t.Errorf("%s, then %s: gone is %q, want %q", test.first, test.next, got, test.gone)
		}
		if got := shown(w, "c@x/1:unavailable"); got == "" {
			t.Errorf("%s: later nothing is left out", test.first)
		}
	}
}

func shown(w *watched, presences string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(presences), func(p string) bool {
		part := append(strings.Split(p, ":"), "")
		bare, _, _ := strings.Cut(part[0], "/")
		r := &presenceRecord{From: part[0], FromBare: bare, Type: part[1], Status: part[2], Available: part[1] == "available"}
		if r.Type == "error" {
			r.Error = &stanzaError{Condition: "gone"}
		}
		return !w.isNews(r)
	}), " ")
}

// What is remembered is bounded: the rest is told again.
func TestWatchedBounds(t *testing.T) {
	w := new(watched)
	w.begin()
	status := strings.Repeat("x", 1<<20)
	for i := range 100 {
		w.isNews(&presenceRecord{Type: "available", Available: true, From: fmt.Sprint("a@x/", i), FromBare: "a@x", Status: status})
	}
	if len(w.shown) > 64 || len(w.shown) < 60 || w.cost > presenceRoom {
		t.Errorf("%d presences, %d bytes", len(w.shown), w.cost)
	}
	for i := range 100 {
		w.isNews(&presenceRecord{Type: "unavailable", From: fmt.Sprint("a@x/", i), FromBare: "a@x"})
	}
	if len(w.shown) > 0 || w.cost != 0 {
		t.Errorf("%d presences, %d bytes", len(w.shown), w.cost)
	}
}
