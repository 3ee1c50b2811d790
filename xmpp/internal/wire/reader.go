package wire

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"

	"github.com/beevik/etree"
)

// Fixed limits, in bytes.
const (
	maxName    = 256  // a qualified name, or the name of a namespace
	maxDecl    = 256  // the XML declaration
	maxLead    = 1024 // white space before the stream header
	bufferSize = 16 << 10
)

// The stream errors of RFC 6120, section 4.9.3 that a reader finds.
const (
	badPrefix     = "bad-namespace-prefix"
	notWellFormed = "not-well-formed"
	policy        = "policy-violation"
	restricted    = "restricted-xml"
	badEncoding   = "unsupported-encoding"
)

// Limits bound what a peer can make a Reader hold. They are counted while
// reading. A stanza that exceeds one is read to its end and pruned: see
// Reader.Flaw. A stream header, or a stream, that exceeds one fails at the
// first byte too many. A field that is not positive takes its default.
//
// Besides, names and namespace names have at most 256 bytes, and at most 1 KiB
// of white space comes before the stream header.
type Limits struct {
	// Stanza is the size in bytes of a first-level child of the stream with
	// its tags, and of the stream header. Default: 64 KiB.
	Stanza int64
	// End is the size in bytes at which reading past a stanza that is too large
	// is given up: the stream fails. Default: Stanza.
	End int64
	// Total is the size in bytes of the whole stream so far, white space
	// between stanzas included. Default: unlimited.
	Total int64
	// Depth is how deep elements are nested; a stanza has depth 1, and so has a
	// stanza that is forwarded in another (XEP-0297): what is accepted by itself
	// is accepted in a carbon copy and in an archive. Default: 32.
	Depth int
	// Attrs is the number of attributes of an element, declarations of prefixes
	// included. That of the default namespace does not count, as it depends on
	// where the element stands. Default: 64.
	Attrs int
	// Nodes is the number of parts a stanza becomes: a text or attribute is
	// one, an element is two, and an attribute with a prefix is two, for it
	// needs a declaration. A part takes about 60 bytes, so this bounds the
	// memory of the many small elements that fit into few bytes.
	// Default: 262144.
	Nodes int
}

func (l Limits) withDefaults() Limits {
	l.Stanza = cmp.Or(max(l.Stanza, 0), 64<<10)
	return Limits{
		Stanza: l.Stanza,
		End:    max(l.End, l.Stanza),
		Total:  cmp.Or(max(l.Total, 0), math.MaxInt64),
		Depth:  cmp.Or(max(l.Depth, 0), 32),
		Attrs:  cmp.Or(max(l.Attrs, 0), 64),
		Nodes:  cmp.Or(max(l.Nodes, 0), 1<<18),
	}
}

// A SyntaxError says that the peer sent what a stream must not contain.
type SyntaxError struct {
	Condition string // the stream error to answer with (RFC 6120, section 4.9.3)
	Reason    string // what is wrong, in our words: never in the peer's
	Offset    int64  // where, in bytes from the start of the stream
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at byte %d (%s)", e.Reason, e.Offset, e.Condition)
}

// A Reader reads one XML stream: its header, then its first-level children.
// It never asks the connection for more bytes than it needs to return. After
// an error it returns that error for ever. It must not be used concurrently.
//
// Elements come out canonical. Their names have no prefix; an xmlns attribute,
// always the first, stands where the namespace is not the parent's, and on
// every first-level child, which can therefore be stored, compared, printed
// and parsed out of context. Attributes in a namespace keep their prefix, and
// their element declares it; declarations nobody uses are gone. Adjacent text
// and CDATA are one CharData.
//
// A part that is well-formed but over a limit, or that has names which XML
// namespaces do not allow, does not end the stream: a server relays what others
// wrote. The Reader leaves that part out and reads the rest as usual, and Flaw
// tells why the stanza is not whole. The stanza still has its sender and its id.
//
// Inside, the first error sticks: it ends the readable part of the buffer, and
// every method returns zero values from then on. A NUL byte is never legal, so
// peek needs no second result to report the end.
type Reader struct {
	src     io.Reader
	readErr error // error of src, to be reported once its bytes are used up
	err     error // the final error
	limits  Limits

	// buf[pos:end] can be read, buf[end:filled] is beyond the limit.
	buf              []byte
	pos, end, filled int
	base             int64  // offset of buf[0] in the stream
	start            int64  // offset of the stanza
	limit            int64  // offset of the first byte too many
	cause            string // why it is; "" for Limits.Stanza
	soft             bool   // only for what is kept: the stanza may continue

	strict    bool   // nothing is left out: see Parse
	started   bool   // the header has been read
	contentNS string // its default namespace
	lang      string // its xml:lang

	stack []frame // open elements, the stream first
	decls []decl  // namespace declarations in force, the innermost last
	attrs []attr  // the attributes of the start tag being read
	val   []byte  // the text or attribute value being read
	raw   int     // where in val the characters begin that stood as they are

	names   [slots]qname
	uris    [slots]string
	nodes   int // of this stanza, so far
	storage storage

	flaw      string // why the stanza is not whole
	violation string // the stream error that this would be
	full      bool   // nothing more of it is kept, but some start tags
	tags      int    // how many of those were kept
	cropped   bool   // val is not whole
	skipped   ghosts // elements that are being skipped
}

