package xmpp

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// An Address is an address as people write it: a JID, or an xmpp: URI (RFC 5122), which
// can also name an action (XEP-0147).
type Address struct {
	JID    JID
	Typed  JID        // as it was typed, which can be an address that was shown
	Action string     // of a URI: the word after the question mark
	Fields url.Values // of that action
}

// ParseAddress parses a JID or an xmpp: URI. It does not check the action; the caller
// does. It refuses a URI that names the account to use.
func ParseAddress(s string) (Address, error) {
	scheme, rest, isURI := strings.Cut(s, ":")
	if !isURI || !strings.EqualFold(scheme, "xmpp") {
		return addressOf(s)
	}
	if strings.HasPrefix(rest, "//") {
		return Address{}, fmt.Errorf("%q: a URI that names an account is not supported", s)
	}
	rest, _, _ = strings.Cut(rest, "#")
	path, query, _ := strings.Cut(rest, "?")
	a, err := parsePath(path)
	if err != nil {
		return Address{}, fmt.Errorf("malformed URI %q: %w", s, err)
	}
	action, pairs, _ := strings.Cut(query, ";")
	a.Action, a.Fields = action, make(url.Values)
	for pair := range strings.SplitSeq(pairs, ";") {
		key, value, _ := strings.Cut(pair, "=")
		if value, err = unescaped(value); err != nil {
			return Address{}, fmt.Errorf("malformed URI %q: %w", s, err)
		}
		a.Fields.Set(key, value)
	}
	return a, nil
}

// parsePath splits the JID of a URI before it decodes its parts: an encoded separator
// does not separate (RFC 5122, section 2.7.2).
func parsePath(path string) (Address, error) {
	bare, resource, hasResource := strings.Cut(path, "/")
	local, domain, hasLocal := strings.Cut(bare, "@")
	if !hasLocal {
		local, domain = "", bare
	}
	parts := []*string{&local, &domain, &resource}
	for _, p := range parts {
		var err error
		if *p, err = unescaped(*p); err != nil {
			return Address{}, err
		}
	}
	if strings.ContainsAny(local+domain, "@/") {
		return Address{}, errors.New("it has an encoded @ or /")
	}
	s := domain
	if hasLocal {
		s = local + "@" + s
	}
	if hasResource {
		s += "/" + resource
	}
	return addressOf(s)
}

// unescaped decodes a part of a URI (RFC 3986, section 2.1).
func unescaped(s string) (string, error) {
	decoded, err := url.PathUnescape(s)
	if e, ok := errors.AsType[url.EscapeError](err); ok {
		return "", fmt.Errorf("%q is not %% and two hexadecimal digits", string(e))
	}
	return decoded, err
}

func addressOf(s string) (Address, error) {
	jid, err := ParseJID(s)
	if err != nil {
		return Address{}, err
	}
	typed, err := SplitJID(s)
	return Address{JID: jid, Typed: typed}, err
}
