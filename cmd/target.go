package cmd

import (
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
	rest, ok := strings.CutPrefix(s, "xmpp:")
	if !ok {
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
	path, err := url.PathUnescape(path)
	if err != nil {
		return target{}, usageError("malformed URI %q: %w", s, err)
	}
	var t target
	if t.jid, err = xmpp.ParseJID(path); err != nil {
		return target{}, usageError("%w", err)
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
