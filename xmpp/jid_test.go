package xmpp

import (
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/text/secure/precis"
)

// The examples of RFC 7622, section 3.5, by their numbers.
func TestJIDExamples(t *testing.T) {
	for _, test := range []struct {
		n    int
		in   string
		want JID
	}{
		{1, "juliet@example.com", JID{"juliet", "example.com", ""}},
		{2, "juliet@example.com/foo", JID{"juliet", "example.com", "foo"}},
		{3, "juliet@example.com/foo bar", JID{"juliet", "example.com", "foo bar"}},
		{4, "juliet@example.com/foo@bar", JID{"juliet", "example.com", "foo@bar"}},
		{5, `foo\20bar@example.com`, JID{`foo\20bar`, "example.com", ""}},
		{6, "fussball@example.com", JID{"fussball", "example.com", ""}},
		{7, "fu\u00dfball@example.com", JID{"fu\u00dfball", "example.com", ""}},
		{8, "\u03c0@example.com", JID{"\u03c0", "example.com", ""}},
		{9, "\u03a3@example.com/foo", JID{"\u03c3", "example.com", "foo"}},
		{10, "\u03c3@example.com/foo", JID{"\u03c3", "example.com", "foo"}},
		{11, "\u03c2@example.com/foo", JID{"\u03c2", "example.com", "foo"}},
		{12, "king@example.com/\u265a", JID{"king", "example.com", "\u265a"}},
		{13, "example.com", JID{"", "example.com", ""}},
		{14, "example.com/foobar", JID{"", "example.com", "foobar"}},
		{15, "a.example.com/b@example.net", JID{"", "a.example.com", "b@example.net"}},
	} {
		got, err := ParseJID(test.in)
		if err != nil || got != test.want {
			t.Errorf("example %d: %q is %#v, %v; want %#v", test.n, test.in, got, err, test.want)
			continue
		}
		if again, err := ParseJID(got.String()); err != nil || again != got {
			t.Errorf("example %d: %s parses as %#v, %v", test.n, got, again, err)
		}
	}
	for n, in := range map[int]string{19: "@example.com/", 22: "juliet@", 23: "/foobar"} {
		if got, err := ParseJID(in); err == nil {
			t.Errorf("example %d: %q is %#v", n, in, got)
		}
	}
	for n, want := range map[int]JID{ // not of the profiles, but of the form of an address
		16: {`"juliet"`, "example.com", ""},
		17: {"foo bar", "example.com", ""},
		18: {"juliet", "example.com", " foo"},
		20: {"henry\u2163", "example.com", ""},
		21: {"\u265a", "example.com", ""},
	} {
		if got, err := ParseJID(want.String()); err != nil || got != want || got.Profile() == nil {
			t.Errorf("example %d: %#v, %v, %v", n, got, err, got.Profile())
		}
	}
}

// What is relayed to us is an address if it has the form of one. It is kept as it came.
func TestSplitJID(t *testing.T) {
	for in, want := range map[string]JID{
		"a@b/\u0645\u062d\u0645\u0640\u062f": {"a", "b", "\u0645\u062d\u0645\u0640\u062f"},
		"a@b/\U0001f469\u200d\U0001f4bb":     {"a", "b", "\U0001f469\u200d\U0001f4bb"},
		"a@b/ \u00a0x\u3000":                 {"a", "b", " \u00a0x\u3000"},
		"a@b/e\u0301\u200c":                  {"a", "b", "e\u0301\u200c"},
		"Ju LIET\u265a@b":                    {"Ju LIET\u265a", "b", ""},
		"a@b/x@y/z":                          {"a", "b", "x@y/z"},
		"a@B.Example./x":                     {"a", "b.example", "x"},
		"a@B\u00dcCHER.example":              {"a", "b\u00fccher.example", ""},
		"a@xn--bcher-kva.example":            {"a", "b\u00fccher.example", ""},
		"a@b_c":                              {"a", "b_c", ""},
		"a@B c":                              {"a", "b c", ""},
		"a@b..":                              {"a", "b..", ""},
		"a@[0::1]":                           {"a", "[::1]", ""},
		"a@\uff2cocalhost":                   {"a", "\uff4cocalhost", ""}, // not localhost
		"a@\u212aelvin":                      {"a", "\u212aelvin", ""},
		"a@\u13a0.example":                   {"a", "\u13a0.example", ""},
	} {
		got, err := SplitJID(in)
		if err != nil || got != want {
			t.Errorf("%q is %#v, %v", in, got, err)
		}
		if again, err := SplitJID(got.String()); err != nil || again != got {
			t.Errorf("%q is %#v, whose text is %#v, %v", in, got, again, err)
		}
	}
	for _, in := range []string{
		"", "@", "/", "@b", "a@", "a@/r", "/r", "a@b/", "b/", "@b/r", "a@@b", "a@b@c", ".", "a@.", "a@./r",
		strings.Repeat("a", 1024) + "@b", "a@" + strings.Repeat("b", 1024), "a@b/" + strings.Repeat("c", 1024),
	} {
		if got, err := SplitJID(in); err == nil || got != (JID{}) {
			t.Errorf("%.40q is %#v, %v", in, got, err)
		}
	}
}

