package cmd

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync/atomic"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/receive"
)

// A selection decides which stanzas are printed.
type selection struct {
	only   []string
	match  string
	others bool // not the presence of this session itself
	xml    bool // is in the results

	from     map[xmpp.JID]bool // empty: anyone
	kinds    map[string]bool
	messages bool // of any kind are wanted
	pattern  *regexp.Regexp
}

// check refuses invalid flags.
func (w *selection) check(env *Env, args []string) error {
	targets, err := env.targets(args)
	if err != nil {
		return err
	}
	w.from = make(map[xmpp.JID]bool)
	for _, t := range targets {
		w.from[t.jid.Bare()], w.from[t.typed.Bare()] = true, true
	}
	if len(w.only) == 0 {
		return exit.Usagef("--only: want at least one of message, receipt, marker, error, presence, iq")
	}
	w.kinds = make(map[string]bool)
	for _, kind := range w.only {
		switch kind {
		case "message", "receipt", "marker", "error":
			w.messages = true
		case "presence", "iq":
		default:
			return exit.Usagef("--only: %q: want message, receipt, marker, error, presence or iq", kind)
		}
		w.kinds[kind] = true
	}
	w.pattern, err = compileMatch(w.match)
	return err
}

// compileMatch reads the value of --match.
func compileMatch(match string) (*regexp.Regexp, error) {
	pattern, err := regexp.Compile(match)
	if e, ok := errors.AsType[*syntax.Error](err); ok {
		return nil, exit.Usagef("--match: %s: %q", e.Code, e.Expr)
	}
	if err != nil {
		return nil, exit.Usagef("--match: %w", err)
	}
	return pattern, nil
}

// noteNames warns about senders that may be meant as names of people, or as CMD.
func (w *selection) noteNames(env *Env, account xmpp.JID) {
	for jid := range w.from {
		if _, err := exec.LookPath(jid.Domain); err == nil && isWord(account, jid) {
			env.noteName(jid.Domain, "CMD goes after --, as in listen ... -- "+jid.Domain)
			continue
		}
		env.noteNames(account, jid)
	}
}

// kind reports whether stanzas of this kind are wanted.
func (w *selection) kind(e *xmpp.Element) bool {
	return w.kinds[e.Tag] || e.Tag == "message" && w.messages
}

// wanted reports whether the JIDs select a sender. They match as typed, and in the
// normalised form of RFC 7622.
func (w *selection) wanted(from xmpp.JID) bool {
	if len(w.from) == 0 || w.from[from.Bare()] {
		return true
	}
	normal, err := xmpp.ParseJID(from.Bare().String())
	return err == nil && w.from[normal]
}

// record makes the result of a stanza, or nil if it is not selected.
func (w *selection) record(own xmpp.JID, got receive.Arrival) output.Record {
	e := got.Stanza
	from, _ := xmpp.Sender(e, own) // the zero JID, which matches nobody, if it is not a valid address
	if e.Tag != "message" && !w.kinds[e.Tag] || !w.wanted(from) || w.others && from == own {
		return nil
	}
	a := newAddressed(own, e, from)
	if w.xml {
		if b, err := xmpp.XML(e); err == nil {
			a.XML = output.OneLine(b)
		}
	}
	switch e.Tag {
	case "message":
		m := newMessageRecord(a, own, e)
		m.Carbon, m.StanzaID = got.Carbon, got.ID
		if !m.is(w.kinds) {
			return nil
		}
		return m
	case "presence":
		if !knownPresence(a.typ) {
			return nil
		}
		return newPresenceRecord(a, e)
	}
	return newIQRecord(a, e)
}

// matches reports whether --match selects a result; see the function matches.
func (w *selection) matches(ctx context.Context, r output.Record) (bool, error) {
	if w.match == "" {
		return true, nil
	}
	m, ok := r.(*messageRecord)
	if !ok || m.Body == nil {
		return false, nil
	}
	return matches(ctx, w.pattern, *m.Body)
}

// matchTime limits how long --match works on one body. A regular expression takes time in
// proportion to the text and to its own size, and a sender can choose the text to exploit
// that: x{1,1000}y takes 15 seconds to fail on 1 MiB of x.
//
// lastMatch is the limit once --for or --idle has passed; most matches take less.
const (
	matchTime = 2 * time.Second
	lastMatch = 100 * time.Millisecond
)

var errSlowMatch = errors.New("--match takes longer than " + matchTime.String())

// matches reports whether a text matches. When ctx ends or the time is over, the
// expression sees the end of the text, and matches returns an error: errSlowMatch if it
// was the time.
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

// An endingText is a text that can be cut off while it is being read.
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
