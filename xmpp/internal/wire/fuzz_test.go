package wire

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

func addSeeds(f *testing.F, add func(doc string)) {
	add(session)
	add(openStream + typicalMessage + shortMessage + endStream)
	for _, c := range malformedStreams {
		add(c.doc)
	}
	for _, c := range malformedBodies {
		add(openStream + c.body + endStream)
		add(`<s xmlns:p='u' xmlns:q='u' p:x='1'>` + c.body + `</s>`)
	}
	for _, c := range flawedBodies {
		add(openStream + c.body + endStream)
	}
	for _, body := range []string{
		"<a\u0132/>",                        // a name of the fifth edition only
		"<a b='\r\n'>\r\n&#13;</a>",         // what attributes make of line ends
		`<a xmlns:xmlfoo='u' xmlfoo:b=''/>`, // reserved, but not prohibited
		`<a xmlns=''><p:b xmlns:p='v' xmlns='w' p:c='d' c='e'><f/></p:b></a>`,
		`<a>]]<![CDATA[>]]>]&gt;<![CDATA[]]]]></a>`,
		"<a xmlns:p='\r' p:b=''/>", // from here on: found by FuzzReader
		`<a xmlns:p='xml' p:b=''/>`,
		`<a xmlns:p='xmlns' p:b=''/>`,
		`<xmlns xmlns='0'/>`,
	} {
		add(openStream + body + endStream)
	}
}

// FuzzReader compares the Reader with encoding/xml: it accepts nothing that
// encoding/xml does not, and both understand the same.
func FuzzReader(f *testing.F) {
	addSeeds(f, func(doc string) { f.Add([]byte(doc)) })
	f.Fuzz(func(t *testing.T, doc []byte) {
		r := NewReader(bytes.NewReader(doc), Limits{})
		d := xml.NewDecoder(bytes.NewReader(doc))
		h, err := r.Header()
		if err != nil {
			return
		}
		want, wantErr := oracleHeader(d)
		streamLang := h.SelectAttrValue("xml:lang", "")
		compare(t, doc, h, want, wantErr, "")
		for {
			e, size, err := r.Next()
			if err != nil && err != io.EOF {
				return
			}
			want, wantErr := oracleNext(d)
			if r.Flaw() != "" { // a part is missing, and encoding/xml may not take it at all
				if wantErr != nil {
					return
				}
				continue
			}
			if err == io.EOF {
				if !errors.Is(wantErr, io.EOF) {
					t.Fatalf("%q: the end, and encoding/xml says %v", doc, wantErr)
				}
				return
			}
			if size <= 0 || size > int64(len(doc)) {
				t.Fatalf("%q: size %d", doc, size)
			}
			lang := ""
			if e.NamespaceURI() == r.ContentNS() {
				lang = streamLang
			}
			compare(t, doc, e, want, wantErr, lang)
		}
	})
}

// compare fails unless both have read the same, lang being what got may have
// from the stream.
func compare(t *testing.T, doc []byte, got, want *etree.Element, wantErr error, lang string) {
	t.Helper()
	if wantErr != nil {
		// encoding/xml has the names of the fourth edition.
		if strings.Contains(wantErr.Error(), "invalid XML name") && bytes.ContainsFunc(doc, func(c rune) bool { return c >= 0x80 }) {
			t.Skip()
		}
		t.Fatalf("%q: got %s, and encoding/xml says %v", doc, dump(got), wantErr)
	}
	hasLang := slices.ContainsFunc(want.Attr, func(a etree.Attr) bool { return a.Space == nsXML && a.Key == "lang" })
	if lang != "" && !hasLang {
		want.CreateAttr("x:lang", lang)
		want.Attr[len(want.Attr)-1].Space = nsXML
	}
	if oddNS(got) {
		return
	}
	resolvePrefixes(got)
	normalise(got)
	normalise(want)
	if g, w := dump(got), dump(want); g != w {
		t.Fatalf("%q:\n got %swant %s", doc, g, w)
	}
}

// oddNS reports whether e uses namespaces encoding/xml gets wrong: it compares
// them without normalising white space, takes an attribute in a namespace
// called xmlns for a declaration, and leaves an element <xmlns> without one.
func oddNS(e *etree.Element) bool {
	return e.Tag == "xmlns" || slices.ContainsFunc(e.Attr, func(a etree.Attr) bool {
		return (a.Space == "xmlns" || a.Key == "xmlns") && (a.Value == "xmlns" || strings.ContainsAny(a.Value, " \t\r\n"))
	}) || slices.ContainsFunc(e.ChildElements(), oddNS)
}

// resolvePrefixes replaces the prefixes of attributes, which encoding/xml does
// not keep, by their namespaces.
func resolvePrefixes(e *etree.Element) {
	uris := map[string]string{"": "", "xml": nsXML}
	for _, a := range e.Attr {
		if a.Space == "xmlns" {
			uris[a.Key] = a.Value
		}
	}
	e.Attr = slices.DeleteFunc(e.Attr, func(a etree.Attr) bool { return a.Space == "xmlns" })
	for i := range e.Attr {
		e.Attr[i].Space = uris[e.Attr[i].Space]
	}
	for _, c := range e.ChildElements() {
		resolvePrefixes(c)
	}
}

// normalise makes white space in attributes what XML 1.0, section 3.3.3 says,
// as far as it can be done without knowing what was a reference.
func normalise(e *etree.Element) {
	for i := range e.Attr {
		e.Attr[i].Value = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ").Replace(e.Attr[i].Value)
	}
	for _, c := range e.ChildElements() {
		normalise(c)
	}
}

// FuzzRoundTrip checks that elements can be written and read in any context,
// and that doing so twice is doing it once.
func FuzzRoundTrip(f *testing.F) {
	addSeeds(f, func(doc string) { f.Add([]byte(doc)) })
	f.Fuzz(func(t *testing.T, doc []byte) {
		_, stanzas, _ := readAll(bytes.NewReader(doc), Limits{})
		for _, e := range stanzas {
			again, xml, err := reread(e)
			if err != nil {
				t.Fatalf("%q: wrote %s, %v", doc, xml, err)
			}
			if dump(again) != dump(e) {
				t.Fatalf("%q: wrote %s\nread  %sread  %s", doc, xml, dump(e), dump(again))
			}
			if twice, err := Append(nil, again); err != nil || !bytes.Equal(twice, xml) {
				t.Fatalf("%q: wrote %s, then %s, %v", doc, xml, twice, err)
			}
		}
	})
}

// FuzzSplit checks that it does not matter how the bytes of a stream, well
// formed or not, come in .
func FuzzSplit(f *testing.F) {
	addSeeds(f, func(doc string) {
		f.Add([]byte(doc), []byte{1, 7}, uint16(0))
		f.Add([]byte(doc), []byte{3}, uint16(300))
	})
	f.Fuzz(func(t *testing.T, doc, sizes []byte, limit uint16) {
		l := Limits{Total: int64(limit), Stanza: int64(limit) / 2, Nodes: int(limit) / 16}
		want := transcript(bytes.NewReader(doc), l)
		rest, turn := doc, 0
		src := readFunc(func(p []byte) (int, error) {
			if len(rest) == 0 {
				return 0, io.EOF
			}
			n := len(rest)
			if len(sizes) > 0 {
				n = min(n, 1+int(sizes[turn%len(sizes)]))
			}
			n = copy(p, rest[:n])
			rest = rest[n:]
			turn++
			return n, nil
		})
		if got := transcript(src, l); got != want {
			t.Fatalf("%q in %d:\n got %swant %s", doc, sizes, got, want)
		}
	})
}
