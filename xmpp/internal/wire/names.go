package wire

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// The namespaces with a fixed prefix (Namespaces in XML 1.0, section 3).
const (
	nsXML   = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS = "http://www.w3.org/2000/xmlns/"
)

// nsForward is the namespace of stanzas in stanzas (XEP-0297).
const nsForward = "urn:xmpp:forward:0"

// Names and namespaces are few and come again and again, so each is checked
// and allocated once and remembered in a slot, until another takes that.
const slots = 256

func slot(b []byte) byte {
	h := uint(len(b))
	for _, c := range b[max(0, len(b)-8):] {
		h = h*31 + uint(c)
	}
	return byte(h ^ h>>8)
}

// A qname is a name as it was written.
type qname struct {
	full  string
	colon int // -1 if there is none
}

func (q qname) prefix() string { return q.full[:max(q.colon, 0)] }
func (q qname) local() string  { return q.full[q.colon+1:] }

// A decl is a namespace declaration; its key is "xmlns" or "xmlns:prefix".
type decl struct {
	key, prefix, uri string
	unusable         bool // names with the prefix cannot be kept
}

// An attr is an attribute as it was written.
type attr struct {
	name      qname
	ns, value string
}

// A frame is an open element.
type frame struct {
	e     *etree.Element
	name  qname
	ns    string
	scope int // the number of declarations in force around it

	base     int  // nesting depth of the stanza that it is, or is in
	forwards bool // its children are stanzas (XEP-0297)
}

// name reads a qualified name. It returns the zero one if the name cannot be kept, and only
// then the sum of the whole name.
func (r *Reader) name() (q qname, sum uint64) {
	b, ok := r.span()
	if !ok {
		r.cut(policy, fmt.Sprintf("name too long (more than %d bytes)", maxName))
		return qname{}, r.skipName()
	}
	known := &r.names[slot(b)]
	if len(b) > 0 && known.full == string(b) {
		return *known, 0
	}
	q = qname{full: string(b), colon: bytes.IndexByte(b, ':')}
	switch {
	case !utf8.ValidString(q.full):
		r.fail(badEncoding, "invalid UTF-8")
	case !isNCName(strings.ReplaceAll(q.full, ":", "_")):
		r.fail(notWellFormed, "malformed name")
	case !isNCName(q.local()) || q.colon >= 0 && !isNCName(q.prefix()):
		r.cut(notWellFormed, "name with a misplaced colon")
		return qname{}, r.sum(q.full)
	default:
		*known = q
	}
	return q, 0
}

// declare puts a namespace declaration with the value just read in force.
func (r *Reader) declare(key qname, scope int) {
	known := &r.uris[slot(r.val)]
	if *known != string(r.val) {
		*known = string(r.val[:min(len(r.val), maxName+1)])
	}
	d := decl{key: key.full, prefix: key.local(), uri: *known}
	if key.colon < 0 {
		d.prefix = ""
	}
	if slices.ContainsFunc(r.decls[scope:], func(o decl) bool { return o.prefix == d.prefix }) {
		r.fail(notWellFormed, "duplicate attribute")
		return
	}
	switch {
	case len(d.uri) > maxName:
		r.cut(policy, fmt.Sprintf("namespace name too long (more than %d bytes)", maxName))
		d.uri, d.unusable = "", true
	case d.prefix == "xmlns" || d.uri == nsXMLNS || (d.prefix == "xml") != (d.uri == nsXML):
		r.cut(notWellFormed, "redefinition of a reserved prefix")
		d.uri, d.unusable = "", true
	case d.prefix != "" && d.uri == "":
		r.cut(notWellFormed, "prefix without a namespace")
		d.unusable = true
	}
	r.decls = append(r.decls, d)
}

// resolve returns the innermost declaration of a prefix, and whether it is usable. The
// empty prefix needs none: it means no namespace then.
func (r *Reader) resolve(prefix string) (decl, bool) {
	for i := len(r.decls) - 1; i >= 0; i-- {
		if r.decls[i].prefix == prefix {
			return r.decls[i], !r.decls[i].unusable
		}
	}
	if prefix != "" {
		r.cut(notWellFormed, "undeclared prefix")
	}
	return decl{}, prefix == ""
}

