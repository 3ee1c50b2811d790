package wire

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// prolog skips the XML declaration and the white space around it. It stops at
// the '<' of the stream header.
func (r *Reader) prolog() {
	for range 2 {
		r.bound(maxLead+1, "too much white space before the stream header")
		r.findTag("text before the stream header")
		r.bound(maxDecl, "XML declaration too large")
		if r.end-r.pos < 2 {
			r.more()
		}
		if r.err != nil {
			return
		}
		switch r.buf[r.pos+1] {
		case '?':
			r.xmlDecl()
		case '!':
			r.fail(restricted, "comment or document type")
		default:
			return
		}
	}
	r.fail(restricted, "second XML declaration")
}

// xmlDecl is the declaration of XML 1.0, section 2.8.
var xmlDecl = regexp.MustCompile(strings.NewReplacer("S", `[ \t\r\n]`, "=", `[ \t\r\n]*=[ \t\r\n]*`).Replace(
	`^<\?xmlS+version=("[\w.:-]+"|'[\w.:-]+')` +
		`(?:S+encoding=("[A-Za-z][\w.-]*"|'[A-Za-z][\w.-]*'))?` +
		`(?:S+standalone=("yes"|"no"|'yes'|'no'))?S*\?>$`))

func (r *Reader) xmlDecl() {
	const start = "<?xml"
	n := 0 // the length of the declaration
	for n == 0 {
		w := r.buf[r.pos:r.end]
		if k := min(len(w), len(start)); string(w[:k]) != start[:k] || len(w) > k && is(w[k], inName) {
			r.fail(restricted, "processing instruction")
		}
		if r.err != nil {
			return
		}
		if n = bytes.Index(w, []byte("?>")) + len("?>"); n < len("?>") {
			n = 0
			r.more()
		}
	}
	m := xmlDecl.FindStringSubmatch(string(r.buf[r.pos : r.pos+n]))
	switch {
	case m == nil:
		r.fail(notWellFormed, "malformed XML declaration")
	case strings.Trim(m[1], `"'`) != "1.0":
		r.fail(restricted, "XML version other than 1.0")
	case m[2] != "" && !strings.EqualFold(strings.Trim(m[2], `"'`), "UTF-8"):
		r.fail(badEncoding, "encoding other than UTF-8") // RFC 6120, section 11.6
	case strings.Trim(m[3], `"'`) == "no":
		r.fail(restricted, "document that is not standalone")
	default:
		r.pos += n
	}
}

// findTag skips white space and stops at a '<'.
func (r *Reader) findTag(otherwise string) {
	r.space()
	if r.peek() != '<' {
		r.fail(notWellFormed, otherwise)
	}
}

// space skips white space and reports whether there was any.
func (r *Reader) space() (found bool) {
	for is(r.peek(), isSpace) {
		r.pos++
		found = true
	}
	return found
}

// expect consumes c.
func (r *Reader) expect(c byte, otherwise string) {
	if r.peek() != c {
		r.fail(notWellFormed, otherwise)
		return
	}
	r.pos++
}

// content reads text up to the next tag, and that tag.
func (r *Reader) content() {
	r.text()
	r.addText()
	if r.peek() == '/' {
		r.endTag()
	} else {
		r.startTag()
	}
}

// startTag reads a start tag after its '<' and opens the element, or skips it if it cannot
// be kept.
func (r *Reader) startTag() *etree.Element {
	if !r.keeps() {
		r.skipElement()
		return nil
	}
	start := r.offset() - 1
	name, sum := r.name()
	scope := len(r.decls)
	empty := r.attributes(scope, true)
	read := r.err == nil
	e := r.openElement(name, scope)
	if wrong, ok := r.err.(*SyntaxError); ok && read && r.strict {
		wrong.Offset = start // a fault of the tag is known only at its end
	}
	switch {
	case r.err != nil:
		return nil
	case e == nil:
		r.decls = r.decls[:scope]
		if name.full != "" {
			sum = r.sum(name.full)
		}
		if !empty {
			r.skipContent(sum)
		}
	case empty:
		r.close()
	}
	return e
}

// Limits of what is kept of a stanza that is too large.
const (
	maxTags = 64   // start tags
	maxKept = 1024 // bytes of each attribute
)

// keeps reports whether to keep the element that begins. In a stanza that is too large,
// the direct children are still kept: they have its ids.
func (r *Reader) keeps() bool {
	depth := len(r.stack)
	base := r.baseDepth()
	if depth-base > r.limits.Depth {
		r.cut(policy, fmt.Sprintf("nested too deeply (more than %d levels)", r.limits.Depth))
		return false
	}
	if r.full && (depth != base+2 || r.tags == maxTags) {
		return false
	}
	if r.full {
		r.tags++
	}
	return true
}

