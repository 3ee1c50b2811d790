package wire

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The classes of text in which a byte may occur without a closer look.
const (
	inText  = 1 << iota // character data
	inCDATA             // a CDATA section
	inApos              // an attribute value in '
	inQuot              // an attribute value in "
	inName              // a name, if the whole is one
	isSpace             // white space
	outText             // text we write
	outAttr             // an attribute value we write
)

var classes = makeClasses()

func is(c, class byte) bool { return classes[c]&class != 0 }

func makeClasses() (t [256]byte) {
	set := func(class byte, except string) {
		for c := byte(' '); c < utf8.RuneSelf; c++ {
			if strings.IndexByte(except, c) < 0 {
				t[c] |= class
			}
		}
	}
	set(inText, "<&>")
	set(inCDATA, ">")
	set(inApos, "<&'")
	set(inQuot, `<&"`)
	set(outText|outAttr, `<>&"'`)
	for _, c := range "\t\n" {
		t[c] |= inText | inCDATA | outText
	}
	for _, c := range " \t\r\n" {
		t[c] |= isSpace
	}
	for c := range t {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if letter || '0' <= c && c <= '9' || strings.IndexByte("_:-.", byte(c)) >= 0 || c >= utf8.RuneSelf {
			t[c] |= inName
		}
	}
	return t
}

// isChar is the Char production of XML 1.0, for decoded UTF-8.
func isChar(c rune) bool {
	return c >= ' ' && c != 0xFFFE && c != 0xFFFF && (c < 0xD800 || c > 0xDFFF) ||
		c == '\t' || c == '\n' || c == '\r'
}

// isNCName reports whether s is a name without a colon, as of the fifth
// edition of XML 1.0.
func isNCName(s string) bool {
	for i, c := range s {
		if !isNameStart(c) && (i == 0 || !isNameExtra(c)) {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

func isNameStart(c rune) bool {
	if c < utf8.RuneSelf {
		return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_'
	}
	return 0xC0 <= c && c <= 0x2FF && c != 0xD7 && c != 0xF7 ||
		0x370 <= c && c <= 0x1FFF && c != 0x37E ||
		0x200C <= c && c <= 0x200D ||
		0x2070 <= c && c <= 0x218F ||
		0x2C00 <= c && c <= 0x2FEF ||
		0x3001 <= c && c <= 0xD7FF ||
		0xF900 <= c && c <= 0xFFFD && (c < 0xFDD0 || c > 0xFDEF) ||
		0x10000 <= c && c <= 0xEFFFF
}

// isNameExtra holds for what a name contains but does not start with.
func isNameExtra(c rune) bool {
	return '0' <= c && c <= '9' || c == '-' || c == '.' || c == 0xB7 ||
		0x300 <= c && c <= 0x36F || 0x203F <= c && c <= 0x2040
}

// ValidText reports why s cannot be sent as text: it is not UTF-8, or contains
// a character that XML 1.0 has no way to express. The error names the
// character and its offset in bytes. Such a text has to be refused, not
// repaired: the user wants to send this text and no other.
func ValidText(s string) error {
	for i, c := range s {
		if c == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return fmt.Errorf("invalid UTF-8: 0x%02X at byte %d", s[i], i)
		}
		if !isChar(c) {
			return fmt.Errorf("character %U at byte %d cannot be sent in XML", c, i)
		}
	}
	return nil
}
