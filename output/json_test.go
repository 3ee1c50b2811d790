package output

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// encode fails the test unless v becomes one line of valid JSON in valid UTF-8
// that is safe to show.
func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := AppendJSON(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); !json.Valid(b) || !utf8.Valid(b) || strings.ContainsFunc(s, hostile.has) || strings.ContainsAny(s, "\t\n") {
		t.Fatalf("AppendJSON(%+q) = %+q", v, s)
	}
	return string(b)
}

// What is escaped, and what is not: see AppendJSON.
func TestAppendJSON(t *testing.T) {
	for _, c := range []struct {
		in   any
		want string
	}{
		{"<a href='x'>&</a>", `"<a href='x'>&</a>"`},
		{"Zoë 👩\u200d💻 ❤\ufe0f", "\"Zoë 👩\u200d💻 ❤\ufe0f\""},
		{"\x00\t\n\x1b", `"\u0000\t\n\u001b"`},
		{"\x7f\u0085\u009b", `"\u007f\u0085\u009b"`},
		{"\u061c\u200e\u200f\u202a\u202e\u2066\u2069", `"\u061c\u200e\u200f\u202a\u202e\u2066\u2069"`},
		{"\u2028\u2029\ufeff\ufff9\ufffb", `"\u2028\u2029\ufeff\ufff9\ufffb"`},
		{"\U000e0000\U000e007f\U000e0080", `"\udb40\udc00\udb40\udc7f` + "\U000e0080\""},
		{"a\xff\xc3", `"a\ufffd\ufffd"`},
		{"\ufffd", "\"\ufffd\""},
		{map[string]string{"k\u202e": "\u009b", "a": ""}, `{"a":"","k\u202e":"\u009b"}`},
		{json.RawMessage("{ \"a\":\n\"\xff\u0085\" }"), `{"a":"\ufffd\u0085"}`},
	} {
		if got := encode(t, c.in); got != c.want {
			t.Errorf("AppendJSON(%+q) = %s, want %s", c.in, got, c.want)
		}
	}
}

// Every character of the BMP and those around the tags come back as they were.
func TestAppendJSONEveryCharacter(t *testing.T) {
	for lo := rune(0); lo < 0xe0400; lo += 64 {
		if lo == 0x10000 {
			lo = 0xdff00 // nothing to escape between the two
		}
		var in strings.Builder
		for r := lo; r < lo+64; r++ {
			in.WriteString("b" + string(r) + `\`)
		}
		var back string
		if err := json.Unmarshal([]byte(encode(t, in.String())), &back); err != nil || back != in.String() {
			t.Fatalf("%+q came back as %+q, %v", in.String(), back, err)
		}
	}
}

func TestAppendJSONKeepsDst(t *testing.T) {
	got, err := AppendJSON([]byte("x "), 1)
	if string(got) != "x 1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err = AppendJSON([]byte("x"), math.NaN()); string(got) != "x" || err == nil {
		t.Errorf("NaN: got %q, %v", got, err)
	}
}

func TestTime(t *testing.T) {
	zone := time.FixedZone("", 2*60*60)
	for _, c := range []struct {
		in         time.Time
		json, text string
	}{
		{time.Date(2026, 11, 20, 23, 41, 28, 123_999_999, zone), "2026-11-20T21:41:28.123Z", "2026-11-20T21:41:28Z"},
		{time.Date(2026, 11, 20, 21, 41, 28, 0, time.UTC), "2026-11-20T21:41:28.000Z", "2026-11-20T21:41:28Z"},
		{time.Time{}, "0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00Z"},
		{time.Date(-5, 1, 1, 0, 0, 0, 5e6, time.UTC), "0000-01-01T00:00:00.000Z", "0000-01-01T00:00:00Z"},
		{time.Date(0, 1, 1, 0, 0, 0, 0, zone), "0000-01-01T00:00:00.000Z", "0000-01-01T00:00:00Z"},
		{time.Date(123456, 1, 1, 0, 0, 0, 0, time.UTC), "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59Z"},
		{time.Unix(math.MaxInt64, 0), "", ""},
		{time.Unix(math.MinInt64, 0), "", ""},
	} {
		got := encode(t, Time(c.in))
		if c.json != "" && got != `"`+c.json+`"` || len(got) != len(`"2026-11-20T21:41:28.123Z"`) {
			t.Errorf("JSON of %v is %s, want %q", c.in, got, c.json)
		}
		text := printf("%s", Time(c.in))
		if c.text != "" && text != c.text || len(text) != len("2026-11-20T21:41:28Z") {
			t.Errorf("text of %v is %q, want %q", c.in, text, c.text)
		}
	}
}

// A JSON string is one line, and comes back as it was.
func FuzzJSON(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, s string) {
		type pair struct{ A, B string }
		in := pair{s, "x" + s + `"`}
		var back pair
		if err := json.Unmarshal([]byte(encode(t, in)), &back); err != nil {
			t.Fatal(err)
		}
		want := pair{string([]rune(in.A)), string([]rune(in.B))} // invalid bytes are U+FFFD each
		if back != want {
			t.Errorf("%+q came back as %+q", want, back)
		}
	})
}
