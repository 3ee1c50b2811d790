package wire

import "hash/maphash"

// An element that cannot be kept is skipped. It has to be well-formed, and the reader
// remembers only what its end tags have to match.

// maxGhosts is how many open elements are told apart. The end tags of elements nested deeper
// are only counted.
const maxGhosts = 1 << 16

// ghosts are the open elements of one that is being skipped.
type ghosts struct {
	seed maphash.Seed
	sums []uint64 // of their names
	more int      // beyond those
}

func (g *ghosts) push(sum uint64) {
	if len(g.sums) < maxGhosts {
		g.sums = append(g.sums, sum)
	} else {
		g.more++
	}
}

// pop takes out the innermost element, and reports whether that can be its name.
func (g *ghosts) pop(sum uint64) bool {
	if g.more > 0 {
		g.more--
		return true
	}
	last := len(g.sums) - 1
	want := g.sums[last]
	g.sums = g.sums[:last]
	return sum == want
}

// sum is a hash of a name.
func (r *Reader) sum(name string) uint64 { return maphash.String(r.skipped.seed, name) }

// skipElement skips an element after the '<' of its start tag.
func (r *Reader) skipElement() {
	if sum, empty := r.skipStart(); !empty {
		r.skipContent(sum)
	}
}

// skipContent skips what is in an element, and its end tag.
func (r *Reader) skipContent(sum uint64) {
	r.skipped.sums, r.skipped.more = append(r.skipped.sums[:0], sum), 0
	for len(r.skipped.sums) > 0 && r.err == nil {
		r.text()
		if r.peek() == '/' {
			r.pos++
			r.skipEnd()
		} else if sum, empty := r.skipStart(); !empty {
			r.skipped.push(sum)
		}
	}
}

func (r *Reader) skipStart() (sum uint64, empty bool) {
	sum = r.skipName()
	return sum, r.attributes(len(r.decls), false)
}

func (r *Reader) skipEnd() {
	sum := r.skipName()
	r.space()
	r.expect('>', mismatch)
	if r.err == nil && !r.skipped.pop(sum) {
		r.fail(notWellFormed, mismatch)
	}
}

// skipName consumes a name of any length and returns its sum.
func (r *Reader) skipName() uint64 {
	var h maphash.Hash
	h.SetSeed(r.skipped.seed)
	found := false
	for is(r.peek(), inName) {
		w := r.buf[r.pos:r.end]
		n := 0
		for n < len(w) && is(w[n], inName) {
			n++
		}
		h.Write(w[:n]) // it never fails
		r.pos += n
		found = true
	}
	if !found {
		r.fail(notWellFormed, "malformed name")
	}
	return h.Sum64()
}
