package sasl

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"
)

var (
	fakeExporter = Binding{"tls-exporter", []byte("THIS IS FAKE CB DATA")}
	fakeUnique   = Binding{"tls-unique", []byte("finished")}
	fakeEndpoint = Binding{"tls-server-end-point", []byte("certificate")}
)

// first returns the mechanism chosen, and the beginning of the initial
// response, up to the user name.
func first(t *testing.T, c *Client) string {
	t.Helper()
	message, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(string(message), "n=")
	return c.Mechanism + " " + header
}

// The best of what is offered is chosen: see Choose.
func TestPreference(t *testing.T) {
	all := []string{"PLAIN", "DIGEST-MD5", "X-OAUTH2", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256",
		"SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS", "EXTERNAL"}
	credentials := Credentials{Username: "u", Password: "p", AllowPlain: true, External: true}
	have := []Binding{fakeExporter}
	types := []string{"tls-exporter"}
	order := []string{"EXTERNAL", "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"}
	for _, want := range order {
		c, err := Choose(Offer{all, types}, credentials, tls.VersionTLS13, have)
		if err != nil || c.Mechanism != want {
			t.Fatalf("of %v: %v, %v; want %s", all, c, err, want)
		}
		all = slices.DeleteFunc(all, func(m string) bool { return m == want })
	}
	for _, want := range []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"} {
		c, err := Choose(Offer{all, nil}, credentials, tls.VersionTLS13, have)
		if err != nil || c.Mechanism != want {
			t.Fatalf("of %v: %v, %v; want %s", all, c, err, want)
		}
		all = slices.DeleteFunc(all, func(m string) bool { return m == want })
	}
	if c, err := Choose(Offer{all, nil}, credentials, tls.VersionTLS13, have); err == nil {
		t.Errorf("of %v: %v", all, c)
	}

	// Binding outranks the size of the hash; EXTERNAL needs its certificate.
	o := Offer{[]string{"EXTERNAL", "SCRAM-SHA-512", "SCRAM-SHA-1-PLUS"}, types}
	c, err := Choose(o, Credentials{Username: "u", Password: "p"}, tls.VersionTLS13, have)
	if err != nil || c.Mechanism != "SCRAM-SHA-1-PLUS" {
		t.Errorf("%v, %v; want SCRAM-SHA-1-PLUS", c, err)
	}
}

// What is refused, and why: PLAIN only where it is allowed (XEP-0474, section 7).
func TestRefusedOffers(t *testing.T) {
	password := Credentials{Username: "u", Password: "p"}
	allowed := Credentials{Username: "u", Password: "p", AllowPlain: true}
	forbidden := Credentials{Username: "u", Password: "p", AllowPlain: true, PlainForbidden: true}
	tests := []struct {
		offer       []string
		credentials Credentials
		plainOnly   bool
		text        string
	}{
		{nil, allowed, false, "(offered: none)"},
		{[]string{"PLAIN"}, password, true, "(offered: PLAIN)"},
		{[]string{"PLAIN", "DIGEST-MD5"}, password, true, "(offered: PLAIN, DIGEST-MD5)"},
		{[]string{"PLAIN"}, forbidden, false, "better mechanism before"},
		{[]string{"PLAIN"}, Credentials{Username: "u", Password: "p", PlainForbidden: true}, false, "better mechanism before"},
		{[]string{"DIGEST-MD5"}, allowed, false, "RFC 6331"},
		{[]string{"CRAM-MD5", "LOGIN", "X-OAUTH2", "GSSAPI", "ANONYMOUS"}, allowed, false, "xmppkit supports none of these"},
		{[]string{"plain"}, allowed, false, "xmppkit supports none of these"},
		{[]string{"SCRAM-SHA3-512", "PLAIN"}, allowed, false, "SCRAM"},
		{[]string{"EXTERNAL"}, allowed, false, "xmppkit supports none of these"},
		{[]string{"SCRAM-SHA-1"}, Credentials{Username: "u", External: true}, false, "EXTERNAL"},
		{[]string{"\x1b[31m", "X Y", "\u202e", strings.Repeat("X", 21), "X-OK"}, allowed, false, "(offered: X-OK)"},
	}
	for _, test := range tests {
		c, err := Choose(Offer{Mechanisms: test.offer}, test.credentials, tls.VersionTLS13, []Binding{fakeExporter})
		var refused *OfferError
		if !errors.As(err, &refused) || errors.Is(err, ErrServer) {
			t.Errorf("%q: %v, %v; want an OfferError", test.offer, c, err)
			continue
		}
		if refused.PlainOnly != test.plainOnly || !slices.Equal(refused.Offered, test.offer) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%q: %v, PlainOnly %v; want %q, %v", test.offer, err, refused.PlainOnly, test.text, test.plainOnly)
		}
	}
}