// What servers that prepare addresses by stringprep take for one.
func TestJIDAlike(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"stra\u00dfe@b", "strasse@b", true},
		{"\u03c2@b", "\u03a3@b", true},
		{"\uff41\ufb01@b/\ufb01", "AFI@b/fi", true},
		{"a@b/x", "a@b/X", false},
		{"a\u00ad\u200d@b/\ufe0fx", "a@b/x", true},
		{"r\u00bameo@b", "romeo@b", true},
		{"a@b", "a@c", false},
		{"a@b", "a@b/x", false},
		{"\u00e4@b", "a@b", false},
	} {
		a, _ := SplitJID(test.a)
		b, _ := SplitJID(test.b)
		if a.Alike(b) != test.want || b.Alike(a) != test.want {
			t.Errorf("%s and %s: %v", a, b, a.Alike(b))
		}
	}
}

// Separators are found before anything is mapped (RFC 7622, section 3.1); a separator without its part
// is an error.
func TestJIDSplit(t *testing.T) {
	for in, want := range map[string]JID{
		"a@b/x@y/z":                          {"a", "b", "x@y/z"},
		"a@b//x":                             {"a", "b", "/x"},
		"b/a@c":                              {"", "b", "a@c"},
		"b//":                                {"", "b", "/"},
		"a@b/\uff20\uff0f":                   {"a", "b", "\uff20\uff0f"}, // OpaqueString keeps compatibility characters
		"User@EX.com/Res":                    {"user", "ex.com", "Res"},
		"a@b./x":                             {"a", "b", "x"},
		"a@b/x ":                             {"a", "b", "x "},
		"a@_my_B\u00dccher.B_c":              {"a", "_my_b\u00fccher.b_c", ""}, // hosts of containers are called so
		"a@b/\u00e9":                         {"a", "b", "\u00e9"},
		"a@b/e\u0301":                        {"a", "b", "\u00e9"}, // NFC
		"a@b/x\u3000y":                       {"a", "b", "x y"},
		strings.Repeat("a", 1023) + "@b":     {strings.Repeat("a", 1023), "b", ""},
		"a@b/" + strings.Repeat("R", 1023):   {"a", "b", strings.Repeat("R", 1023)},
		strings.Repeat("\u03c0", 511) + "@b": {strings.Repeat("\u03c0", 511), "b", ""},
	} {
		if got, err := ParseJID(in); err != nil || got != want {
			t.Errorf("%.40q is %#v, %v; want %#v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "@", "/", "@/", "a@b/", "@b", "a@", "/r", "a@/r", "@b/r", "a@@b", "a@b@c", ".", "a@.", "a@b..", "a@.b",
		"a\uff20b", "a\uff0fb", "a@b\uff0fc", "a@b\uff20c", // never a separator
		"a\x00@b", "a@b\x00", "a@b/\x00", "a\x1b@b", "a@b/\ufffe", "a@b c", "a@ b", "a@b ", "a@b\x7f", "a@b\u2044c", "a@b\u2260c", "a@b\u2100c", "a@b\uff3fc\uff05",
		strings.Repeat("a", 1024) + "@b", "a@b/" + strings.Repeat("r", 1024), strings.Repeat("\u03c0", 512) + "@b",
		"a@b/" + strings.Repeat("\u265a", 342),
		"a@" + strings.Repeat("a", 64), "a@" + strings.Repeat("a.", 127) + "a", // DNS has narrower limits than section 3.2
		"a\xff@b", "a@b\xff", "a@b/\xff", "a@b/\xed\xa0\x80",
		"a@-b", "a@b-", "a@b%c", "a@\u2028", "a@b\u202e",
	} {
		if got, err := ParseJID(in); err == nil {
			t.Errorf("%.40q is %#v", in, got)
		} else if got != (JID{}) {
			t.Errorf("%.40q: %#v beside an error", in, got)
		}
	}
	for _, in := range []string{ // no profile has these, but somebody may
		"a b@c", " a@b", "\x7f@b", "a@b/\x7f", "a@b/\t", "a@b/\n", "a@b/ ", "a@b/\u00a0x", "a@b/\u3000x", "\uff0f@b", "\uff20@b",
		`a"@b`, "a&@b", "a'@b", "a:@b", "a<@b", "a>@b", "a\uff1a@b", // RFC 7622, section 3.3.1, also after mapping
		"a@b/\u2028", "a\u202e@b", "a@b/\u202e", "Henry\u2163@b/\u0640",
	} {
		if got, err := ParseJID(in); err != nil || got.String() != in || got.Profile() == nil {
			t.Errorf("%q is %#v, %v", in, got, err)
		}
	}
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61)
	if got, err := ParseJID("a@" + long); err != nil || got.Domain != long {
		t.Errorf("a domain of %d bytes: %v", len(long), err)
	}
	if _, err := ParseJID("a@" + long + "a"); err == nil {
		t.Error("a domain of 254 bytes")
	}
}

// What is the same address, and what is not.
func TestJIDEqual(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"a@XN--BCHER-KVA.example", "a@b\u00fccher.example", true},
		{"a@B\u00dcCHER.example", "a@b\u00fccher.example", true},
		{"a@bu\u0308cher.example", "a@b\u00fccher.example", true},
		{"a@example.com.", "a@example.com", true},
		{"a@example\u3002com", "a@example.com", true},
		{"a@\uff45xample.com", "a@example.com", true},
		{"a@stra\u00dfe.example", "a@xn--strae-oqa.example", true},
		{"a@STRASSE.example", "a@stra\u00dfe.example", false},
		{"STRASSE@b", "stra\u00dfe@b", false},
		{"STRASSE@b", "strasse@b", true},
		{"\uff41@b", "a@b", true},
		{"\u212b@b", "\u00e5@b", true},
		{"Juliet@EXAMPLE.com/Balcony", "juliet@example.com/Balcony", true},
		{"juliet@example.com/Balcony", "juliet@example.com/balcony", false},
		{"juliet@example.com", "juliet@example.com.evil", false},
		{"juliet@example.com", "juliet@xample.com", false},
		{"juliet@example.com", "xjuliet@example.com", false},
		{"juliet@example.com", "juliet@example.com/x", false},
		{"a@[::1]", "a@[0:0:0:0:0:0:0:1]", true},
		{"a@[2001:DB8::1]/r", "a@[2001:db8:0::1]/r", true},
		{"a@127.0.0.1", "a@127.0.0.1.", true},
	} {
		a, err := ParseJID(test.a)
		if err != nil {
			t.Error(err)
		}
		b, err := ParseJID(test.b)
		if err != nil {
			t.Error(err)
		}
		if (a == b) != test.same {
			t.Errorf("%s == %s is %v", a, b, a == b)
		}
	}
	for _, in := range []string{"a@[::1", "a@::1", "a@[]", "a@[1.2.3.4]", "a@[fe80::1%eth0]", "a@[::1]x", "a@[[::1]]", "a@[::1]:5222"} {
		if got, err := ParseJID(in); err == nil {
			t.Errorf("%s is %#v", in, got)
		}
	}
}

