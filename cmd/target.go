package cmd

import (
	"fmt"
	"net/url"
	"strings"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
)

// A target is an address on the command line: a JID, or an xmpp: URI (RFC 5122),
// which may carry what to send (XEP-0147).
type target struct {
	jid    xmpp.JID
	typed  xmpp.JID   // as it was typed, which can be an address that was shown
	fields url.Values // of ?message
}

func parseTarget(s string) (target, error) {
	a, err := xmpp.ParseAddress(s)
	switch {
	case err != nil:
		e := exit.Usagef("%w", err)
		switch {
		case strings.HasPrefix(strings.ToLower(s), "xmpp://"):
			e.Hint = "name the account with --jid"
		case strings.Count(s, "@") > 1 && strings.ContainsAny(s, ",;"):
			e.Hint = "put a space between two JIDs"
		}
		return target{}, e
	case a.Action != "" && a.Action != "message":
		return target{}, exit.Usagef("%q: the action %q is not supported: only ?message is", s, a.Action)
	}
	return target{jid: a.JID, typed: a.Typed, fields: a.Fields}, nil
}

// target parses an argument or flag. With -v it reports an address that breaks the
// rules: it is valid only if a server has shown it in this form.
func (env *Env) target(s string) (target, error) {
	t, err := parseTarget(s)
	if err != nil {
		return t, err
	}
	env.noteProfile(t.jid)
	return t, nil
}

func (env *Env) noteProfile(jid xmpp.JID) {
	if err := jid.Profile(); err != nil {
		env.trace("%s does not conform to RFC 7622, and is used unchanged: %v", jid, err)
	}
}

// noteNames warns about addresses of servers that may have been meant as names of
// people.
func (env *Env) noteNames(account xmpp.JID, to ...xmpp.JID) {
	for _, jid := range to {
		if isWord(account, jid) {
			env.noteName(jid.Domain, "did you mean "+jid.Domain+"@"+account.Domain+"?")
		}
	}
}

// isWord reports whether an address is probably a plain word: if the account's domain
// has a dot, a name without one is unlikely to be a server.
func isWord(account, jid xmpp.JID) bool {
	return jid.Local == "" && jid.Domain != "" && jid.Domain != "localhost" &&
		!strings.ContainsAny(jid.Domain, ".:") && strings.Contains(account.Domain, ".")
}

func (env *Env) noteName(name, hint string) {
	if !env.flags.quiet {
		env.warnWith("usage", fmt.Sprintf("%q is the name of a server", name), hint)
	}
}

// shellQuoted quotes a word for a shell.
func shellQuoted(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./_-", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (env *Env) targets(args []string) ([]target, error) {
	targets := make([]target, len(args))
	for i, arg := range args {
		var err error
		if targets[i], err = env.target(arg); err != nil {
			return nil, err
		}
	}
	return targets, nil
}
