package cmd

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A body is matched as by MatchString.
func TestMatches(t *testing.T) {
	for _, re := range []string{"", ".", "^$", "^a", "b$", "(?m)^b$", `\bb\b`, "ä+", "(?i)Ä", "a.b", "(?s)a.b", "x{3}", "\u2028", "\ufffd"} {
		for _, text := range []string{"", "a", "b", "ab", "a b", "a\nb", "a\r\nb\r\n", "ää", "xxxx", "\u2028", "a\xffb", "\x00"} {
			p := regexp.MustCompile(re)
			if got, err := matches(t.Context(), p, text); got != p.MatchString(text) || err != nil {
				t.Errorf("%q in %q: %v, %v", re, text, got, err)
			}
		}
	}
}

// An expression that takes too long is given up, and what ends the command ends it.
func TestMatchesInTime(t *testing.T) {
	slow := regexp.MustCompile(strings.Repeat("(.{1,1000})", 30) + "y")
	text := strings.Repeat("x", 10<<20)
	started := time.Now()
	if ok, err := matches(t.Context(), slow, text); ok || err != errSlowMatch || time.Since(started) > matchTime+2*time.Second {
		t.Errorf("%v, %v after %s", ok, err, time.Since(started))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	started = time.Now()
	time.AfterFunc(100*time.Millisecond, func() { cancel(errStop) })
	if ok, err := matches(ctx, slow, text); ok || err != errStop || time.Since(started) > time.Second {
		t.Errorf("%v, %v after %s", ok, err, time.Since(started))
	}
	if ok, err := matches(ctx, regexp.MustCompile("x$"), "xx"); !ok || err != nil {
		t.Errorf("what had arrived: %v, %v", ok, err)
	}
}