// The flag of the channel binding (RFC 5802, section 6).
func TestBindingFlag(t *testing.T) {
	both := []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}
	base := []string{"SCRAM-SHA-1"}
	tests := []struct {
		name  string
		offer Offer
		have  []Binding
		want  string
	}{
		{"the best common type, by our order", Offer{both, []string{"tls-server-end-point", "tls-unique", "tls-exporter"}},
			[]Binding{fakeExporter, fakeUnique, fakeEndpoint}, "SCRAM-SHA-1-PLUS p=tls-exporter,,"},
		{"the endpoint at least", Offer{both, []string{"x", "tls-server-end-point"}},
			[]Binding{fakeExporter, fakeEndpoint}, "SCRAM-SHA-1-PLUS p=tls-server-end-point,,"},
		{"the server supports none", Offer{base, nil}, []Binding{fakeExporter}, "SCRAM-SHA-1 y,,"},
		{"this end supports none", Offer{both, []string{"tls-exporter"}}, nil, "SCRAM-SHA-1 n,,"},
		{"neither supports any", Offer{base, nil}, nil, "SCRAM-SHA-1 n,,"},
		{"a binding without data is none", Offer{both, []string{"tls-exporter"}}, []Binding{{"tls-exporter", nil}}, "SCRAM-SHA-1 n,,"},
	}
	for _, test := range tests {
		c, err := Choose(test.offer, Credentials{Username: "u", Password: "p"}, tls.VersionTLS13, test.have)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if got := first(t, c); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	_, err := Choose(Offer{[]string{"SCRAM-SHA-1-PLUS"}, nil}, Credentials{Username: "u", Password: "p"}, tls.VersionTLS13, nil)
	if !errors.As(err, new(*OfferError)) {
		t.Errorf("only -PLUS, nothing to bind to: %v", err)
	}
}

