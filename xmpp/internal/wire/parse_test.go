package wire

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// What is parsed is canonical, as if it had come in a stream: without prefixes, and with
// a namespace on its root.
func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		`<message/>`:                               `<message xmlns="jabber:client"/>`,
		" \r\n\t<a/>\n\n":                          `<a xmlns="jabber:client"/>`,
		`<a xmlns=''/>`:                            `<a xmlns=""/>`,
		`<p:a xmlns:p='u'><p:b/><c/></p:a>`:        `<a xmlns="u"><b/><c xmlns="jabber:client"/></a>`,
		`<a xmlns='u'><b xmlns='u'/></a>`:          `<a xmlns="u"><b/></a>`,
		`<a xmlns='u' xmlns:p='v' p:b='1' b='2'/>`: `<a xmlns="u" xmlns:p="v" p:b="1" b="2"/>`,
		`<a xml:lang='de'><b/></a>`:                `<a xmlns="jabber:client" xml:lang="de"><b/></a>`,
		`<a xmlns:unused='u'/>`:                    `<a xmlns="jabber:client"/>`,
		`<a><![CDATA[<b>]]>&amp;&#x41;</a>`:        `<a xmlns="jabber:client">&lt;b&gt;&amp;A</a>`,
		`<stream xmlns=''><stream/></stream>`:      `<stream xmlns=""><stream/></stream>`,
		"<a>" + repeat("x", 70_000-7) + "</a>":     `<a xmlns="jabber:client">` + repeat("x", 70_000-7) + `</a>`,
		repeat("<a>", 32) + repeat("</a>", 32):     `<a xmlns="jabber:client">` + repeat("<a>", 30) + "<a/>" + repeat("</a>", 31),
	} {
		e, err := Parse([]byte(in), "jabber:client", Limits{Stanza: 70_000})
		if err != nil {
			t.Errorf("%.200s: %v", in, err)
			continue
		}
		if got, err := Append(nil, e); err != nil || string(got) != want {
			t.Errorf("%.200s\n got %.200s, %v\nwant %.200s", in, got, err, want)
		}
	}
}

// Where something is wrong, nothing is parsed at all. The offset is where a person has to
// look: of what is wrong with a tag as a whole, its beginning.
func TestParseRefuses(t *testing.T) {
	for _, test := range []struct {
		in     string
		offset int64
		reason string
	}{
		{"", 0, "no element"},
		{" \n", 2, "no element"},
		{"x", 0, "text outside of the element"},
		{"\uFEFF<a/>", 0, "text outside of the element"},
		{"<a/>&#32;", 4, "text outside of the element"},
		{"<a/>\x00", 4, "text outside of the element"},
		{"<a/> <b/>", 5, "more than one element"},
		{"<a/><", 4, "more than one element"},
		{"</a>", 0, "end tag without a start tag"},
		{"<a/></a>", 4, "end tag without a start tag"},
		{"<a>", 3, "the element has no end"},
		{"<a", 2, "the element has no end"},
		{"<", 1, "the element has no end"},
		{"<a></b>", 5, "end tag that does not match"},
		{"<?xml version='1.0'?><a/>", 0, "comment, processing instruction, XML declaration or document type"},
		{"<!DOCTYPE a><a/>", 0, "comment, processing instruction, XML declaration or document type"},
		{"<a/><!-- c -->", 4, "comment, processing instruction, XML declaration or document type"},
		{"<![CDATA[x]]>", 0, "comment, processing instruction, XML declaration or document type"},
		{"<a><!-- c --></a>", 5, "comment, processing instruction or document type"},
		{"<a>&nbsp;</a>", 8, "entity reference"},
		{"<a><p:b c='d'/></a>", 3, "undeclared prefix"},
		{"<a><b p:c='d'/></a>", 3, "undeclared prefix"},
		{"<a xmlns:p=''/>", 14 - 1, "prefix without a namespace"},
		{"<a><c:b xmlns:c='jabber:client'/></a>", 3, "prefix for the content namespace"},
		{"<a b='1' b='2'/>", 0, "duplicate attribute"},
		{"<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>", 0, "duplicate attribute"},
		{"<a>\xFF</a>", 3, "invalid UTF-8"},
		{"<a>\x01</a>", 3, "control character"},
		{"<" + repeat("a", 257) + "/>", 1, "name too long (more than 256 bytes)"},
		{repeat("<a>", 33), 97, "nested too deeply (more than 32 levels)"},
		{"<a>" + repeat("x", 2000) + "</a>", 1000, "too large (more than 1000 bytes)"},
		{"<a>" + repeat("<b/>", 100) + "</a>", 3 + 48*4, "too many parts (more than 100)"},
	} {
		e, err := Parse([]byte(test.in), "jabber:client", Limits{Stanza: 1000, End: 5000, Nodes: 100})
		wrong, ok := errors.AsType[*SyntaxError](err)
		if e != nil || !ok || wrong.Offset != test.offset || wrong.Reason != test.reason {
			t.Errorf("%.80q: %v, want %s at byte %d", test.in, err, test.reason, test.offset)
		}
	}
}

// All that ends a stream is refused, and all of which a Reader leaves a part out.
func TestParseIsStrict(t *testing.T) {
	for _, c := range malformedBodies {
		if e, err := Parse([]byte(c.body), "jabber:client", Limits{}); err == nil {
			t.Errorf("%q: %s", c.body, dump(e))
		}
	}
	for _, c := range flawedBodies {
		if e, err := Parse([]byte(c.body), "jabber:client", Limits{}); err == nil {
			t.Errorf("%q: %s", c.body, dump(e))
		}
	}
}

// FuzzParse compares Parse with encoding/xml, as FuzzReader does, and checks that what
// was parsed can be written and parsed again.
func FuzzParse(f *testing.F) {
	for _, c := range malformedBodies {
		f.Add([]byte(c.body))
	}
	for _, c := range flawedBodies {
		f.Add([]byte(c.body))
	}
	for _, s := range []string{
		typicalMessage, shortMessage, " <a/>\n", "<a/><b/>", "<a/></stream>", "<a/></x><x>", "</x><x><a/>", "<a/><!---->",
		`<p:a xmlns:p='u' p:b='c'><p:d/><e xmlns=''>&#13;<![CDATA[]]]></e></p:a>`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b, "jabber:client", Limits{})
		if wrong, ok := errors.AsType[*SyntaxError](err); err != nil && (!ok || wrong.Offset < 0 || wrong.Offset > int64(len(b)) || e != nil) {
			t.Fatalf("%q: %v, %v", b, e, err)
		}
		if err != nil {
			return
		}
		written, err := Append(nil, e)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		again, err := Parse(written, "jabber:client", Limits{Stanza: 1 << 20})
		if err != nil || dump(again) != dump(e) {
			t.Fatalf("%q: wrote %s, %v", b, written, err)
		}
		d := xml.NewDecoder(strings.NewReader("<x xmlns='jabber:client'>" + string(b) + "</x>"))
		if _, err := oracleHeader(d); err != nil {
			t.Fatal(err)
		}
		want, wantErr := oracleNext(d)
		compare(t, b, e, want, wantErr, "")
		if more, err := oracleNext(d); err != io.EOF || d.InputOffset() != int64(len(b)+len("<x xmlns='jabber:client'></x>")) {
			t.Fatalf("%q: encoding/xml goes on: %v, %v", b, more, err)
		}
	})
}