// openElement makes an element of the start tag that was read, in canonical form, and
// opens it. It returns nil if the element cannot be kept.
func (r *Reader) openElement(name qname, scope int) *etree.Element {
	depth := len(r.stack)
	if depth == 0 {
		content, _ := r.resolve("")
		r.contentNS = content.uri
	}
	ns, ok := r.elementNS(name)
	if !ok {
		return nil
	}
	foreign, hasLang := r.resolveAttrs()
	needsNS := depth < 2 || ns != r.stack[depth-1].ns
	// RFC 6120, section 8.1.5: a stanza without a language has the stream's.
	needsLang := depth == 1 && ns == r.contentNS && r.lang != "" && !hasLang
	n := len(r.attrs) + foreign + btoi(needsNS) + btoi(needsLang)
	if !r.count(2 + n) {
		return nil
	}
	e := r.element(name.local())
	e.Attr = r.storage.attrs.take(n)[:0]
	if needsNS {
		e.CreateAttr("xmlns", ns)
	}
	if foreign > 0 {
		r.declareUsed(e)
	}
	for i := range r.attrs {
		e.CreateAttr(r.attrs[i].name.full, r.attrs[i].value)
	}
	if needsLang {
		e.CreateAttr("xml:lang", r.lang)
	}
	r.stack = append(r.stack, frame{
		e: e, name: name, ns: ns, scope: scope,
		base: r.baseDepth(), forwards: name.local() == "forwarded" && ns == nsForward,
	})
	return e
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// count counts the parts of a stanza, and reports whether the limit allows them.
func (r *Reader) count(n int) bool {
	if r.nodes += n; r.nodes <= r.limits.Nodes || r.full {
		return r.err == nil
	}
	r.cut(policy, fmt.Sprintf("too many parts (more than %d)", r.limits.Nodes))
	r.full = true
	return r.err == nil && len(r.stack) <= r.baseDepth()+2
}

// elementNS returns the namespace of an element, unless it cannot be kept. A first-level
// child without a name is no stanza, so the stream fails.
func (r *Reader) elementNS(name qname) (ns string, ok bool) {
	if name.full != "" {
		ns, ok = r.namespace(name)
	}
	if !ok && len(r.stack) == 1 {
		r.fail(r.violation, r.flaw)
	}
	return ns, ok && r.err == nil
}

func (r *Reader) namespace(name qname) (ns string, ok bool) {
	prefix := name.prefix()
	d, ok := r.resolve(prefix)
	switch depth := len(r.stack); {
	case !ok: // a flaw of the declaration, or of its absence
	case depth > 0 && prefix != "" && d.uri == r.contentNS:
		// RFC 6120, section 4.8.5: there are parsers that take this for a
		// stanza and parsers that do not.
		r.cut(badPrefix, "prefix for the content namespace")
		ok = false
	case d.uri == nsXML: // and could not be written without its prefix
		r.cut(badPrefix, "element in the XML namespace")
		ok = false
	case depth == 1 && d.uri == r.stack[0].ns && name.local() == r.stack[0].name.local():
		// Its children would be stanzas for some and no stanzas for us.
		r.fail(notWellFormed, "second stream header")
	}
	return d.uri, ok
}

// resolveAttrs finds the namespaces of the attributes, and drops those that have none.
// Those without a prefix are in no namespace, whatever the default one is. It returns
// how many have a prefix that needs to be declared, and whether one is xml:lang.
func (r *Reader) resolveAttrs() (foreign int, hasLang bool) {
	kept := 0
	for i := range r.attrs {
		a := &r.attrs[i]
		ok, prefixed := true, false
		switch prefix := a.name.prefix(); prefix {
		case "":
		case "xml":
			a.ns = nsXML
			hasLang = hasLang || a.name.local() == "lang"
		default:
			var d decl
			d, ok = r.resolve(prefix)
			a.ns, prefixed = d.uri, true
		}
		for j := 0; j < kept && ok; j++ {
			if b := &r.attrs[j]; a.name.local() == b.name.local() && a.ns == b.ns {
				r.duplicate(a.name, b.name)
				ok = false
			}
		}
		if !ok {
			continue
		}
		foreign += btoi(prefixed)
		if kept < i {
			r.attrs[kept] = *a
		}
		kept++
	}
	r.attrs = r.attrs[:kept]
	return foreign, hasLang
}

// duplicate fails if two attributes have the same name, which is not well-formed. If
// only their expanded names are the same, the second is dropped.
func (r *Reader) duplicate(a, b qname) {
	if a == b {
		r.fail(notWellFormed, "duplicate attribute")
	} else {
		r.cut(notWellFormed, "duplicate attribute")
	}
}

// declareUsed repeats the declarations that the attributes need on e.
func (r *Reader) declareUsed(e *etree.Element) {
	for i := range r.attrs {
		if prefix := r.attrs[i].name.prefix(); prefix != "" && prefix != "xml" {
			d, _ := r.resolve(prefix)
			e.CreateAttr(d.key, d.uri)
		}
	}
}

// element makes an element inside the innermost open one. The header and
// stanzas have no parent.
func (r *Reader) element(tag string) *etree.Element {
	if len(r.stack) < 2 {
		return etree.NewElement(tag)
	}
	e := &r.storage.elements.take(1)[0]
	e.Tag = tag
	r.add(e, 4)
	return e
}

// addText adds val to the innermost open element, unless it is empty or is not kept.
func (r *Reader) addText() {
	if len(r.val) == 0 || r.full || !r.count(1) || r.full {
		return
	}
	t := &r.storage.texts.take(1)[0]
	t.SetData(r.storage.values.take(r.val))
	r.add(t, 1)
}

// add adds a child to the innermost open element. If it is the first, there is
// room for as many as are likely to come; if there are many, it doubles, for
// the reason given at write.
func (r *Reader) add(t etree.Token, room int) {
	parent := r.stack[len(r.stack)-1].e
	switch n := len(parent.Child); {
	case cap(parent.Child) == 0:
		parent.Child = r.storage.children.take(room)[:0]
	case n == cap(parent.Child):
		parent.Child = slices.Grow(parent.Child, n)
	}
	parent.AddChild(t)
}

// close ends the innermost open element and the declarations it made.
func (r *Reader) close() {
	last := len(r.stack) - 1
	r.decls = r.decls[:r.stack[last].scope]
	r.stack[last].e = nil
	r.stack = r.stack[:last]
}