// The rules of XEP-0474: {-PLUS or not} x {types or not} x {a common type, endpoint but not
// usable here, neither}, each with h= absent, right and wrong
func TestBindingRules(t *testing.T) {
	const abort = "abort"
	lists := map[string][]string{
		"common":   {"tls-unique", "tls-exporter", "tls-server-end-point"},
		"endpoint": {"x", "tls-server-end-point"},
		"neither":  {"x"},
	}
	tests := []struct {
		plus, types bool
		list        string
		want        string
		proof       bool // without h= the login ends before the proof
	}{
		{false, false, "common", "SCRAM-SHA-1 y,,", false},
		{false, false, "endpoint", "SCRAM-SHA-1 y,,", false},
		{false, false, "neither", "SCRAM-SHA-1 y,,", false},
		{false, true, "common", abort, false},
		{false, true, "endpoint", abort, false},
		{false, true, "neither", abort, false},
		{true, false, "common", "SCRAM-SHA-1-PLUS p=tls-exporter,,", false},
		{true, false, "endpoint", "SCRAM-SHA-1-PLUS p=tls-exporter,,", false},
		{true, false, "neither", "SCRAM-SHA-1-PLUS p=tls-exporter,,", false},
		{true, true, "common", "SCRAM-SHA-1-PLUS p=tls-exporter,,", false},
		{true, true, "endpoint", "SCRAM-SHA-1 n,,", true},
		{true, true, "neither", "SCRAM-SHA-1 n,,", true},
	}
	for _, test := range tests {
		o := Offer{Mechanisms: []string{"SCRAM-SHA-1"}}
		if test.plus {
			o.Mechanisms = append(o.Mechanisms, "SCRAM-SHA-1-PLUS")
		}
		if test.types {
			o.BindingTypes = lists[test.list]
		}
		right := ",h=" + listHash(hashOf("SCRAM-SHA-1"), o)
		wrong := ",h=" + listHash(hashOf("SCRAM-SHA-1"), Offer{Mechanisms: []string{"X"}})
		for _, h := range []string{"", right, wrong} {
			c, err := choose(o, Credentials{Username: "u", Password: "p"}, tls.VersionTLS13, []Binding{fakeExporter}, "nonce")
			if test.want == abort {
				if !errors.Is(err, ErrServer) {
					t.Errorf("%+v: %v, %v; want ErrServer", test, c, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%+v: %v", test, err)
				continue
			}
			if got := first(t, c); got != test.want {
				t.Errorf("%+v: %s", test, got)
			}
			_, err = c.Next([]byte("r=nonceX,s=QSXCR+Q6sek8bf92,i=4096" + h))
			if ok := h == right || h == "" && !test.proof; ok != (err == nil) || err != nil && !errors.Is(err, ErrServer) {
				t.Errorf("%+v with %q: %v", test, h, err)
			}
		}
	}

	// An empty element names types too: none.
	c, err := choose(Offer{[]string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}, []string{}}, Credentials{Username: "u", Password: "p"},
		tls.VersionTLS13, []Binding{fakeExporter}, "nonce")
	if err != nil || first(t, c) != "SCRAM-SHA-1 n,," {
		t.Errorf("empty list of types: %v, %v", c, err)
	}
	// Neither may a -PLUS of an unknown hash lead to an unproven 'n' or to 'y'.
	c, err = choose(Offer{[]string{"SCRAM-SHA-1", "SCRAM-SHA3-512-PLUS"}, nil}, Credentials{Username: "u", Password: "p"},
		tls.VersionTLS13, []Binding{fakeExporter}, "nonce")
	if err != nil || first(t, c) != "SCRAM-SHA-1 n,," {
		t.Fatalf("unknown hash: %v, %v", c, err)
	}
	if _, err := c.Next([]byte("r=nonceX,s=QSXCR+Q6sek8bf92,i=4096")); !errors.Is(err, ErrServer) {
		t.Errorf("unknown hash, no h=: %v", err)
	}
}

// Where the server names no types of channel binding, one is guessed (RFC 9266, section 3).
func TestBindingTypesNotNamed(t *testing.T) {
	o := Offer{Mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}}
	tests := []struct {
		version uint16
		have    []Binding
		want    string
		guessed bool
	}{
		{tls.VersionTLS12, []Binding{fakeExporter, fakeUnique, fakeEndpoint}, "tls-unique", false},
		{tls.VersionTLS13, []Binding{fakeExporter, fakeEndpoint}, "tls-exporter", true},
		{tls.VersionTLS12, []Binding{fakeEndpoint}, "", false},
	}
	for _, test := range tests {
		c, err := Choose(o, Credentials{Username: "u", Password: "p"}, test.version, test.have)
		if err != nil || c.Binding != test.want || c.Guessed != test.guessed {
			t.Errorf("%s: %+v, %v; want %q, guessed %v", tls.VersionName(test.version), c, err, test.want, test.guessed)
		}
	}
	// Named types are not guessed.
	o.BindingTypes = []string{"tls-exporter"}
	if c, err := Choose(o, Credentials{Username: "u", Password: "p"}, tls.VersionTLS13, []Binding{fakeExporter}); err != nil || c.Guessed {
		t.Errorf("named: %+v, %v", c, err)
	}
}
