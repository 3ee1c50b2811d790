package sasl

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Base64 is strict, and "=" is empty data (RFC 6120, section 6.4.2).
func TestDecode(t *testing.T) {
	tests := []struct {
		text string
		want []byte
		ok   bool
	}{
		{"", nil, true},
		{"=", []byte{}, true},
		{"AA==", []byte{0}, true},
		{"AAA=", []byte{0, 0}, true},
		{"cj0x", []byte("r=1"), true},
		{"+/+/", []byte{0xfb, 0xff, 0xbf}, true},
		{"cj0x\n", nil, false},
		{"cj\r\n0x", nil, false},
		{"\r\n", nil, false},
		{" cj0x", nil, false},
		{"cj0x ", nil, false},
		{"cj 0x", nil, false},
		{"\t", nil, false},
		{"AB==", nil, false}, // pad bits are not zero
		{"AAB=", nil, false},
		{"AA", nil, false}, // no padding
		{"AA=", nil, false},
		{"AAA", nil, false},
		{"A", nil, false},
		{"==", nil, false},
		{"====", nil, false},
		{"AA==AA==", nil, false}, // padding not at the end
		{"=AAA", nil, false},
		{"AAA==", nil, false},
		{"-_-_", nil, false}, // the other alphabet
		{"cj0ä", nil, false},
	}
	for _, test := range tests {
		got, err := Decode(test.text)
		if (err == nil) != test.ok || !bytes.Equal(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("Decode(%q) = %v, %v; want %v, ok %v", test.text, got, err, test.want, test.ok)
		}
		if err != nil && !errors.Is(err, ErrServer) {
			t.Errorf("Decode(%q): %v is not ErrServer", test.text, err)
		}
		if err == nil && Encode(got) != test.text {
			t.Errorf("Encode(%v) = %q, want %q", got, Encode(got), test.text)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"", "=", "AA==", "AB==", "cj0x\n", "AA==AA==", "====", "-_-_"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		// Every accepted text is the only one for its value.
		if b, err := Decode(text); err == nil && Encode(b) != text {
			t.Errorf("Decode(%q) = %v, which is %q", text, b, Encode(b))
		}
	})
}

// PLAIN (RFC 4616) and EXTERNAL (RFC 4422, appendix A) are one message.
func TestPlainAndExternal(t *testing.T) {
	tests := []struct {
		offer       []string
		credentials Credentials
		mechanism   string
		text        string
	}{
		{[]string{"PLAIN"}, Credentials{Username: "a,b=c", Password: "I\u00adX", AllowPlain: true}, "PLAIN",
			base64.StdEncoding.EncodeToString([]byte("\x00a,b=c\x00IX"))},
		{[]string{"SCRAM-SHA-1-PLUS", "EXTERNAL"}, Credentials{Username: "u", Password: "p", External: true}, "EXTERNAL", "="},
		{[]string{"EXTERNAL"}, Credentials{External: true}, "EXTERNAL", "="},
	}
	for _, test := range tests {
		begin := func() *Client {
			c, err := Choose(Offer{Mechanisms: test.offer}, test.credentials, tls.VersionTLS13, nil)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		c := begin()
		if err := c.Finish(nil); !errors.Is(err, ErrServer) {
			t.Errorf("%s: success before the start: %v", test.mechanism, err)
		}
		if _, err := c.Next(nil); !errors.Is(err, ErrServer) {
			t.Errorf("%s: challenge before the start: %v", test.mechanism, err)
		}
		first, err := c.Start()
		if err != nil || Encode(first) != test.text || c.Mechanism != test.mechanism || c.Binding != "" {
			t.Errorf("%s %q: initial response %q, %v; want %s %q", c.Mechanism, c.Binding, first, err, test.mechanism, test.text)
		}
		if _, err := c.Start(); err == nil {
			t.Errorf("%s: started twice", test.mechanism)
		}
		if err := c.Finish(nil); err != nil {
			t.Errorf("%s: %v", test.mechanism, err)
		}
		if err := c.Finish([]byte("data")); !errors.Is(err, ErrServer) {
			t.Errorf("%s: success with data: %v", test.mechanism, err)
		}
		if _, err := c.Next(nil); !errors.Is(err, ErrServer) {
			t.Errorf("%s: challenge: %v", test.mechanism, err)
		}
	}
}

// The examples of RFC 4013, section 3, and what it does not know.
func TestPrepare(t *testing.T) {
	tests := []struct{ in, want, hint string }{
		{"user", "user", ""},
		{"USER", "USER", ""},
		{"I\u00adX", "IX", ""},
		{"\u00aa", "a", ""},
		{"\u2168", "IX", ""},
		{"a\u00a0b", "a b", ""},
		{"p\u00e4ss", "p\u00e4ss", ""},
		{"pa\u0308ss", "p\u00e4ss", ""},
		{"secret\u0007", "", "forbids"},
		{"secret\x00", "", "forbids"},
		{"secret\u06271", "", "forbids"},
		{"secret\xff", "", "forbids"},
		{"secret\U0001F600", "secret\U0001F600", ""},
		{"\U0001F600\u00aa\ufe0f\U0001F600a\u0308", "\U0001F600a\U0001F600\u00e4", ""},
		{"\U0001F100", "\U0001F100", ""}, // newer Unicode normalizes it to 0.
		{"\U0001F600\x07", "", "forbids"},
		{"\u0627\U0001F600", "", "forbids"},
		{"\ufdd0", "", "forbids"},
		{"", "", "empty"},
		{"\u00ad", "", "empty"},
	}
	for _, test := range tests {
		for _, c := range []Credentials{{Username: "u", Password: test.in}, {Username: test.in, Password: "p"}} {
			user, password, err := c.prepare()
			if test.hint == "" {
				if err != nil || user+password != "u"+test.want && user+password != test.want+"p" {
					t.Errorf("%+q: %q, %q, %v; want %q", test.in, user, password, err, test.want)
				}
				continue
			}
			if !errors.Is(err, ErrPassword) || !strings.Contains(err.Error(), test.hint) {
				t.Errorf("%+q: %v; want ErrPassword with %q", test.in, err, test.hint)
			}
			if test.in != "" && (strings.Contains(err.Error(), test.in) || strings.Contains(err.Error(), "secret") ||
				strings.Contains(strings.ToLower(err.Error()), "1f600")) {
				t.Errorf("%+q: the error tells: %v", test.in, err)
			}
		}
	}
}

// What can be printed holds no password, whatever the verb.
func TestNoSecretIsPrinted(t *testing.T) {
	credentials := Credentials{Username: "user", Password: "pencil", AllowPlain: true}
	hex := fmt.Sprintf("%x", "pencil")
	decimal := strings.Trim(fmt.Sprint([]byte("pencil")), "[]")
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256"} {
		c, err := Choose(Offer{Mechanisms: []string{mechanism}}, credentials, tls.VersionTLS13, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
			for _, value := range []any{credentials, &credentials, []Credentials{credentials}, c, *c} {
				got := fmt.Sprintf(verb, value)
				for _, secret := range []string{"pencil", hex, decimal, "0x70, 0x65"} {
					if strings.Contains(got, secret) {
						t.Errorf("%s of %T: %s", verb, value, got)
					}
				}
			}
		}
	}
}
