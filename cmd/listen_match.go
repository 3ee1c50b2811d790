package cmd

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"sync/atomic"
	"time"
)

// matchTime bounds how long --match works on one body. A regular expression takes time
// in proportion to the text, but also to its own size, and who writes the text can choose
// it for that: x{1,1000}y takes 15 seconds to find out that it is not in 1 MiB of x.
//
// lastMatch is what is left to it when nothing more is waited for: most take less.
const (
	matchTime = 2 * time.Second
	lastMatch = 100 * time.Millisecond
)

var errSlowMatch = errors.New("--match takes longer than " + matchTime.String())

// matches reports whether a text matches. The text ends for the expression when ctx does,
// or when the time is over: that is an error then, errSlowMatch for the time.
func matches(ctx context.Context, re *regexp.Regexp, text string) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, matchTime, errSlowMatch)
	defer cancel()
	r := &endingText{runes: strings.NewReader(text)}
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastMatch, func() { r.ended.Store(true) }) })()
	ok := re.MatchReader(r)
	if r.cut {
		return false, context.Cause(ctx)
	}
	return ok, nil
}

// An endingText is a text that can end before its end.
type endingText struct {
	runes *strings.Reader
	ended atomic.Bool
	cut   bool // it did
}

func (t *endingText) ReadRune() (rune, int, error) {
	if t.ended.Load() {
		t.cut = true
		return 0, 0, io.EOF
	}
	return t.runes.ReadRune()
}
