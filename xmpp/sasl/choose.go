package sasl

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/xdg-go/scram"
)

// Offer is the login offer of the server on the TLS-protected stream, unchanged and in
// order: XEP-0474 compares a hash over all of it.
type Offer struct {
	Mechanisms []string
	// BindingTypes are the types in <sasl-channel-binding/> (XEP-0440), nil if
	// the server sent no such element, and not nil if it sent an empty one.
	BindingTypes []string
}

// OfferError says that the server offers no mechanism the account may use. Nothing has
// been sent.
type OfferError struct {
	Offered []string // as received: clean it before printing
	Reason  string
	Hint    string // what to do about it, or ""
	// PlainOnly says that AllowPlain would have made PLAIN possible.
	PlainOnly bool
	// PlainForbidden says that only PLAIN was left, and Credentials forbid it.
	PlainForbidden bool
}

// Error lists the offered names that are valid (RFC 4422, section 3.1). It leaves out
// others, so that a server cannot write to a terminal with them.
func (e *OfferError) Error() string {
	var names []string
	for _, name := range e.Offered {
		if len(name) <= 20 && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == "" {
			names = append(names, name)
		}
	}
	const most = 20 // that are shown
	switch {
	case names == nil:
		names = []string{"none"}
	case len(names) > most:
		names = append(names[:most], "and others")
	}
	return fmt.Sprintf("no usable login mechanism: %s (offered: %s)", e.Reason, strings.Join(names, ", "))
}

// Choose picks the mechanism and prepares a login by it, on a connection of
// the given TLS version that has the bindings in have. Without any the client
// tells the server that it supports none.
//
// EXTERNAL comes first, then SCRAM with channel binding, then SCRAM without,
// the stronger hash first: binding outranks the size of the hash. PLAIN comes
// last, if it is allowed, and never beside a SCRAM of any kind.
//
// Errors: *OfferError if nothing offered may be used, ErrServer if the offer
// contradicts itself as only a tampered or broken one does, ErrPassword.
func Choose(o Offer, c Credentials, tlsVersion uint16, have []Binding) (*Client, error) {
	nonce := make([]byte, 18)
	rand.Read(nonce) // never fails: see its documentation
	return choose(o, c, tlsVersion, have, base64.StdEncoding.EncodeToString(nonce))
}

func choose(o Offer, c Credentials, tlsVersion uint16, have []Binding, nonce string) (*Client, error) {
	switch {
	case c.External && o.has("EXTERNAL"):
		return &Client{Mechanism: "EXTERNAL", steps: &single{[]byte{}}}, nil
	case c.External && c.Password == "":
		return nil, o.refuse("the server does not offer EXTERNAL, which the client certificate needs, and there is no password", "")
	case o.hasSCRAM(""):
		return newSCRAM(o, c, tlsVersion, have, nonce)
	case o.has("PLAIN"):
		return o.plain(c)
	case o.has("DIGEST-MD5"):
		return nil, o.refuse("DIGEST-MD5 is historic (RFC 6331) and not supported", "ask the server's operator to enable SCRAM")
	}
	return nil, o.refuse("xmppkit supports none of these", "")
}

// plain permits PLAIN under the rules of XEP-0474, section 7.
func (o Offer) plain(c Credentials) (*Client, error) {
	switch {
	case c.PlainForbidden:
		err := o.refuse("PLAIN would send the password itself, and this account has logged in with a better mechanism before",
			"ask the server's operator whether SCRAM was switched off; if not, someone is between you and the server")
		err.PlainForbidden = true
		return nil, err
	case !c.AllowPlain:
		err := o.refuse("PLAIN would send the password itself", "allow PLAIN for this account if you trust the server with its password")
		err.PlainOnly = true
		return nil, err
	}
	return newPlain(c)
}

func (o Offer) refuse(reason, hint string) *OfferError {
	return &OfferError{Offered: slices.Clone(o.Mechanisms), Reason: reason, Hint: hint}
}

func (o Offer) has(mechanism string) bool { return slices.Contains(o.Mechanisms, mechanism) }

// hasSCRAM reports whether any SCRAM with that suffix is offered, supported or not.
func (o Offer) hasSCRAM(suffix string) bool {
	return slices.ContainsFunc(o.Mechanisms, func(m string) bool {
		return strings.HasPrefix(m, "SCRAM-") && strings.HasSuffix(m, suffix)
	})
}

// strongest returns the best SCRAM offered with the suffix "-PLUS" or "".
func (o Offer) strongest(suffix string) string {
	for _, name := range []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"} {
		if o.has(name + suffix) {
			return name + suffix
		}
	}
	return ""
}

func hashOf(mechanism string) scram.HashGeneratorFcn {
	switch strings.TrimSuffix(mechanism, "-PLUS") {
	case "SCRAM-SHA-512":
		return scram.SHA512
	case "SCRAM-SHA-256":
		return scram.SHA256
	}
	return scram.SHA1
}

// plan is how a SCRAM login uses channel binding.
type plan struct {
	mechanism string
	flag      byte    // 'p', 'y' or 'n' (RFC 5802, section 6)
	binding   Binding // with 'p'
	guessed   bool    // see Client.Guessed
	proveList bool    // the server must prove its offer (XEP-0474) or the login ends
}

// plan applies the rules of XEP-0440, section 3, as far as they are about
// SASL1, with rule 6 as changed by XEP-0474, section 7.
func (o Offer) plan(tlsVersion uint16, have []Binding) (plan, error) {
	bindingOffered := o.hasSCRAM("-PLUS")
	p := plan{mechanism: o.strongest(""), flag: 'n'}
	switch {
	case len(have) == 0: // rule 2
	case !bindingOffered && o.BindingTypes == nil: // rule 3
		p.flag = 'y'
	case !bindingOffered: // rule 5
		return plan{}, serverError("it names channel binding types but offers no mechanism for them; someone may have removed it")
	default:
		binding, found := o.common(tlsVersion, have)
		if mechanism := o.strongest("-PLUS"); found && mechanism != "" {
			guessed := o.BindingTypes == nil && tlsVersion >= tls.VersionTLS13
			return plan{mechanism: mechanism, flag: 'p', binding: binding, guessed: guessed}, nil
		}
		// Rule 6. 'y' would be a lie the server has to refuse, and 'n' is what an
		// attacker who forged the list wants: continue only if the list is proven.
		p.proveList = true
	}
	if p.mechanism == "" {
		return plan{}, o.refuse("no SCRAM among them has a hash and a channel binding that this connection supports", "")
	}
	return p, nil
}

// common returns the best binding that both sides support. A server that does
// not name its types has the default ones: tls-unique before TLS 1.3 (RFC
// 5802, section 6.1), tls-exporter from then on (RFC 9266, section 3).
func (o Offer) common(tlsVersion uint16, have []Binding) (Binding, bool) {
	types := o.BindingTypes
	switch {
	case types == nil && tlsVersion >= tls.VersionTLS13:
		types = []string{exporter}
	case types == nil:
		types = []string{unique}
	}
	i := slices.IndexFunc(have, func(b Binding) bool { return slices.Contains(types, b.Type) })
	if i < 0 {
		return Binding{}, false
	}
	return have[i], true
}
