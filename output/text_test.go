package output

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// ranges is a set of characters, each pair the first and the last of a range.
type ranges [][2]rune

func (s ranges) has(r rune) bool {
	return slices.ContainsFunc(s, func(c [2]rune) bool { return c[0] <= r && r <= c[1] })
}

// The classes of characters, written down apart from the code they test.
var (
	hostile = ranges{{0, 8}, {0x0b, 0x1f}, {0x7f, 0x9f}, {0x61c, 0x61c}, {0x200e, 0x200f}, {0x202a, 0x202e},
		{0x2066, 0x2069}, {0x2028, 0x2029}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}}
	// DerivedCoreProperties.txt of Unicode 14.0: Default_Ignorable_Code_Point
	zeroWidth = ranges{{0xad, 0xad}, {0x34f, 0x34f}, {0x61c, 0x61c}, {0x115f, 0x1160}, {0x17b4, 0x17b5}, {0x180b, 0x180f}, {0x200b, 0x200f},
		{0x202a, 0x202e}, {0x2060, 0x206f}, {0x3164, 0x3164}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xfff8},
		{0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff}}
	bodyOnly = ranges{{0x200c, 0x200d}, {0xfe0e, 0xfe0f}}
)

func inLine(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return hostile.has(r) || zeroWidth.has(r) || r == '\t' || r == '\n'
	})
}

func inBody(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return hostile.has(r) || zeroWidth.has(r) && !bodyOnly.has(r)
	})
}

func printf(format string, args ...any) string {
	var t Text
	t.Printf(format, args...)
	return string(t.buf)
}

func block(prefix, s string) string {
	var t Text
	t.Block(prefix, s)
	return string(t.buf)
}

// Every character of the BMP and those around the tags, at the
// beginning, in the middle and at the end of an argument and of a body.
func TestEveryCharacter(t *testing.T) {
	for r := rune(0); r < 0xe1100; r++ {
		if r == 0x1e000 {
			r = 0xdff00 // nothing to hide between the two
		}
		c := string(r) // the surrogates become U+FFFD
		line, body := c, c
		escaped := fmt.Sprintf(`\u{%x}`, r)
		if !inLine(c) {
			line = escaped
		}
		if !inBody(c) {
			body = escaped
		}
		for _, at := range [][2]string{{"", "bc"}, {"b", "c"}, {"bc", ""}} {
			in := at[0] + c + at[1]
			if got, want := Clean(in), at[0]+line+at[1]; got != want {
				t.Fatalf("Clean(%+q) = %+q, want %+q", in, got, want)
			}
			if r == '\n' || r == '\r' {
				continue // TestBlock
			}
			if got, want := block("p: ", in), "p: "+at[0]+body+at[1]+"\n"; got != want {
				t.Fatalf("Block of %+q = %+q, want %+q", in, got, want)
			}
		}
	}
}

