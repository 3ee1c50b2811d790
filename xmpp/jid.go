package xmpp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
)

// A JID is an XMPP address (RFC 7622). Two JIDs are the same address if they are ==:
// parts are compared as bytes, and domains are in lower case. ParseJID makes one of what a
// user has typed, SplitJID of what has arrived.
//
// Each part is at most 1023 bytes. The domain is empty only in the zero JID.
type JID struct {
	Local, Domain, Resource string
}

const maxPart = 1023 // RFC 7622, sections 3.2 to 3.4

// SplitJID splits s at its separators and keeps the parts as they are. An address that a
// server relayed is valid even if our profiles refuse it: servers use other rules (RFC
// 6122) and other versions of Unicode. Only the domain changes: it becomes lower case,
// without a trailing dot.
//
// SplitJID refuses a separator without its part, a second @, and a part that is too long
// (RFC 7622, sections 3.2 to 3.4).
func SplitJID(s string) (JID, error) {
	j, err := split(s)
	if err != nil {
		return JID{}, malformed(s, err)
	}
	j.Domain = foldDomain(j.Domain)
	if err := checkLength("domain", j.Domain); err != nil { // small letters can be longer than capitals
		return JID{}, malformed(s, err)
	}
	return j, nil
}

// split checks the form of an address. It looks for separators before anything is mapped,
// so that no compatibility character becomes one (RFC 7622, section 3.1).
func split(s string) (JID, error) {
	bare, resource, hasResource := strings.Cut(s, "/")
	local, domain, hasLocal := strings.Cut(bare, "@")
	if !hasLocal {
		local, domain = "", bare
	}
	err := checkLength("domain", strings.TrimSuffix(domain, "."))
	if strings.Contains(domain, "@") {
		err = errors.New(`domain: a second "@" is not allowed`)
	}
	if err == nil && hasLocal {
		err = checkLength("local part", local)
	}
	if err == nil && hasResource {
		err = checkLength("resource", resource)
	}
	return JID{local, domain, resource}, err
}

// ParseJID parses an address that somebody has typed. It normalises the parts: the local
// part by PRECIS UsernameCaseMapped, the domain by IDNA, the resource by PRECIS
// OpaqueString. It keeps a local part or resource that the profile refuses, as the user may
// have copied it from what a server sent: see Profile. A domain goes to DNS and must be
// valid.
func ParseJID(s string) (JID, error) {
	j, err := split(s)
	if err == nil {
		err = CheckText(s)
	}
	if err == nil {
		j.Domain, err = domainpart(j.Domain)
	}
	if err != nil {
		return JID{}, malformed(s, err)
	}
	if mapped, err := localpart(j.Local); err == nil {
		j.Local = mapped
	}
	if mapped, err := resourcepart(j.Resource); err == nil {
		j.Resource = mapped
	}
	return j, nil
}

// Profile returns why RFC 7622 refuses an address, or nil. Such an address can still
// exist.
func (j JID) Profile() error {
	if j.Local != "" {
		if _, err := localpart(j.Local); err != nil {
			return err
		}
	}
	if j.Resource != "" {
		if _, err := resourcepart(j.Resource); err != nil {
			return err
		}
	}
	_, err := domainpart(j.Domain)
	return err
}

// Alike reports whether two addresses are the same to a server that prepares them with
// stringprep (RFC 6122), as Prosody and ejabberd do: to it strasse is straße, while RFC 7622
// keeps the two apart.
func (j JID) Alike(other JID) bool { return j == other || j.Prepared() == other.Prepared() }

// Prepared returns an address in the form that such a server stores: addresses that are
// Alike have the same.
func (j JID) Prepared() JID {
	j.Local, j.Resource = prepared(j.Local, true), prepared(j.Resource, false)
	return j
}

// prepared maps a part by Nodeprep, which folds case, or by Resourceprep (RFC 6122,
// appendixes A and B).
func prepared(s string, fold bool) string {
	if plainPart(s) {
		return s
	}
	s = strings.Map(func(r rune) rune { // RFC 3454, table B.1
		if unicode.In(r, unicode.Cf, unicode.Variation_Selector) || r == '\u034f' {
			return -1
		}
		return r
	}, s)
	if fold {
		s = cases.Fold().String(norm.NFKC.String(s))
	}
	return norm.NFKC.String(s)
}

