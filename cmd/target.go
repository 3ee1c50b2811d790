package cmd

import (
	"errors"
	"net/url"
	"strings"

	"xmppkit/xmpp"
)

// A target is an address on the command line: a JID, or an xmpp: URI (RFC 5122),
// which may carry what to send (XEP-0147).
type target struct {
	jid    xmpp.JID
	fields url.Values // of ?message
}

func parseTarget(s string) (target, error) {
	scheme, rest, isURI := strings.Cut(s, ":")
	if !isURI || !strings.EqualFold(scheme, "xmpp") {
		j, err := xmpp.ParseJID(s)
		if err != nil {
			return target{}, usageError("%w", err)
		}
		return target{jid: j}, nil
	}
	if strings.HasPrefix(rest, "//") {
		return target{}, usageError("%q: an account in a URI is not supported: use --jid", s)
	}
	rest, _, _ = strings.Cut(rest, "#")
	path, query, _ := strings.Cut(rest, "?")
	var t target
	var err error
	if t.jid, err = parsePath(path); err != nil {
		return target{}, usageError("malformed URI %q: %w", s, err)
	}
	action, pairs, _ := strings.Cut(query, ";")
	switch action {
	case "", "message":
	default:
		return target{}, usageError("%q: the action %q is not supported: only ?message is", s, action)
	}
	t.fields = make(url.Values)
	for pair := range strings.SplitSeq(pairs, ";") {
		key, value, _ := strings.Cut(pair, "=")
		if value, err = url.PathUnescape(value); err != nil {
			return target{}, usageError("malformed URI %q: %w", s, err)
		}
		t.fields.Set(key, value)
	}
	return t, nil
}

// parsePath splits the JID of a URI before it decodes its parts: an encoded separator
// is none (RFC 5122, section 2.7.2).
func parsePath(path string) (xmpp.JID, error) {
	bare, resource, hasResource := strings.Cut(path, "/")
	local, domain, hasLocal := strings.Cut(bare, "@")
	if !hasLocal {
		local, domain = "", bare
	}
	parts := []*string{&local, &domain, &resource}
	for _, p := range parts {
		var err error
		if *p, err = url.PathUnescape(*p); err != nil {
			return xmpp.JID{}, err
		}
	}
	if strings.ContainsAny(local+domain, "@/") {
		return xmpp.JID{}, errors.New("an encoded separator")
	}
	s := domain
	if hasLocal {
		s = local + "@" + s
	}
	if hasResource {
		s += "/" + resource
	}
	return xmpp.ParseJID(s)
}

func parseTargets(args []string) ([]target, error) {
	targets := make([]target, len(args))
	for i, arg := range args {
		var err error
		if targets[i], err = parseTarget(arg); err != nil {
			return nil, err
		}
	}
	return targets, nil
}
