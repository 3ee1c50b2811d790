package cmd

import (
	"errors"
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
	scheme, rest, isURI := strings.Cut(s, ":")
	if !isURI || !strings.EqualFold(scheme, "xmpp") {
		t, err := targetOf(s)
		if err != nil {
			e := exit.Usagef("%w", err)
			if strings.Count(s, "@") > 1 && strings.ContainsAny(s, ",;") {
				e.Hint = "put a space between two JIDs"
			}
			return target{}, e
		}
		return t, nil
	}
	if strings.HasPrefix(rest, "//") {
		return target{}, exit.Usagef("%q: an account in a URI is not supported: use --jid", s)
	}
	rest, _, _ = strings.Cut(rest, "#")
	path, query, _ := strings.Cut(rest, "?")
	t, err := parsePath(path)
	if err != nil {
		return target{}, exit.Usagef("malformed URI %q: %w", s, err)
	}
	action, pairs, _ := strings.Cut(query, ";")
	switch action {
	case "", "message":
	default:
		return target{}, exit.Usagef("%q: the action %q is not supported: only ?message is", s, action)
	}
	t.fields = make(url.Values)
	for pair := range strings.SplitSeq(pairs, ";") {
		key, value, _ := strings.Cut(pair, "=")
		if value, err = unescaped(value); err != nil {
			return target{}, exit.Usagef("malformed URI %q: %w", s, err)
		}
		t.fields.Set(key, value)
	}
	return t, nil
}

// parsePath splits the JID of a URI before it decodes its parts: an encoded separator
// is none (RFC 5122, section 2.7.2).
func parsePath(path string) (target, error) {
	bare, resource, hasResource := strings.Cut(path, "/")
	local, domain, hasLocal := strings.Cut(bare, "@")
	if !hasLocal {
		local, domain = "", bare
	}
	parts := []*string{&local, &domain, &resource}
	for _, p := range parts {
		var err error
		if *p, err = unescaped(*p); err != nil {
			return target{}, err
		}
	}
	if strings.ContainsAny(local+domain, "@/") {
		return target{}, errors.New("it has an encoded @ or /")
	}
	s := domain
	if hasLocal {
		s = local + "@" + s
	}
	if hasResource {
		s += "/" + resource
	}
	return targetOf(s)
}

// unescaped decodes a part of a URI (RFC 3986, section 2.1).
func unescaped(s string) (string, error) {
	decoded, err := url.PathUnescape(s)
	if e, ok := errors.AsType[url.EscapeError](err); ok {
		return "", fmt.Errorf("%q is not %% and two hexadecimal digits", string(e))
	}
	return decoded, err
}

func targetOf(jid string) (target, error) {
	j, err := xmpp.ParseJID(jid)
	if err != nil {
		return target{}, err
	}
	typed, err := xmpp.SplitJID(jid)
	return target{jid: j, typed: typed}, err
}

// target parses an argument or flag. With -v it says if the address breaks the rules, so
// that only who was shown it can know that it is right.
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
		env.trace("%s is outside of the profile of RFC 7622, and used as it is: %v", jid, err)
	}
}

// noteNames warns of addresses that may be meant to be the names of people: they are
// those of servers.
func (env *Env) noteNames(account xmpp.JID, to ...xmpp.JID) {
	for _, jid := range to {
		if isWord(account, jid) {
			env.noteName(jid.Domain, "did you mean "+jid.Domain+"@"+account.Domain+"?")
		}
	}
}

// isWord reports whether an address is hardly one: next to an account at a domain with a
// dot, a name without one is hardly that of a server.
func isWord(account, jid xmpp.JID) bool {
	return jid.Local == "" && jid.Domain != "" && jid.Domain != "localhost" &&
		!strings.ContainsAny(jid.Domain, ".:") && strings.Contains(account.Domain, ".")
}

func (env *Env) noteName(name, hint string) {
	if !env.flags.quiet {
		env.warnWith("usage", fmt.Sprintf("%q is the name of a server", name), hint)
	}
}

// shellQuoted returns a word as a shell reads it.
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