// foldDomain converts a received domain name to the form that ParseJID produces. It does
// not map other characters to ASCII as IDNA would, because the server that relayed the
// name did not either.
func foldDomain(s string) string {
	lower := strings.Map(func(r rune) rune {
		if l := unicode.ToLower(r); r < utf8.RuneSelf || l >= utf8.RuneSelf {
			return l
		}
		return r
	}, s)
	if one := strings.TrimSuffix(lower, "."); !strings.HasSuffix(one, ".") {
		lower = one // otherwise it is not a name, and stays unchanged
	}
	if plainDomain(lower) {
		return lower
	}
	if name, err := domainpart(s); err == nil && (isASCII(s) || !isASCII(name)) {
		return name
	}
	return lower
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

func malformed(jid string, err error) error {
	if len(jid) > 100 {
		jid = strings.ToValidUTF8(jid[:100], "") + "..."
	}
	return fmt.Errorf("malformed JID %q: %w", jid, err)
}

func localpart(s string) (string, error) {
	if !plainPart(s) {
		mapped, err := precis.UsernameCaseMapped.String(s)
		if err != nil {
			return "", errors.New("local part: it has characters that are not allowed, or not together")
		}
		s = mapped
	}
	// RFC 7622, section 3.3.1
	if i := strings.IndexAny(s, `"&'/:<>@`); i >= 0 {
		return "", fmt.Errorf("local part: %q is not allowed", s[i:i+1])
	}
	return s, checkLength("local part", s)
}

func resourcepart(s string) (string, error) {
	if !printableASCII(s) {
		mapped, err := precis.OpaqueString.String(s)
		if err != nil {
			return "", errors.New("resource: it has a character that is not allowed")
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

// names are domain names as they are looked up (RFC 5891, section 5).
func names() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false), idna.Transitional(false), idna.VerifyDNSLength(true))
}

// toUnicode maps and validates a domain name. The name must also survive the way back, as
// it is the A-label form that goes to DNS and TLS.
func toUnicode(s string) (string, error) {
	profile := names()
	u, err := profile.ToUnicode(s)
	if err != nil {
		return "", nameError(s)
	}
	u = strings.TrimSuffix(u, ".") // an ideographic full stop is a dot only once it is mapped
	if strings.HasSuffix(u, ".") {
		return "", nameError(s)
	}
	if i := strings.IndexFunc(u, notInName); i >= 0 {
		return "", notAllowed([]rune(u[i:])[0])
	}
	if _, err := profile.ToASCII(u); err != nil {
		return "", nameError(u)
	}
	if back, err := profile.ToUnicode(u); err != nil || back != u {
		return "", nameError(u)
	}
	return u, nil
}

// nameError explains what is wrong with a name. The errors of package idna show
// A-labels and character numbers, in words for programmers.
func nameError(s string) error {
	profile := names()
	s = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".").Replace(s) // which are dots (RFC 3490, section 3.1)
	for _, r := range s {
		_, within := profile.ToUnicode("a" + string(r) + "a")
		_, alone := profile.ToUnicode(string(r)) // of a script with the other direction
		if within != nil && alone != nil || notInName(r) && r < utf8.RuneSelf {
			return notAllowed(r)
		}
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		switch ascii, err := idna.Punycode.ToASCII(label); {
		case label == "":
			return errors.New("empty before, after or between its dots")
		case strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-"):
			return fmt.Errorf("%q begins or ends with a hyphen", Clip(label, shown))
		case err == nil && len(ascii) > 63:
			return fmt.Errorf("%q is longer than 63 characters", Clip(label, shown))
		case strings.HasPrefix(strings.ToLower(label), "xn--"):
			return fmt.Errorf("%q encodes no name", Clip(label, shown))
		}
	}
	if len(s) > 253 {
		return errors.New("longer than 253 characters")
	}
	return errors.New("its characters are not allowed together")
}

func notAllowed(r rune) error { return fmt.Errorf("%q is not allowed", string(r)) }

// notInName reports whether a character belongs to no name. For the sake of old names IDNA
// allows some that look like separators, such as U+2044, a slash. RFC 5892 allows only those
// of its appendix A. The underscore is allowed: no host name may have it, but some do.
func notInName(r rune) bool {
	if r < utf8.RuneSelf {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_", r))
	}
	return unicode.In(r, unicode.Sm, unicode.P) && !strings.ContainsRune("\u00b7\u05f3\u05f4\u30fb", r)
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

// plainPart reports whether s has only characters that no profile maps. This is the common
// case, and needs no tables.
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

// UnmarshalText reads the String form, as SplitJID does.
func (j *JID) UnmarshalText(b []byte) error {
	parsed, err := SplitJID(string(b))
	if err != nil {
		return err
	}
	*j = parsed
	return nil
}

// WithResource returns the address with another resource.
func (j JID) WithResource(resource string) (JID, error) {
	return ParseJID(j.Bare().String() + "/" + resource)
}