// NewReader returns a Reader of the stream that src delivers.
func NewReader(src io.Reader, l Limits) *Reader {
	return &Reader{
		src:    src,
		limits: l.withDefaults(),
		buf:    make([]byte, bufferSize),
		decls:  []decl{{key: "xmlns:xml", prefix: "xml", uri: nsXML}},

		skipped: ghosts{seed: maphash.MakeSeed()},
	}
}

// SetLimits changes the limits from the next stanza on.
func (r *Reader) SetLimits(l Limits) { r.limits = l.withDefaults() }

// ContentNS returns the default namespace that the stream header declared,
// such as "jabber:client". It is empty if there was none, and before Header;
// it is the stream's own if the stream's name has no prefix.
func (r *Reader) ContentNS() string { return r.contentNS }

// Buffered returns the number of bytes read from the connection and not used
// yet. If there are any when TLS takes over, someone has put plaintext in
// front of the handshake.
func (r *Reader) Buffered() int { return r.filled - r.pos }

// Parts returns how many parts, as Limits.Nodes counts them, the stanza has that
// Next returned last.
func (r *Reader) Parts() int { return r.nodes }

// Flaw returns why the stanza that Next returned last is not whole, or "": a
// phrase such as "nested too deeply (more than 32 levels)". All parts within the
// limits are left. If the stanza is too large, these are the parts before the
// limit, and the start tags of its later children.
func (r *Reader) Flaw() string { return r.flaw }

// Header reads the start tag of the stream, and the XML declaration if there
// is one. It has to be called once, before Next, and has the same errors
// except io.EOF.
//
// The xmlns attribute of the element is its own namespace, as everywhere; the
// default namespace it declares is ContentNS.
func (r *Reader) Header() (*etree.Element, error) {
	if r.started {
		r.die(errors.New("wire: Header called twice"))
	}
	r.started = true
	r.prolog()
	r.begin()
	r.expect('<', "")
	e := r.startTag()
	if r.err != nil {
		return nil, r.dead()
	}
	for _, a := range e.Attr {
		if a.Space == "xml" && a.Key == "lang" {
			r.lang = a.Value
		}
	}
	if len(r.lang) > maxName {
		r.fail(policy, "language too long") // every stanza is going to repeat it
		return nil, r.dead()
	}
	return e, nil
}

// Next returns the next first-level child of the stream and its size in bytes.
// White space before it is skipped and does not count.
//
// The error is io.EOF after the end tag of the stream, io.ErrUnexpectedEOF if
// the connection ended without it, a *SyntaxError if the peer sent what it
// must not, and otherwise the one the connection returned.
func (r *Reader) Next() (*etree.Element, int64, error) {
	if !r.started {
		r.die(errors.New("wire: Next called before Header"))
	} else if len(r.stack) == 0 {
		r.die(io.EOF) // the header was an empty element
	}
	r.soft = false
	r.bound(math.MaxInt64, "")
	r.findTag("text between stanzas")
	start := r.offset()
	r.begin()
	r.expect('<', "")
	e := r.child()
	for len(r.stack) > 1 && r.err == nil {
		r.content()
	}
	if r.err != nil {
		return nil, 0, r.dead()
	}
	return e, r.offset() - start, nil
}

