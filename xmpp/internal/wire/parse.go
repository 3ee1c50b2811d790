package wire

import (
	"bytes"
	"io"

	"github.com/beevik/etree"
)

// Parse reads b, which is one element with nothing but white space around it, as if it
// was a first-level child of a stream whose default namespace is contentNS. The element
// is as canonical as those of a Reader.
//
// It is for XML written by hand, so it is stricter than a Reader: what a Reader would
// leave out, such as one attribute too many, is an error. Every error is a
// *SyntaxError. Limits.End and Limits.Total do not matter.
func Parse(b []byte, contentNS string, l Limits) (*etree.Element, error) {
	start := skipSpace(b, 0)
	if start == len(b) {
		return nil, &SyntaxError{notWellFormed, "no element", int64(start)}
	}
	if err := outside(b, start); err != nil {
		return nil, err
	}
	r := NewReader(bytes.NewReader(b), Limits{Stanza: l.Stanza, Depth: l.Depth, Attrs: l.Attrs, Nodes: l.Nodes})
	r.strict, r.started, r.contentNS = true, true, contentNS
	r.decls = append(r.decls, decl{key: "xmlns", uri: contentNS})
	r.stack = append(r.stack, frame{name: qname{colon: -1}, scope: len(r.decls)}) // the stream
	e, size, err := r.Next()
	if err == io.ErrUnexpectedEOF {
		err = &SyntaxError{notWellFormed, "the element has no end", int64(len(b))}
	}
	if err != nil {
		return nil, err
	}
	end := skipSpace(b, start+int(size))
	if end == len(b) {
		return e, nil
	}
	if err := outside(b, end); err != nil {
		return nil, err
	}
	return nil, &SyntaxError{notWellFormed, "more than one element", int64(end)}
}

// skipSpace returns the index of the first byte in b, from i on, that is not white
// space.
func skipSpace(b []byte, i int) int {
	for i < len(b) && is(b[i], isSpace) {
		i++
	}
	return i
}

// outside returns the error of what is not a start tag in b at i, outside of the element.
func outside(b []byte, i int) error {
	rest := b[i:]
	switch {
	case bytes.HasPrefix(rest, []byte("<!")), bytes.HasPrefix(rest, []byte("<?")):
		return &SyntaxError{restricted, "comment, processing instruction, XML declaration or document type", int64(i)}
	case bytes.HasPrefix(rest, []byte("</")):
		return &SyntaxError{notWellFormed, "end tag without a start tag", int64(i)}
	case rest[0] != '<':
		return &SyntaxError{notWellFormed, "text outside of the element", int64(i)}
	}
	return nil
}
