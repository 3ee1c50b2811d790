package output

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text receives the text form of a record. Formats are trusted, arguments are
// cleaned, as with the placeholders of SQL. The zero value is empty and ready.
type Text struct {
	buf  []byte
	args []any // scratch of Printf

	terminal bool  // rows are aligned
	inTable  bool  // the last line is a row
	table    int   // where the rows not yet aligned begin in buf
	columns  []int // widths of the columns of the table
}

// Printf appends format as fmt.Printf would, every argument cleaned as by
// Clean: only the format can break the line or put a tab. That holds for all
// types, through nested values, String and Error methods; the one exception
// is an int, which may be a width and is passed on as it is: no %c for those.
func (t *Text) Printf(format string, args ...any) {
	if false {
		_ = fmt.Sprintf(format, args...) // makes go vet check the callers' formats
	}
	t.endTable()
	t.args = t.args[:0]
	for _, arg := range args {
		t.args = append(t.args, guard(arg))
	}
	t.buf = fmt.Appendf(t.buf, format, t.args...)
	clear(t.args)
}

// Block appends prefix, cleaned as by Clean, then s with its line breaks kept,
// be they CRLF, CR or LF. It ends with exactly one: those at the end of s are
// dropped. All lines of s but the first are indented by four spaces, so that
// none can pass for the beginning of a record. Kept as well are tabs and what
// emoji and several scripts are joined with: U+200C, U+200D, U+FE0E, U+FE0F.
func (t *Text) Block(prefix, s string) {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	s = strings.TrimRight(s, "\n")
	t.endTable()
	t.buf = appendClean(t.buf, prefix, plain)
	indent := ""
	for line := range strings.SplitSeq(s, "\n") {
		t.buf = append(t.buf, indent...)
		t.buf = appendClean(t.buf, line, textual)
		t.buf = append(t.buf, '\n')
		indent = "    "
	}
}

// endLine breaks the line if it is open.
func (t *Text) endLine() {
	if n := len(t.buf); n > 0 && t.buf[n-1] != '\n' {
		t.buf = append(t.buf, '\n')
	}
}

// guard returns arg as fmt may have it: unchanged if it is harmless with every
// verb, otherwise guarded.
func guard(arg any) any {
	switch v := arg.(type) {
	case nil, bool, int, float64:
		return arg
	case string:
		if dirtyAt(v, plain) < 0 {
			return arg
		}
	case Time:
		return v.String()
	case Words:
		return string(appendClean(nil, string(v), phrase))
	}
	return guarded(func() any { return arg })
}

// Words are text that a person has written, such as a subject or a name, as an argument
// or a cell. They are cleaned like all others, but keep the characters that join their
// script or emoji. Addresses are not Words: two of them could look alike.
type Words string

// guarded is an argument that is cleaned after fmt has formatted it, whatever
// its type. It is a function because fmt bypasses Format to report a verb like
// %w, and would print the fields of a struct raw.
type guarded func() any

// Format implements fmt.Formatter.
func (g guarded) Format(f fmt.State, verb rune) {
	io.WriteString(f, Clean(fmt.Sprintf(fmt.FormatString(f, verb), g())))
}

// Clean returns s fit for the middle of a line on a terminal: control
// characters, line breaks and tabs among them, bidi controls, separators, tag
// characters and all others without width show as \u{..} with their code in
// hexadecimal, a byte that is not UTF-8 as \u{fffd}. Such a sequence typed by the
// sender looks the same: this form is for people, JSON is the exact one. So
// cleaning twice changes nothing.
func Clean(s string) string {
	if dirtyAt(s, plain) < 0 {
		return s
	}
	return string(appendClean(nil, s, plain))
}

// OneLine writes whatever a terminal could take amiss, line breaks among it, as
// character references, so that the XML stays what it was.
func OneLine(xml []byte) string {
	var b strings.Builder
	for _, r := range string(xml) {
		if c := string(r); r < ' ' || r > '~' && Clean(c) != c {
			fmt.Fprintf(&b, "&#x%X;", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func appendClean(dst []byte, s string, keep class) []byte {
	for {
		i := dirtyAt(s, keep)
		if i < 0 {
			return append(dst, s...)
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		dst = append(dst, s[:i]...)
		dst = append(dst, `\u{`...)
		dst = strconv.AppendInt(dst, int64(r), 16)
		dst = append(dst, '}')
		s = s[i+n:]
	}
}

// dirtyAt returns the index of the first character of s beyond keep, or -1.
func dirtyAt(s string, keep class) int {
	for i := 0; i < len(s); {
		if ' ' <= s[i] && s[i] < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if hazardous(r, n, keep) && !(keep == phrase && joins(s[:i], r, s[i+n:])) {
			return i
		}
		i += n
	}
	return -1
}

// hazardous reports whether r, decoded from n bytes, must be escaped where
// characters up to keep may stand.
func hazardous(r rune, n int, keep class) bool {
	return classify(r) > keep || r == utf8.RuneError && n == 1
}

// class orders characters by where they may stand as they are.
type class int

const (
	plain     class = iota // anywhere
	phrase                 // in Words, between two characters that it joins
	textual                // in a body, where text is written with them
	invisible              // only in JSON: in text two different names could look the same
	control                // nowhere: it moves the cursor, the direction, or text out of sight
)

func classify(r rune) class {
	switch {
	case r == '\t', r == 0x200c, r == 0x200d, // ZWNJ, ZWJ
		r == 0xfe0e, r == 0xfe0f: // VS-15 and VS-16: text and emoji style
		return textual
	case r < 0x20, 0x7f <= r && r <= 0x9f, // C0, DEL, C1
		r == 0x061c, r == 0x200e, r == 0x200f, // ALM, LRM, RLM
		0x2028 <= r && r <= 0x202e,              // line and paragraph separator, embeddings and overrides
		0x2066 <= r && r <= 0x2069,              // isolates
		r == 0xfeff, 0xfff9 <= r && r <= 0xfffb, // byte order mark, interlinear annotation
		0xe0000 <= r && r <= 0xe007f: // tags
		return control
	case ignorable(r):
		return invisible
	}
	return plain
}
