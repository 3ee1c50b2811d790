package xmpp_test

import (
	"testing"
	"time"

	"xmppkit/xmpp"
)

// The delays of a backoff double, and stay within a maximum.
func TestBackoff(t *testing.T) {
	b := xmpp.Backoff{Start: time.Second, Max: time.Minute}
	for range 3 {
		for _, least := range []time.Duration{1, 2, 4, 8, 16, 32, 40, 40, 40} {
			if d := b.Next(); d < least*time.Second || d > least*time.Second*3/2 {
				t.Errorf("%s, want %d s and up to a half more", d, least)
			}
		}
		b.Reset()
	}
	for range 100 {
		if d := b.Next(); d > time.Minute {
			t.Error(d)
		}
	}
}