// baseDepth is the nesting depth of the innermost stanza that the next element is, or
// is in. Forwarded stanzas may be nested only to a limit.
func (r *Reader) baseDepth() int {
	depth := len(r.stack)
	if depth == 0 {
		return 0
	}
	if parent := &r.stack[depth-1]; !parent.forwards || depth > 3*r.limits.Depth {
		return parent.base
	}
	return depth - 1
}

// attributes reads the attributes of a start tag and its end, and keeps them if told to.
func (r *Reader) attributes(scope int, keep bool) (empty bool) {
	r.attrs = r.attrs[:0]
	for n := 0; r.err == nil; {
		spaced := r.space()
		switch c := r.peek(); {
		case c == '>':
			r.pos++
			return false
		case c == '/':
			r.pos++
			r.expect('>', "'/' inside a tag")
			return true
		case !spaced:
			r.fail(notWellFormed, "no white space before an attribute")
		case !keep:
			r.skipName()
			r.value()
		case r.attribute(scope, n < r.limits.Attrs):
			n++
		}
	}
	return false
}

// attribute reads an attribute, and keeps it if there is room or if it identifies the
// stanza. It reports whether it counts. The declaration of the default namespace does not
// count, as it depends on where the element stands.
func (r *Reader) attribute(scope int, room bool) (counts bool) {
	name, _ := r.name()
	counts = name.full != "xmlns"
	r.value()
	if counts && !room {
		r.cut(policy, fmt.Sprintf("too many attributes (more than %d)", r.limits.Attrs))
	}
	switch {
	case counts && !room && !r.identifies(name.full):
	case name.full == "" || r.full && (r.cropped || len(r.val) > maxKept):
	case !counts || name.prefix() == "xmlns":
		r.declare(name, scope)
	default:
		r.attrs = append(r.attrs, attr{name: name, value: r.storage.values.take(r.val)})
	}
	return counts
}

// identifies reports whether an attribute of the element being read is one of those that
// all stanzas have (RFC 6120, section 8.1), and the element is a stanza.
func (r *Reader) identifies(name string) bool {
	switch name {
	case "from", "to", "id", "type": // twice is not well-formed XML
		return len(r.stack) == r.baseDepth()+1 && len(r.attrs) < r.limits.Attrs+4
	}
	return false
}

// value reads what follows the name of an attribute.
func (r *Reader) value() {
	r.space()
	r.expect('=', "attribute without a value")
	r.space()
	r.quoted()
}

// quoted reads an attribute value.
func (r *Reader) quoted() {
	r.clear()
	quote, plain := r.peek(), byte(inQuot)
	switch quote {
	case '"':
	case '\'':
		plain = inApos
	default:
		r.fail(notWellFormed, "attribute value without quotes")
		return
	}
	r.pos++
	for {
		switch r.chars(plain) {
		case quote:
			r.pos++
			return
		case '&':
			r.reference()
		default:
			r.fail(notWellFormed, "'<' in an attribute value")
			return
		}
	}
}

const mismatch = "end tag that does not match"

// endTag reads an end tag after its '<' and closes the element.
func (r *Reader) endTag() {
	r.pos++ // the '/'
	name := r.stack[len(r.stack)-1].name.full
	for n := 0; n < len(name) && r.err == nil; {
		w := r.buf[r.pos:r.end]
		n = min(len(w), len(name))
		if string(w[:n]) != name[:n] {
			r.fail(notWellFormed, mismatch)
		} else if n < len(name) {
			r.more()
		}
	}
	if r.err != nil {
		return
	}
	r.pos += len(name)
	r.space()
	r.expect('>', mismatch)
	if r.err == nil {
		r.close()
	}
}

// text reads character data and CDATA sections, up to and including the '<' of
// the next tag.
func (r *Reader) text() {
	r.clear()
	for {
		switch r.chars(inText) {
		case '>':
			if bytes.HasSuffix(r.val[r.raw:], []byte("]]")) {
				r.fail(notWellFormed, "']]>' in text")
				return
			}
			r.keep(1)
		case '&':
			r.reference()
			r.raw = len(r.val)
		case '<':
			r.pos++
			if c := r.peek(); c != '!' && c != '?' {
				return
			}
			r.cdata()
			r.raw = len(r.val)
		default:
			return
		}
	}
}

// clear begins a new val.
func (r *Reader) clear() { r.val, r.raw, r.cropped = r.val[:0], 0, false }

// cdata reads a CDATA section after its '<'. RFC 6120 does not prohibit those.
func (r *Reader) cdata() {
	r.cdataStart()
	r.raw = len(r.val)
	for r.chars(inCDATA) == '>' {
		r.pos++
		if text, end := bytes.CutSuffix(r.val[r.raw:], []byte("]]")); end {
			r.val = r.val[:r.raw+len(text)]
			return
		}
		r.write([]byte{'>'})
	}
}

