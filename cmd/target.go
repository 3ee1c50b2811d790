package cmd

import (
	"errors"
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
			return target{}, exit.Usagef("%w", err)
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
		if value, err = url.PathUnescape(value); err != nil {
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
		if *p, err = url.PathUnescape(*p); err != nil {
			return target{}, err
		}
	}
	if strings.ContainsAny(local+domain, "@/") {
		return target{}, errors.New("an encoded separator")
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
