package wire

import (
	"strings"

	"github.com/beevik/etree"
)

// The bounds of one allocation that several share.
const (
	maxChunk = 4096 // bytes of strings
	maxSlab  = 64   // items
)

// A storage allocates the parts of a stanza together. Stanzas never share an
// allocation, so that keeping one does not keep its neighbours alive. The stanzas of a
// stream resemble each other, so the first allocation is as large as the last stanza.
//
// etree keeps links of its own in what it is given: attributes have to be made
// by CreateAttr, in the room provided here, and children added by AddChild.
type storage struct {
	values   arena
	elements slab[etree.Element]
	texts    slab[etree.CharData]
	attrs    slab[etree.Attr]
	children slab[etree.Token]
}

func (s *storage) reset() {
	s.values = arena{hint: s.values.used}
	s.elements = slab[etree.Element]{hint: s.elements.used}
	s.texts = slab[etree.CharData]{hint: s.texts.used}
	s.attrs = slab[etree.Attr]{hint: s.attrs.used}
	s.children = slab[etree.Token]{hint: s.children.used}
}

// An arena allocates strings.
type arena struct {
	b          strings.Builder
	used, hint int // bytes taken, and those the last stanza took
}

// take returns p as a string.
func (a *arena) take(p []byte) string {
	a.used += len(p)
	if len(p) > maxChunk/4 {
		return string(p)
	}
	if len(p) > a.b.Cap()-a.b.Len() {
		a.b = strings.Builder{}
		a.b.Grow(min(max(a.used, a.hint), maxChunk))
	}
	start := a.b.Len()
	a.b.Write(p)
	return a.b.String()[start:]
}

// A slab allocates slices of T.
type slab[T any] struct {
	free       []T
	used, hint int // items taken, and those the last stanza took
}

// take returns n zero items. Appending to them moves them, so no neighbour is overwritten.
func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		s.free = make([]T, max(n, min(max(s.used, s.hint-s.used), maxSlab)))
	}
	s.used += n
	p := s.free[:n:n]
	s.free = s.free[n:]
	return p
}