// cdataStart reads "![CDATA[". All else that begins with '!' or '?' is
// prohibited (RFC 6120, section 11.1).
func (r *Reader) cdataStart() {
	for _, c := range []byte("![CDATA[") {
		if r.peek() != c {
			r.fail(restricted, "comment, processing instruction or document type")
			return
		}
		r.pos++
	}
}

// chars adds characters to val up to a byte that is not of the class plain and
// has a meaning of its own there. It returns that byte without consuming it.
func (r *Reader) chars(plain byte) byte {
	for r.err == nil {
		w := r.buf[r.pos:r.end]
		n := 0
		for n < len(w) && is(w[n], plain) {
			n++
		}
		r.keep(n)
		if n == len(w) {
			r.more()
			continue
		}
		switch c := w[n]; {
		case c >= utf8.RuneSelf:
			r.runes()
		case is(c, isSpace):
			r.lineEnd(plain)
		case c < ' ':
			r.fail(notWellFormed, "control character")
		default:
			return c
		}
	}
	return 0
}

// keep moves the next n bytes to val.
func (r *Reader) keep(n int) {
	r.write(r.buf[r.pos : r.pos+n])
	r.pos += n
}

// write adds p to val. A large val quadruples: if it grew by a quarter each time, as with
// append, the garbage would be several times the limit.
func (r *Reader) write(p []byte) {
	if r.full && len(r.val) > maxKept {
		r.crop()
	}
	if n := len(r.val); n >= bufferSize && n+len(p) > cap(r.val) {
		r.val = slices.Grow(r.val, int(min(3*int64(n), r.limit-r.offset())))
	}
	r.val = append(r.val, p...)
}

// crop drops val, which is not kept, but for its last two bytes: "]]>" has to be found.
func (r *Reader) crop() {
	n := len(r.val) - 2
	r.val = append(r.val[:0], r.val[n:]...)
	r.raw, r.cropped = max(0, r.raw-n), true
}

// runes adds the characters beyond ASCII that come next to val. One cut by the
// end of the buffer waits for the rest of it.
func (r *Reader) runes() {
	w := r.buf[r.pos:r.end]
	n := 0
	for n < len(w) && w[n] >= utf8.RuneSelf && utf8.FullRune(w[n:]) {
		c, size := utf8.DecodeRune(w[n:])
		if size == 1 || !isChar(c) {
			break
		}
		n += size
	}
	r.keep(n)
	if n > 0 {
		return
	}
	switch _, size := utf8.DecodeRune(w); {
	case !utf8.FullRune(w):
		r.more()
	case size == 1:
		r.fail(badEncoding, "invalid UTF-8")
	default:
		r.fail(notWellFormed, "character that XML does not allow")
	}
}

// lineEnd normalises CR and CR LF, and all white space in attribute values
// (XML 1.0, sections 2.11 and 3.3.3).
func (r *Reader) lineEnd(plain byte) {
	r.pos++
	if r.buf[r.pos-1] == '\r' && r.peek() == '\n' {
		r.pos++
	}
	if plain == inApos || plain == inQuot {
		r.write([]byte{' '})
	} else {
		r.write([]byte{'\n'})
	}
}

// reference adds what a character or entity reference stands for to val.
func (r *Reader) reference() {
	r.pos++ // the '&'
	numeric := r.peek() == '#'
	if numeric {
		r.pos++
	}
	b, ok := r.span()
	if !ok {
		r.fail(policy, "name too long")
	}
	name := string(b)
	switch c := r.peek(); {
	case c != ';' || !numeric && !isNCName(name):
		r.fail(notWellFormed, "malformed reference")
		return
	case numeric:
		c, ok := charReference(name)
		if !ok {
			r.fail(notWellFormed, "reference to no character")
		}
		var b [utf8.UTFMax]byte
		r.write(b[:utf8.EncodeRune(b[:], c)])
	default:
		c, ok := entities[name]
		if !ok {
			r.fail(restricted, "entity reference")
		}
		r.write([]byte{c})
	}
	r.expect(';', "")
}

var entities = map[string]byte{"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\''}

// charReference returns the character that "&#" s ";" stands for.
func charReference(s string) (c rune, ok bool) {
	base := 10
	if s, ok = strings.CutPrefix(s, "x"); ok {
		base = 16
	}
	n, err := strconv.ParseUint(s, base, 31)
	return rune(n), err == nil && n <= utf8.MaxRune && isChar(rune(n))
}

// span consumes the bytes of a name; ok is false if they are too many. They are valid until
// more is called, which peeking at the byte after them does not do.
func (r *Reader) span() (name []byte, ok bool) {
	n := 0
	for r.err == nil {
		w := r.buf[r.pos:r.end]
		for n < len(w) && is(w[n], inName) {
			n++
		}
		switch {
		case n > maxName:
			return nil, false
		case n < len(w):
			r.pos += n
			return w[:n], true
		default:
			r.more()
		}
	}
	return nil, true
}
