package wire

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// The namespaces with a fixed prefix (Namespaces in XML 1.0, section 3).
const (
	nsXML   = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS = "http://www.w3.org/2000/xmlns/"
)

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
type decl struct{ key, prefix, uri string }

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
}

// name reads a qualified name.
func (r *Reader) name() qname {
	b := r.span()
	known := &r.names[slot(b)]
	if len(b) > 0 && known.full == string(b) {
		return *known
	}
	q := qname{full: string(b), colon: bytes.IndexByte(b, ':')}
	switch {
	case !utf8.ValidString(q.full):
		r.fail(badEncoding, "invalid UTF-8")
	case !isNCName(q.local()) || q.colon >= 0 && !isNCName(q.prefix()):
		r.fail(notWellFormed, "malformed name")
	default:
		*known = q
	}
	return q
}

// declare puts a namespace declaration with the value just read in force.
func (r *Reader) declare(key qname, scope int) {
	known := &r.uris[slot(r.val)]
	if *known != string(r.val) {
		*known = string(r.val[:min(len(r.val), maxName+1)])
	}
	uri := *known
	d := decl{key: key.full, prefix: key.local(), uri: uri}
	if key.colon < 0 {
		d.prefix = ""
	}
	switch {
	case len(uri) > maxName:
		r.fail(policy, "namespace name too long")
	case d.prefix == "xmlns" || uri == nsXMLNS || (d.prefix == "xml") != (uri == nsXML):
		r.fail(notWellFormed, "redefinition of a reserved prefix")
	case d.prefix != "" && uri == "":
		r.fail(notWellFormed, "prefix without a namespace")
	case slices.ContainsFunc(r.decls[scope:], func(o decl) bool { return o.prefix == d.prefix }):
		r.fail(notWellFormed, "duplicate attribute")
	}
	r.decls = append(r.decls, d)
}

// resolve returns the innermost declaration of a prefix. The empty one needs
// none: it means no namespace then.
func (r *Reader) resolve(prefix string) decl {
	for i := len(r.decls) - 1; i >= 0; i-- {
		if r.decls[i].prefix == prefix {
			return r.decls[i]
		}
	}
	if prefix != "" {
		r.fail(notWellFormed, "undeclared prefix")
	}
	return decl{}
}

// open makes an element of the start tag that was read, in canonical form, and
// opens it.
func (r *Reader) open(name qname, scope int) *etree.Element {
	depth := len(r.stack)
	if depth == 0 {
		r.contentNS = r.resolve("").uri
	}
	ns := r.elementNS(name)
	foreign, hasLang := r.resolveAttrs()
	needsNS := depth < 2 || ns != r.stack[depth-1].ns
	// RFC 6120, section 8.1.5: a stanza without a language has the stream's.
	needsLang := depth == 1 && ns == r.contentNS && r.lang != "" && !hasLang
	n := len(r.attrs) + foreign + btoi(needsNS) + btoi(needsLang)
	if r.count(2 + n); r.err != nil {
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
	r.stack = append(r.stack, frame{e: e, name: name, ns: ns, scope: scope})
	return e
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// count counts the parts of a stanza.
func (r *Reader) count(n int) {
	if r.nodes += n; r.nodes > r.limits.Nodes {
		r.fail(policy, "too many elements, attributes and texts")
	}
}

func (r *Reader) elementNS(name qname) string {
	prefix := name.prefix()
	ns := r.resolve(prefix).uri
	switch depth := len(r.stack); {
	case depth > 0 && prefix != "" && ns == r.contentNS:
		// RFC 6120, section 4.8.5: there are parsers that take this for a
		// stanza and parsers that do not.
		r.fail(badPrefix, "prefix for the content namespace")
	case ns == nsXML: // and could not be written without its prefix
		r.fail(badPrefix, "element in the XML namespace")
	case depth == 1 && ns == r.stack[0].ns && name.local() == r.stack[0].name.local():
		// Its children would be stanzas for some and no stanzas for us.
		r.fail(notWellFormed, "second stream header")
	}
	return ns
}

// resolveAttrs finds the namespaces of the attributes. Those without a prefix
// have none, whatever the default namespace is. It returns how many have a
// prefix that needs to be declared, and whether one is xml:lang.
func (r *Reader) resolveAttrs() (foreign int, hasLang bool) {
	for i := range r.attrs {
		a := &r.attrs[i]
		switch prefix := a.name.prefix(); prefix {
		case "":
		case "xml":
			a.ns = nsXML
			hasLang = hasLang || a.name.local() == "lang"
		default:
			a.ns = r.resolve(prefix).uri
			foreign++
		}
		for j := range i {
			if b := &r.attrs[j]; a.name.local() == b.name.local() && a.ns == b.ns {
				r.fail(notWellFormed, "duplicate attribute")
			}
		}
	}
	return foreign, hasLang
}

// declareUsed repeats the declarations that the attributes need on e.
func (r *Reader) declareUsed(e *etree.Element) {
	for i := range r.attrs {
		if prefix := r.attrs[i].name.prefix(); prefix != "" && prefix != "xml" {
			d := r.resolve(prefix)
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

// addText adds val to the innermost open element, unless it is empty.
func (r *Reader) addText() {
	if len(r.val) == 0 {
		return
	}
	if r.count(1); r.err != nil {
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
