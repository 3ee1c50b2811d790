package xmpp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/precis"
)

// A JID is an XMPP address (RFC 7622) in its normalised form, so that two JIDs
// are the same address exactly if they are ==. Make one with ParseJID.
//
// Each part is at most 1023 bytes. The domain is a name in its Unicode form, an
// IPv4 address or an IPv6 address in brackets; it is empty only in the zero JID.
type JID struct {
	Local, Domain, Resource string
}

const maxPart = 1023 // RFC 7622, sections 3.2 to 3.4

// ParseJID splits s at its separators and normalises the parts: the local part
// by PRECIS UsernameCaseMapped, the domain by IDNA, the resource by PRECIS
// OpaqueString. The separators are looked for before anything is mapped, so that
// no compatibility character becomes one (RFC 7622, section 3.1).
func ParseJID(s string) (JID, error) {
	if !utf8.ValidString(s) {
		return JID{}, fmt.Errorf("malformed JID %q: invalid UTF-8", s)
	}
	bare, resource, hasResource := strings.Cut(s, "/")
	local, domain, hasLocal := strings.Cut(bare, "@")
	if !hasLocal {
		local, domain = "", bare
	}
	var j JID
	var err error
	if j.Domain, err = domainpart(domain); err != nil {
		return JID{}, malformed(s, err)
	}
	if hasLocal {
		if j.Local, err = localpart(local); err != nil {
			return JID{}, malformed(s, err)
		}
	}
	if hasResource {
		if j.Resource, err = resourcepart(resource); err != nil {
			return JID{}, malformed(s, err)
		}
	}
	return j, nil
}

func malformed(jid string, err error) error {
	if len(jid) > 100 {
		jid = strings.ToValidUTF8(jid[:100], "") + "..."
	}
	return fmt.Errorf("malformed JID %q: %w", jid, err)
}

// tooLong refuses a part before it is mapped, which takes time that grows faster
// than its length. Mapping makes a part shorter at most by the factor that the
// widest forms of a character have over the narrow ones.
func tooLong(part, s string) error {
	if len(s) > 4*maxPart {
		return fmt.Errorf("%s: longer than %d bytes", part, maxPart)
	}
	return nil
}

func localpart(s string) (string, error) {
	if err := tooLong("local part", s); err != nil {
		return "", err
	}
	if !plainPart(s) {
		mapped, err := precis.UsernameCaseMapped.String(s)
		if err != nil {
			return "", fmt.Errorf("local part: %w", err)
		}
		s = mapped
	}
	// RFC 7622, section 3.3.1
	if i := strings.IndexAny(s, `"&'/:<>@`); i >= 0 {
		return "", fmt.Errorf("local part: %q is not allowed", s[i])
	}
	return s, checkLength("local part", s)
}

func resourcepart(s string) (string, error) {
	if err := tooLong("resource", s); err != nil {
		return "", err
	}
	if !printableASCII(s) {
		mapped, err := precis.OpaqueString.String(s)
		if err != nil {
			return "", fmt.Errorf("resource: %w", err)
		}
		s = mapped
	}
	if strings.HasPrefix(s, " ") { // RFC 7622, section 3.5, example 18
		return "", errors.New("resource: starts with a space")
	}
	return s, checkLength("resource", s)
}

// domainpart follows RFC 7622, section 3.2: one trailing dot is stripped, A-labels
// become U-labels.
func domainpart(s string) (string, error) {
	if err := tooLong("domain", s); err != nil {
		return "", err
	}
	plain := strings.TrimSuffix(s, ".")
	if strings.HasPrefix(plain, "[") {
		addr, err := netip.ParseAddr(strings.TrimSuffix(plain[1:], "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(plain, "]") {
			return "", errors.New("domain: not an IPv6 address in brackets")
		}
		return "[" + addr.String() + "]", nil
	}
	if plainDomain(plain) {
		return plain, nil
	}
	u, err := toUnicode(s)
	if err != nil {
		return "", fmt.Errorf("domain: %w", err)
	}
	return u, checkLength("domain", u)
}

// toUnicode maps and validates a domain name. The name must also survive the
// way back, as it is the A-label form that goes to DNS and TLS.
func toUnicode(s string) (string, error) {
	profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.Transitional(false), idna.VerifyDNSLength(true))
	u, err := profile.ToUnicode(s)
	if err != nil {
		return "", err
	}
	u = strings.TrimSuffix(u, ".") // an ideographic full stop is a dot only once it is mapped
	if strings.HasSuffix(u, ".") {
		return "", errors.New("empty label")
	}
	if _, err := profile.ToASCII(u); err != nil {
		return "", err
	}
	if back, err := profile.ToUnicode(u); err != nil || back != u {
		return "", errors.New("not a stable name")
	}
	return u, nil
}

func checkLength(part, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%s: empty", part)
	case len(s) > maxPart:
		return fmt.Errorf("%s: longer than %d bytes", part, maxPart)
	}
	return nil
}

// plainPart reports whether s is of characters that no profile maps, the common
// case, which then costs no tables.
func plainPart(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

func printableASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// plainDomain reports whether s is a lower-case ASCII name without A-labels.
func plainDomain(s string) bool {
	if len(s) > 253 || !plainPart(s) {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Contains(label, "_") || len(label) > 3 && label[2:4] == "--" {
			return false
		}
	}
	return true
}

// String returns local@domain/resource, leaving out what is empty.
func (j JID) String() string {
	s := j.Domain
	if j.Local != "" {
		s = j.Local + "@" + s
	}
	if j.Resource != "" {
		s += "/" + j.Resource
	}
	return s
}

// Bare returns the address without its resource.
func (j JID) Bare() JID {
	j.Resource = ""
	return j
}

// IsZero reports whether j is no address at all.
func (j JID) IsZero() bool { return j == JID{} }

// asciiDomain is the domain as DNS and certificates know it: A-labels, and IPv6
// without brackets.
func (j JID) asciiDomain() string {
	if strings.HasPrefix(j.Domain, "[") {
		return strings.Trim(j.Domain, "[]")
	}
	if a, err := idna.ToASCII(j.Domain); err == nil {
		return a
	}
	return j.Domain
}

// MarshalText returns the String form.
func (j JID) MarshalText() ([]byte, error) { return []byte(j.String()), nil }

// UnmarshalText parses what ParseJID parses.
func (j *JID) UnmarshalText(b []byte) error {
	parsed, err := ParseJID(string(b))
	if err != nil {
		return err
	}
	*j = parsed
	return nil
}