// What people write is shown with what joins it where that does something, and only there;
// in an address nothing joins.
func TestWords(t *testing.T) {
	for _, in := range []string{
		"", "plain", "❤\ufe0f", "❤\ufe0e", "1\ufe0f\u20e3 #\ufe0f\u20e3", "👩\u200d💻", "👩🏽\u200d💻", "🏳\ufe0f\u200d🌈", "🧔\u200d♂\ufe0f", "👨\u200d👩\u200d👧\u200d👦 x", "🇩🇪", "©\ufe0f",
		"می\u200cخواهم", "مِ\u200cخ", "ه\u200d.ش", "क्\u200dष", "क्\u200cष", "ক্\u200cষ", "ශ්\u200dරී", "ന്\u200d", "ქართული", "日本", "한국", "é", "e\u0301",
	} {
		if got := printf("%s", Words(in)); got != in {
			t.Errorf("%+q became %+q", in, got)
		}
		if got := printf("%s", in); strings.ContainsAny(in, "\u200c\u200d\ufe0e\ufe0f") == (got == in) {
			t.Errorf("as an address %+q became %+q", in, got)
		}
		if got := block("", in); got != in+"\n" {
			t.Errorf("in a body %+q became %+q", in, got)
		}
	}
	for in, want := range map[string]string{
		"pay\u200dpal": `pay\u{200d}pal`, "pay\u200cpal": `pay\u{200c}pal`, "a\ufe0f": `a\u{fe0f}`, "1\ufe0f": `1\u{fe0f}`, "\ufe0f❤": `\u{fe0f}❤`,
		"👩\u200d": `👩\u{200d}`, "👩\u200dx": `👩\u{200d}x`, "x\u200d👩": `x\u{200d}👩`, "👩\u200d\u200d💻": `👩\u{200d}\u{200d}💻`, "\u200d": `\u{200d}`,
		"می\u200c": `می\u{200c}`, "\u200cمی": `\u{200c}می`, "می\u200cx": `می\u{200c}x`, "می\u200dx": `می\u{200d}x`, "می\u200c\u200cخ": `می\u{200c}\u{200c}خ`, "❤\ufe0f\ufe0f": `❤️\u{fe0f}`,
		"a\tb": `a\u{9}b`, "a\n": `a\u{a}`, "exe.\u202egpj": `exe.\u{202e}gpj`, "🏴\U000e0067\U000e007f": `🏴\u{e0067}\u{e007f}`, "\x1b[2J": `\u{1b}[2J`, "a\xff": `a\u{fffd}`,
		"a\u00adb": `a\u{ad}b`, "a\u034fb": `a\u{34f}b`, "\u115f": `\u{115f}`, "\u3164": `\u{3164}`, "\uffa0": `\u{ffa0}`, "\u206a": `\u{206a}`, "ᠠ\u180b": `ᠠ\u{180b}`, "ក\u17b4": `ក\u{17b4}`,
	} {
		if got := printf("%s", Words(in)); got != want {
			t.Errorf("%+q became %+q, want %+q", in, got, want)
		}
		if got := printf("%s", Words(Clean(in))); got != Clean(in) {
			t.Errorf("%+q, cleaned twice, became %+q", in, got)
		}
	}
	var table Text
	table.Row("ه\u200dش@h", Words("ه\u200dش"), 7)
	if got := string(table.buf); got != "ه\\u{200d}ش@h\tه\u200dش\t7\n" {
		t.Errorf("%+q", got)
	}
}

// What attacks on terminals look like.
func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"Zoë ☺ 日本", "Zoë ☺ 日本"},
		{"a\nFrom: boss", `a\u{a}From: boss`},
		{"a\r\nb\tc", `a\u{d}\u{a}b\u{9}c`},
		{"\x1b[2J", `\u{1b}[2J`},                       // CSI
		{"\u009b2J", `\u{9b}2J`},                       // CSI as one character
		{"\x1b]50;?\x07", `\u{1b}]50;?\u{7}`},          // OSC, CVE-2022-45063
		{"\u009d0;title\u009c", `\u{9d}0;title\u{9c}`}, // OSC and ST as one character
		{"exe.\u202egpj", `exe.\u{202e}gpj`},           // shown as exe.jpg
		{"bo\u200bb@example.org", `bo\u{200b}b@example.org`},
		{"\U000e0041", `\u{e0041}`},
		{"a\xffb\xc3", `a\u{fffd}b\u{fffd}`},
		{"\x9b2J", `\u{fffd}2J`},                     // CSI of an 8-bit terminal
		{"\xed\xa0\x80", `\u{fffd}\u{fffd}\u{fffd}`}, // a surrogate
		{"\ufffd", "\ufffd"},                         // valid, and nothing to hide
		{`\u{1b}`, `\u{1b}`},
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("Clean(%+q) = %+q, want %+q", c.in, got, c.want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { Clean("romeo@example.net/Orchard é") }); n != 0 {
		t.Errorf("Clean of a clean string allocates %v times", n)
	}
}

type (
	condition string
	address   struct{ local, domain string }
	broken    struct{ name *string }
)

func (a address) String() string { return a.local + "@" + a.domain }
func (b broken) String() string  { return *b.name }

// No type of argument, no verb and no mistake in a format gets a
// character past the cleaning.
func TestPrintf(t *testing.T) {
	const evil = "a\n\u009bb"
	const good = `a\u{a}\u{9b}b`
	for _, c := range []struct{ got, want string }{
		{printf("%s\t%d\n", "plain", 7), "plain\t7\n"},
		{printf("%s|%v", evil, evil), good + "|" + good},
		{printf("%s", condition(evil)), good},
		{printf("%s", []byte(evil)), good},
		{printf("%s", errors.New(evil)), good},
		{printf("%v", fmt.Errorf("x: %w", errors.New(evil))), "x: " + good},
		{printf("%s", address{"a", evil}), "a@" + good},
		{printf("%v", []string{"x", evil}), "[x " + good + "]"},
		{printf("%v", map[string]any{"k": []error{errors.New(evil)}}), "map[k:[" + good + "]]"},
		{printf("%+v", struct{ S string }{evil}), "{S:" + good + "}"},
		{printf("%q", "a\n"), `"a\n"`},
		{printf("%c%c", '\x1b', byte('\n')), `\u{1b}\u{a}`},
		{printf("%-4s|%4s|%*s|%.2s|%05.1f", "a", "b", 3, "c", "xyz", 2.25), "a   |   b|  c|xy|002.2"},
		{printf("%v %v %t", nil, Time{}, true), "<nil> 0001-01-01T00:00:00Z true"},
		{printf("%[2]s%[1]s", evil, "x"), "x" + good},
	} {
		if c.got != c.want {
			t.Errorf("got %+q, want %+q", c.got, c.want)
		}
	}
	for _, format := range []string{"%d", "%w", "%!", "%[3]s", "%*s", "none", "%T", "%p", "%#v", "%x"} {
		for _, arg := range []any{evil, address{"a", evil}, []string{evil}, errors.New(evil), broken{}, &evilPanic{}} {
			if got := printf(format, arg); !inLine(got) {
				t.Errorf("%s of %T gives %+q", format, arg, got)
			}
		}
	}
}