// child reads what begins a first-level child, or ends the stream.
func (r *Reader) child() *etree.Element {
	switch r.peek() {
	case '/':
		r.endTag()
		r.die(io.EOF)
		return nil
	case '!', '?':
		r.cdataStart()
		r.fail(notWellFormed, "text between stanzas")
		return nil
	}
	return r.startTag()
}

// begin starts a stanza or the header: its limits, and memory of its own.
func (r *Reader) begin() {
	r.start = r.offset()
	r.bound(r.limits.Stanza, "")
	r.soft = len(r.stack) > 0 && r.limits.End > r.limits.Stanza && r.limit < r.limits.Total
	r.nodes, r.flaw, r.violation, r.full, r.tags = 0, "", "", false, 0
	if r.storage.values.used > bufferSize {
		r.val, r.attrs = nil, nil // the next stanza may not need as much as a large one
	}
	r.storage.reset()
}

// fail ends the reader with a SyntaxError here.
func (r *Reader) fail(condition, reason string) {
	r.die(&SyntaxError{Condition: condition, Reason: reason, Offset: r.offset()})
}

// cut leaves out the part being read, which exceeds a limit or has a name that cannot
// be kept. In the stream header, and for Parse, it is an error.
func (r *Reader) cut(condition, reason string) {
	if len(r.stack) == 0 || r.strict {
		r.fail(condition, reason)
	} else if r.flaw == "" {
		r.flaw, r.violation = reason, condition
	}
}

// die makes err the reader's final error, unless it has one.
func (r *Reader) die(err error) {
	if r.err == nil {
		r.err = err
		r.end = r.pos
	}
}

// dead returns the final error and frees the unfinished stanza.
func (r *Reader) dead() error {
	r.stack, r.attrs, r.val, r.storage = nil, nil, nil, storage{}
	return r.err
}

// offset is the position in the stream of the next byte.
func (r *Reader) offset() int64 { return r.base + int64(r.pos) }

// bound limits reading to the next size bytes, and to Limits.Total.
func (r *Reader) bound(size int64, cause string) {
	r.limit, r.cause = r.limits.Total, "stream too large"
	if at := r.offset(); size < r.limit-at {
		r.limit, r.cause = at+size, cause
	}
	r.clip()
}

// clip hides what is buffered beyond the limit. The loops that scan bytes need
// not count them: they ask for more, and more is not given.
func (r *Reader) clip() {
	if r.err == nil {
		r.end = max(r.pos, int(min(int64(r.filled), r.limit-r.base)))
	}
}

// overrun handles the limit: from here on nothing is kept, or the reader fails if the
// limit is hard. It reports whether more may be read.
func (r *Reader) overrun() bool {
	reason := cmp.Or(r.cause, tooLarge(r.limits.Stanza))
	if !r.soft {
		r.fail(policy, reason)
		return false
	}
	r.cut(policy, reason)
	r.soft, r.full = false, true
	r.limit, r.cause = min(r.start+r.limits.End, r.limits.Total), tooLarge(r.limits.End)
	r.clip()
	return true
}

func tooLarge(limit int64) string {
	if limit < 1<<20 {
		return fmt.Sprintf("too large (more than %d bytes)", limit)
	}
	return fmt.Sprintf("too large (more than %d MiB)", limit>>20)
}

// more adds at least one byte to buf[pos:end] and may move it to the front.
// It is empty then, or the beginning of a token far smaller than the buffer.
func (r *Reader) more() {
	switch {
	case r.err != nil:
		return
	case r.base+int64(r.end) >= r.limit:
		if end := r.end; !r.overrun() || r.end > end {
			return
		}
	}
	copy(r.buf, r.buf[r.pos:r.filled])
	r.base += int64(r.pos)
	r.filled -= r.pos
	r.pos = 0
	n := 0
	for range 100 {
		if n > 0 || r.readErr != nil {
			break
		}
		n, r.readErr = r.src.Read(r.buf[r.filled:])
		r.filled += n
	}
	switch {
	case n > 0:
		r.clip()
	case r.readErr == io.EOF:
		r.die(io.ErrUnexpectedEOF)
	default:
		r.die(cmp.Or(r.readErr, io.ErrNoProgress))
	}
}

// peek returns the next byte without consuming it, and 0 once the reader is
// dead.
func (r *Reader) peek() byte {
	if r.pos == r.end {
		if r.more(); r.err != nil {
			return 0
		}
	}
	return r.buf[r.pos]
}