// What DNS and certificates know a domain by: A-labels (RFC 5890, section 2.3.2.1).
func TestASCIIDomain(t *testing.T) {
	for in, want := range map[string]string{
		"a@b\u00fccher.example": "xn--bcher-kva.example",
		"a@Example.COM.":        "example.com",
		"a@[::1]":               "::1",
		"a@127.0.0.1":           "127.0.0.1",
	} {
		j, err := ParseJID(in)
		if got := j.asciiDomain(); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestJIDMethods(t *testing.T) {
	j := JID{"a", "b", "c"}
	if j.Bare() != (JID{"a", "b", ""}) || j.IsZero() || !(JID{}).IsZero() || (JID{}).String() != "" {
		t.Error("Bare, IsZero or String")
	}
	type object struct {
		JID JID `json:"jid"`
	}
	b, err := json.Marshal(object{j})
	if err != nil || string(b) != `{"jid":"a@b/c"}` {
		t.Errorf("%s, %v", b, err)
	}
	var back object
	if err := json.Unmarshal([]byte(`{"jid":"A@B/C"}`), &back); err != nil || back.JID != (JID{"A", "b", "C"}) {
		t.Errorf("%v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"jid":"a@b/"}`), &back); err == nil || back.JID != (JID{"A", "b", "C"}) {
		t.Errorf("%v, %v", back, err)
	}
}

// fastPaths checks that the shortcuts decide as the profiles do.
func fastPaths(t *testing.T, s string) {
	t.Helper()
	if plainPart(s) {
		if mapped, err := precis.UsernameCaseMapped.String(s); err != nil || mapped != s {
			t.Errorf("plainPart(%q), which is mapped to %q, %v", s, mapped, err)
		}
	}
	if printableASCII(s) {
		if mapped, err := precis.OpaqueString.String(s); err != nil || mapped != s {
			t.Errorf("printableASCII(%q), which is mapped to %q, %v", s, mapped, err)
		}
	}
	if plainDomain(s) {
		if mapped, err := toUnicode(s); err != nil || mapped != s {
			t.Errorf("plainDomain(%q), which is mapped to %q, %v", s, mapped, err)
		}
	}
}

func TestJIDFastPaths(t *testing.T) {
	for a := range byte(128) {
		fastPaths(t, string(a))
		for b := range byte(128) {
			fastPaths(t, string([]byte{a, b}))
		}
	}
	var all func(s string, n int)
	all = func(s string, n int) {
		fastPaths(t, s)
		for i := range "an1-._" {
			if n > 0 {
				all(s+"an1-._"[i:i+1], n-1)
			}
		}
	}
	all("", 5)
	all("xn-", 3)
	for n := range 4 {
		fastPaths(t, strings.Repeat("a", 61+n))
		fastPaths(t, strings.Repeat("a.", 125+n)+"a")
		fastPaths(t, strings.Repeat("a.", 125+n)+"aa")
	}
}

// FuzzJID: what parses is normalised, and says so by parsing as itself.
func FuzzJID(f *testing.F) {
	for _, s := range []string{
		"juliet@example.com/foo@bar", "fu\u00dfball@XN--BCHER-KVA.example", "\u03a3@example.com/\u265a", "a@[::1]/r", "a@b\u3002c",
		"\uff21@\uff22.\u5d0e/\u00a0", "\u05d0@\u05d0.example", "e\u0301@e\u0301.example", "\u1e9e\u0130\u0345@b", "a@b/\u1e9e\u0344",
		strings.Repeat("\u023a", 511), "0" + strings.Repeat("\xa6", 342), // longer in small letters
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		fastPaths(t, s)
		if j, err := SplitJID(s); err == nil {
			if again, err := SplitJID(j.String()); err != nil || again.Local != j.Local || again.Resource != j.Resource {
				t.Errorf("%q is %#v, whose text is %#v, %v", s, j, again, err)
			}
		}
		j, err := ParseJID(s)
		if err != nil {
			if j != (JID{}) {
				t.Errorf("%#v beside %v", j, err)
			}
			return
		}
		for _, part := range []string{j.Local, j.Domain, j.Resource} {
			fastPaths(t, part)
			if len(part) > maxPart || CheckText(part) != nil {
				t.Errorf("%q has the part %q", s, part)
			}
		}
		if j.Domain == "" || strings.ContainsAny(j.Domain, "@/") || strings.ContainsAny(j.Local, "@/") {
			t.Errorf("%q is %#v", s, j)
		}
		if strings.Contains(s, "@") != (j.Local != "") && !strings.Contains(s, "/") || strings.Contains(s, "/") != (j.Resource != "") {
			t.Errorf("%q is split as %#v", s, j)
		}
		again, err := ParseJID(j.String())
		if err != nil || again != j {
			t.Errorf("%q is %#v, whose text %q is %#v, %v", s, j, j.String(), again, err)
		}
		if split, err := SplitJID(j.String()); err != nil || split != j {
			t.Errorf("%q is %#v, and arrives as %#v, %v", s, j, split, err)
		}
		if a := j.asciiDomain(); strings.ContainsFunc(a, func(r rune) bool { return r >= 0x80 }) || a == "" {
			t.Errorf("%q has the domain %q", s, a)
		}
	})
}

// What is wrong with a domain is said in words for people.
func TestDomainErrors(t *testing.T) {
	for domain, want := range map[string]string{
		"b..c":                            "empty before, after or between its dots",
		".b":                              "empty before, after or between its dots",
		"b\u3002\u3002":                   "empty before, after or between its dots",
		"-b.c":                            `"-b" begins or ends with a hyphen`,
		"b:5222":                          `":" is not allowed`,
		"b c":                             `" " is not allowed`,
		"b\u2044c":                        "\"\u2044\" is not allowed",
		"xn--zzzzzzzz.de":                 `"xn--zzzzzzzz" encodes no name`,
		strings.Repeat("a", 64):           `"` + strings.Repeat("a", 64) + `" is longer than 63 characters`,
		strings.Repeat("a.", 127) + "aaa": "longer than 253 characters",
		"a\u05d0.b":                       "its characters are not allowed together",
	} {
		_, err := ParseJID("a@" + domain)
		if err == nil || !strings.HasSuffix(err.Error(), ": domain: "+want) {
			t.Errorf("%q: got %v, want %s", domain, err, want)
		}
	}
}
