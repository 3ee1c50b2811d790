package wire

import (
	"fmt"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// Append appends e to dst as XML and returns the result. Names, prefixes and
// namespace declarations are written as they stand in e; reading the result
// gives back any element that came out of a Reader. It leaves nothing for the
// peer to normalise: all five special characters, CR, and in attributes TAB
// and LF are written as references.
//
// It refuses invalid names, text that ValidText refuses, and tokens other than
// elements and text, and then returns dst as it was. It does not check that
// prefixes are declared.
func Append(dst []byte, e *etree.Element) ([]byte, error) {
	type cursor struct {
		e    *etree.Element
		next int // index of the child to be written next
	}
	out, err := appendStartTag(dst, e)
	if err != nil {
		return dst, err
	}
	// A stack instead of recursion: depth is the peer's choice.
	stack := append(make([]cursor, 0, 32), cursor{e: e})
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.next == len(top.e.Child) {
			out = appendEndTag(out, top.e)
			stack = stack[:len(stack)-1]
			continue
		}
		child := top.e.Child[top.next]
		top.next++
		switch child := child.(type) {
		case *etree.Element:
			out, err = appendStartTag(out, child)
			stack = append(stack, cursor{e: child})
		case *etree.CharData:
			if out, err = appendEscaped(out, child.Data, outText); err != nil {
				err = fmt.Errorf("text of <%s>: %w", top.e.Tag, err)
			}
		default:
			err = fmt.Errorf("<%s> contains a %T, which XMPP does not allow", top.e.Tag, child)
		}
		if err != nil {
			return dst, err
		}
	}
	return out, nil
}

func appendStartTag(dst []byte, e *etree.Element) ([]byte, error) {
	dst, err := appendName(append(dst, '<'), e.Space, e.Tag)
	if err != nil {
		return dst, err
	}
	for i := range e.Attr {
		a := &e.Attr[i]
		if dst, err = appendName(append(dst, ' '), a.Space, a.Key); err != nil {
			return dst, err
		}
		if dst, err = appendEscaped(append(dst, '=', '"'), a.Value, outAttr); err != nil {
			return dst, fmt.Errorf("attribute %s of <%s>: %w", a.Key, e.Tag, err)
		}
		dst = append(dst, '"')
	}
	if len(e.Child) == 0 {
		dst = append(dst, '/')
	}
	return append(dst, '>'), nil
}

// appendEndTag completes what appendStartTag, which closes an element without
// children itself, has begun.
func appendEndTag(dst []byte, e *etree.Element) []byte {
	if len(e.Child) == 0 {
		return dst
	}
	dst = append(dst, '<', '/')
	if e.Space != "" {
		dst = append(append(dst, e.Space...), ':')
	}
	return append(append(dst, e.Tag...), '>')
}

// appendName checks every name, for a name cannot be escaped: etree writes
// whatever it is given.
func appendName(dst []byte, space, local string) ([]byte, error) {
	if space != "" {
		if !isNCName(space) {
			return dst, fmt.Errorf("%q is not an XML prefix", space)
		}
		dst = append(append(dst, space...), ':')
	}
	if !isNCName(local) {
		return dst, fmt.Errorf("%q is not an XML name", local)
	}
	return append(dst, local...), nil
}

func appendEscaped(dst []byte, s string, plain byte) ([]byte, error) {
	done := 0 // s[:done] is written
	for i := 0; i < len(s); {
		c, size := rune(s[i]), 1
		if is(s[i], plain) {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRuneInString(s[i:])
		}
		if !isChar(c) || c == utf8.RuneError && size == 1 {
			return dst, ValidText(s)
		}
		if c < utf8.RuneSelf {
			dst = append(append(dst, s[done:i]...), references[c]...)
			done = i + 1
		}
		i += size
	}
	return append(dst, s[done:]...), nil
}

// references are the replacements for characters that cannot be written as themselves.
var references = [utf8.RuneSelf]string{
	'&': "&amp;", '<': "&lt;", '>': "&gt;", '"': "&quot;", '\'': "&apos;",
	'\t': "&#x9;", '\n': "&#xA;", '\r': "&#xD;",
}
