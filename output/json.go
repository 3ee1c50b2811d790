package output

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendJSON appends v to dst as encoding/json has it, in one line without the
// line break, with two differences. HTML is not escaped. DEL, C1 controls,
// bidi controls, line and paragraph separators, U+FEFF, U+FFF9..U+FFFB and tag
// characters are, as \uXXXX, so that a terminal showing the line is safe. The
// result is valid UTF-8 whatever v holds: a byte that is not becomes U+FFFD.
// A value JSON cannot express is an error, and dst is returned as it was.
func AppendJSON(dst []byte, v any) ([]byte, error) {
	s := jsonSink(dst)
	if err := newEncoder(&s).Encode(v); err != nil {
		return dst, err
	}
	return s[:len(s)-1], nil // Encode ends the line
}

func newEncoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

// jsonSink collects the JSON written to it. Outside ASCII JSON has nothing but
// the contents of strings, so what encoding/json leaves raw can be escaped
// without looking at the syntax. Most lines are ASCII and only copied.
type jsonSink []byte

func (s *jsonSink) Write(p []byte) (int, error) {
	dst, done := *s, 0
	for i := 0; i < len(p); {
		if p[i] < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(p[i:])
		if hazardous(r, n, invisible) {
			dst = appendEscape(append(dst, p[done:i]...), r)
			done = i + n
		}
		i += n
	}
	*s = append(dst, p[done:]...)
	return len(p), nil
}

// appendEscape appends r as RFC 8259, section 7 escapes it: beyond the BMP as
// a surrogate pair.
func appendEscape(dst []byte, r rune) []byte {
	if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
		return fmt.Appendf(dst, `\u%04x\u%04x`, hi, lo)
	}
	return fmt.Appendf(dst, `\u%04x`, r)
}

// Milliseconds is a duration as results show it: to the microsecond.
func Milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}

// Time is an instant as results show it: RFC 3339 in UTC, with exactly three decimals
// in JSON and none in text, truncated and not rounded. RFC 3339 covers the years 0 to
// 9999; other instants show as the nearest one inside.
type Time time.Time

// String returns the text form, as in 2026-11-20T21:41:28Z.
func (t Time) String() string { return t.shown().Format(time.RFC3339) }

// MarshalText returns the JSON form, as in 2026-11-20T21:41:28.123Z. It never
// fails. (As a MarshalJSON it would cost twice: encoding/json parses those.)
func (t Time) MarshalText() ([]byte, error) {
	u := t.shown()
	b := u.AppendFormat(make([]byte, 0, len("2026-11-20T21:41:28.123Z")), time.RFC3339)
	ms := u.Nanosecond() / 1e6
	return append(b[:len(b)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z'), nil
}

// shown returns t in UTC, within the years RFC 3339 can express.
func (t Time) shown() time.Time {
	u := time.Time(t).UTC()
	switch y := u.Year(); {
	case y < 0:
		return time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	case y > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
	}
	return u
}