type evilPanic struct{}

func (*evilPanic) Error() string { panic("\n\u009b") }

// Printf owns its scratch space, not the slice of its caller.
func TestPrintfLeavesArguments(t *testing.T) {
	args := []any{"a\nb"}
	printf("%s", args...)
	if args[0] != "a\nb" {
		t.Errorf("the argument became %q", args[0])
	}
}

// A body cannot forge a line.
func TestBlock(t *testing.T) {
	for _, c := range []struct{ prefix, in, want string }{
		{"bob: ", "hi", "bob: hi\n"},
		{"bob: ", "", "bob: \n"},
		{"", "", "\n"},
		{"bob: ", "a\nFrom: boss", "bob: a\n    From: boss\n"},
		{"bob: ", "a\r\nb", "bob: a\n    b\n"},
		{"bob: ", "a\rb\n\rc\r\n\r\nd", "bob: a\n    b\n    \n    c\n    \n    d\n"},
		{"bob: ", "\na\r\n\n\r", "bob: \n    a\n"},
		{"bob: ", "a\tb", "bob: a\tb\n"},
		{"bob: ", "a\u0085b\u2028c\vd", `bob: a\u{85}b\u{2028}c\u{b}d` + "\n"},
		{"bob: ", "👩\u200d💻 ❤\ufe0f می\u200cخواهم", "bob: 👩\u200d💻 ❤\ufe0f می\u200cخواهم\n"},
		{"bob: ", "x\xff", `bob: x\u{fffd}` + "\n"},
		{"b\nob\t: ", "a", `b\u{a}ob\u{9}: a` + "\n"},
	} {
		if got := block(c.prefix, c.in); got != c.want {
			t.Errorf("Block(%+q, %+q) = %+q, want %+q", c.prefix, c.in, got, c.want)
		}
	}
}

func seeds(f *testing.F) {
	for _, s := range []string{"", "hi", "a\nFrom: boss", "a\r\nb\rc", "\x1b]0;x\x07", "\u009b2J", "\u202e\u200b\ufe0f", "\U000e0041\xff\xed\xa0\x80", `\u{1b}"<&>`} {
		f.Add(s)
	}
}

// What is cleaned is one line without control characters, and cleaning it again changes nothing.
func FuzzClean(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !inLine(got) || !utf8.ValidString(got) {
			t.Errorf("Clean(%+q) = %+q", s, got)
		}
		if again := Clean(got); again != got {
			t.Errorf("Clean(%+q) = %+q", got, again)
		}
		if utf8.ValidString(s) && inLine(s) && got != s {
			t.Errorf("Clean(%+q) = %+q, and there was nothing to clean", s, got)
		}
		if p := printf("%s%v", s, condition(s)); p != got+got {
			t.Errorf("Printf of %+q = %+q", s, p)
		}
	})
}

// No body can begin a line as a record does.
func FuzzBlock(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, s string) {
		got := block(s, s)
		rest, ok := strings.CutPrefix(got, Clean(s))
		if !ok || !inBody(strings.ReplaceAll(rest, "\n", "")) || !utf8.ValidString(rest) {
			t.Errorf("Block of %+q = %+q", s, got)
		}
		lines := strings.Split(rest, "\n")
		if last := len(lines) - 1; last < 1 || lines[last] != "" {
			t.Fatalf("Block of %+q = %+q: the last line is open", s, got)
		}
		for _, line := range lines[1 : len(lines)-1] {
			if !strings.HasPrefix(line, "    ") {
				t.Errorf("Block of %+q = %+q: %+q is not indented", s, got, line)
			}
		}
	})
}
