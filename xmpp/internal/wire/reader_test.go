package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/beevik/etree"
)

// dump writes everything there is to know about e, so that equal dumps mean
// equal trees whatever Append does.
func dump(e *etree.Element) string {
	var b strings.Builder
	var walk func(e *etree.Element, indent string)
	walk = func(e *etree.Element, indent string) {
		fmt.Fprintf(&b, "%s%q:%q", indent, e.Space, e.Tag)
		for _, a := range e.Attr {
			fmt.Fprintf(&b, " %q:%q=%q", a.Space, a.Key, a.Value)
		}
		b.WriteByte('\n')
		for i, c := range e.Child {
			if c.Index() != i || c.Parent() != e {
				b.WriteString("WRONG PARENT OR INDEX\n")
			}
			switch c := c.(type) {
			case *etree.Element:
				walk(c, indent+" ")
			case *etree.CharData:
				fmt.Fprintf(&b, "%s %q\n", indent, c.Data)
			default:
				fmt.Fprintf(&b, "%s %T\n", indent, c)
			}
		}
	}
	walk(e, "")
	return b.String()
}

// transcript is all that a caller can observe of a stream.
func transcript(src io.Reader, l Limits) string {
	var b strings.Builder
	r := NewReader(src, l)
	e, err := r.Header()
	if err == nil {
		fmt.Fprintf(&b, "%s%q\n", dump(e), r.ContentNS())
	}
	for err == nil {
		var size int64
		if e, size, err = r.Next(); err == nil {
			fmt.Fprintf(&b, "%d %q %s", size, r.Flaw(), dump(e))
		}
	}
	if _, _, again := r.Next(); again != err {
		fmt.Fprintf(&b, "the error changed to %v\n", again)
	}
	fmt.Fprintf(&b, "%v\n", err)
	return b.String()
}

// one returns the only stanza of a stream with the given content.
func one(t *testing.T, body string) *etree.Element {
	t.Helper()
	_, stanzas, err := readAll(strings.NewReader(openStream+body+endStream), Limits{})
	if err != io.EOF || len(stanzas) != 1 {
		t.Fatalf("%s: %d stanzas, %v", body, len(stanzas), err)
	}
	return stanzas[0]
}

// checkFailure reads a document that must fail with condition, in one piece
// and byte by byte, and returns what came before the failure.
func checkFailure(t *testing.T, doc, condition string, l Limits) []*etree.Element {
	t.Helper()
	_, stanzas, err := readAll(strings.NewReader(doc), l)
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || syntax.Condition != condition {
		t.Errorf("%.120q: got %v, want %s", doc, err, condition)
	}
	if _, _, slow := readAll(iotest.OneByteReader(strings.NewReader(doc)), l); slow == nil || slow.Error() != err.Error() {
		t.Errorf("%.120q: got %v, byte by byte %v", doc, err, slow)
	}
	return stanzas
}

// malformedStreams are documents that must fail before or in the header.
var malformedStreams = []struct{ doc, condition string }{
	// Prohibited before the header (RFC 6120, section 11.1).
	{`<!-- c --><s>`, restricted},
	{`<?pi?><s>`, restricted},
	{`<?xml-stylesheet href='a'?><s>`, restricted},
	{`<!DOCTYPE s><s>`, restricted},
	{`<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><s a='&b;'>`, restricted},
	{`<?xml version='1.0'?><?xml version='1.0'?><s>`, restricted},
	{`<?xml version='1.0'?><?pi?><s>`, restricted},
	{`<?xml version='1.0' standalone='no'?><s>`, restricted},
	{`<?xml version='1.1'?><s>`, restricted},
	{`<?xml version='1.0' encoding='ISO-8859-1'?><s>`, badEncoding},
	{`<?xml version='1.0' encoding='utf-16'?><s>`, badEncoding},
	{`<?xml?><s>`, notWellFormed},
	{`<?xml encoding='UTF-8'?><s>`, notWellFormed},
	{`<?xml version='1.0'encoding='UTF-8'?><s>`, notWellFormed},
	{`<?xml version='1.0' encoding='UTF-8" ?><s>`, notWellFormed},
	{`<?xml version='1.0' standalone='yes' encoding='UTF-8'?><s>`, notWellFormed},
	{`<?xml version='1&#46;0'?><s>`, notWellFormed},
	{"<?xml\fversion='1.0'?><s>", notWellFormed},
	{`<?xml version='1.0'` + strings.Repeat(" ", 300) + `?><s>`, policy},
	{`<?XML version='1.0'?><s>`, restricted},
	// No encoding but UTF-8, and no byte order mark (RFC 6120, section 11.6).
	{"\uFEFF<s>", notWellFormed},
	{"\uFEFF<?xml version='1.0'?><s>", notWellFormed},
	{"\xFE\xFF\x00<\x00s", notWellFormed},
	{"<\x00s\x00>\x00", notWellFormed},
	// Not well-formed.
	{`text<s>`, notWellFormed},
	{`</s>`, notWellFormed},
	{`<s:s>`, notWellFormed},
	{`<s a='1' a='2'>`, notWellFormed},
	{`<s xmlns='http://www.w3.org/2000/xmlns/'>`, notWellFormed},
	{`<xml:s>`, badPrefix},
	{`<s xml:lang='` + strings.Repeat("x", 257) + `'>`, policy},
}

// malformedBodies must fail inside an open stream.
var malformedBodies = []struct{ body, condition string }{
	// Prohibited between stanzas, in stanzas, in attributes (RFC 6120, section 11.1).
	{`<!-- c -->`, restricted},
	{`<a><!-- c --></a>`, restricted},
	{`<a><!----></a>`, restricted},
	{`<?pi x?>`, restricted},
	{`<a><?pi x?></a>`, restricted},
	{`<?xml version='1.0'?><a/>`, restricted},
	{`<a><?xml version='1.0'?></a>`, restricted},
	{`<!DOCTYPE a>`, restricted},
	{`<a><!DOCTYPE a></a>`, restricted},
	{`<a><!ENTITY b 'c'></a>`, restricted},
	{`<a>&nbsp;</a>`, restricted},
	{`<a b='&nbsp;'/>`, restricted},
	{`<a>&AMP;</a>`, restricted},
	{`<a><![cdata[x]]></a>`, restricted},
	{`<a b='<!-- c -->'/>`, notWellFormed},
	// CDATA sections
	{`<![CDATA[x]]>`, notWellFormed},
	{"<a><![CDATA[\x01]]></a>", notWellFormed},
	{"<a><![CDATA[\xFF]]></a>", badEncoding},
	// Tags
	{`<a></b>`, notWellFormed},
	{`<a></aa>`, notWellFormed},
	{`<aa></a>`, notWellFormed},
	{`<a></A>`, notWellFormed},
	{`<a><b></a></b>`, notWellFormed},
	{`<a></ a>`, notWellFormed},
	{`<a></a b='c'>`, notWellFormed},
	{`<a></a/>`, notWellFormed},
	{`<a></>`, notWellFormed},
	{`<a></stream:stream>`, notWellFormed},
	{`</a>`, notWellFormed},
	{`</stream>`, notWellFormed},
	{`< a/>`, notWellFormed},
	{`<>`, notWellFormed},
	{`<a/ >`, notWellFormed},
	{`<a//>`, notWellFormed},
	{`<a<b/>/>`, notWellFormed},
	// Names
	{`<:a/>`, notWellFormed},
	{`<a:/>`, notWellFormed},
	{`<:/>`, notWellFormed},
	{`<stream:a:b/>`, notWellFormed},
	{`<stream::a/>`, notWellFormed},
	{`<stream:1/>`, notWellFormed},
	{`<1a/>`, notWellFormed},
	{`<-a/>`, notWellFormed},
	{`<.a/>`, notWellFormed},
	{`<a 1b='c'/>`, notWellFormed},
	{"<a\u00D7/>", notWellFormed},
	{"<\u0300a/>", notWellFormed},
	{"<a\uFFFE/>", notWellFormed},
	{"<a\xFF/>", badEncoding},
	{`<a@/>`, notWellFormed},
	// Attributes
	{`<a b='1' b='2'/>`, notWellFormed},
	{`<a b='1' b='1'/>`, notWellFormed},
	{`<a xmlns='u' xmlns='v'/>`, notWellFormed},
	{`<a xmlns:p='u' xmlns:p='u'/>`, notWellFormed},
	{`<a xml:lang='en' xml:lang='de'/>`, notWellFormed},
	{`<a b='1'c='2'/>`, notWellFormed},
	{`<a b="1"c="2"/>`, notWellFormed},
	{`<a"b"/>`, notWellFormed},
	{`<a b/>`, notWellFormed},
	{`<a b=/>`, notWellFormed},
	{`<a b=c/>`, notWellFormed},
	{`<a b='<'/>`, notWellFormed},
	{`<a b='c"/>`, notWellFormed},
	{`<a ='c'/>`, notWellFormed},
	{`<a b=='c'/>`, notWellFormed},
	{`<a b='&'/>`, notWellFormed},
	{`<a , b='c'/>`, notWellFormed},
	// Namespaces
	{`<p:a/>`, notWellFormed},
	{`<a xmlns='http://www.w3.org/XML/1998/namespace'/>`, notWellFormed},
	{`<a xmlns='http://www.w3.org/2000/xmlns/'/>`, notWellFormed},
	{`<xmlns:a/>`, notWellFormed},
	{`<xml:a/>`, badPrefix},
	// Text and references
	{`<a>]]></a>`, notWellFormed},
	{`<a>x]]]>y</a>`, notWellFormed},
	{`<a>&#xD800;</a>`, notWellFormed},
	{`<a>&#xDFFF;</a>`, notWellFormed},
	{`<a>&#0;</a>`, notWellFormed},
	{`<a>&#1;</a>`, notWellFormed},
	{`<a>&#xFFFE;</a>`, notWellFormed},
	{`<a>&#x110000;</a>`, notWellFormed},
	{`<a>&#4294967361;</a>`, notWellFormed},
	{`<a>&#X41;</a>`, notWellFormed},
	{`<a>&#;</a>`, notWellFormed},
	{`<a>&#x;</a>`, notWellFormed},
	{`<a>&#-1;</a>`, notWellFormed},
	{`<a>&#6_5;</a>`, notWellFormed},
	{`<a>&#x+41;</a>`, notWellFormed},
	{`<a>&;</a>`, notWellFormed},
	{`<a>& b</a>`, notWellFormed},
	{`<a>&amp</a>`, notWellFormed},
	{`<a>&amp ;</a>`, notWellFormed},
	{`<a>&a:b;</a>`, notWellFormed},
	{"<a>\x00</a>", notWellFormed},
	{"<a>\x0B</a>", notWellFormed},
	{"<a b='\x1F'/>", notWellFormed},
	{"<a>\uFFFE</a>", notWellFormed},
	{"<a>\uFFFF</a>", notWellFormed},
	// Between stanzas
	{`text`, notWellFormed},
	{`<a/>text`, notWellFormed},
	{`&#32;`, notWellFormed},
	{"\x00", notWellFormed},
	{"\uFEFF<a/>", notWellFormed},
	{`<stream:stream>`, notWellFormed},
	{`<s:stream xmlns:s='http://etherx.jabber.org/streams'><message/>`, notWellFormed},
	// UTF-8
	{"<a>\x80</a>", badEncoding},
	{"<a>\xC0\x80</a>", badEncoding},
	{"<a>\xC1\xBF</a>", badEncoding},
	{"<a>\xE0\x80\x80</a>", badEncoding},
	{"<a>\xED\xA0\x80</a>", badEncoding},
	{"<a>\xF0\x80\x80\x80</a>", badEncoding},
	{"<a>\xF4\x90\x80\x80</a>", badEncoding},
	{"<a>\xF5\x80\x80\x80</a>", badEncoding},
	{"<a>\xC3</a>", badEncoding},
	{"<a>\xE2\x82</a>", badEncoding},
	{"<a b='\xF0\x9F\x98'/>", badEncoding},
	// A prefix for the content namespace (RFC 6120, section 4.8.5)
	{`<x:message xmlns:x='jabber:client'><body>hi</body></x:message>`, badPrefix},
	// Bytes that some parser reads as something else.
	{"<a>\xEB</a><message from='admin@x'/>", badEncoding},
	{"<a b='\xE3'><message from='admin@x'/></a>", badEncoding},
	{"<a>\xE0\x80\xBCmessage/></a>", badEncoding},
	{`<a><![CDATA[]]]]><![CDATA[></a><b/>]]></c>`, notWellFormed},
}

// Each of them ends the stream, with the condition that it has in the table.
func TestMalformed(t *testing.T) {
	for _, c := range malformedStreams {
		if got := checkFailure(t, c.doc, c.condition, Limits{}); got != nil {
			t.Errorf("%q: got stanzas", c.doc)
		}
	}
	for _, c := range malformedBodies {
		stanzas := checkFailure(t, openStream+c.body+endStream, c.condition, Limits{})
		for _, e := range stanzas {
			if e.Tag != "a" {
				t.Errorf("%q: got <%s>", c.body, e.Tag)
			}
		}
	}
}

// What may stand before the header (RFC 6120, section 11.5).
func TestProlog(t *testing.T) {
	for _, prolog := range []string{
		``, " \t\r\n", `<?xml version='1.0'?>`, " \n<?xml version='1.0'?>\r\n ",
		`<?xml version="1.0" encoding="UTF-8"?>`, `<?xml version='1.0' encoding='utf-8' standalone="yes" ?>`,
		"<?xml\tversion = '1.0'\r\nencoding\n=\n'Utf-8'?>",
	} {
		doc := prolog + `<s xmlns='u' a='b'>` + `</s>`
		h, stanzas, err := readAll(strings.NewReader(doc), Limits{})
		if err != io.EOF || stanzas != nil || dump(h) != `"":"s" "":"xmlns"="u" "":"a"="b"`+"\n" {
			t.Errorf("%q: %v, %v, %v", doc, h, stanzas, err)
		}
	}
}

// What text and attribute values mean (XML 1.0, sections 2.11 and 3.3.3).
func TestCharacters(t *testing.T) {
	for in, want := range map[string]string{
		`<![CDATA[<body>]]>`:                 `<body>`,
		`a<![CDATA[b]]>c<![CDATA[]]>d`:       `abcd`,
		`<![CDATA[]]]]><![CDATA[>]]>`:        `]]>`,
		`<![CDATA[a]]]>`:                     `a]`,
		`<![CDATA[]]]]]>`:                    `]]]`,
		`<![CDATA[]>]]>`:                     `]>`,
		`<![CDATA[&amp;]]>`:                  `&amp;`,
		"<![CDATA[a\r\nb\rc]]>":              "a\nb\nc",
		`]]<![CDATA[>]]>`:                    `]]>`,
		`<![CDATA[]]]]>>`:                    `]]>`,
		`]]&gt;`:                             `]]>`,
		`]&#93;>`:                            `]]>`,
		`]>]`:                                `]>]`,
		"a\r\nb\rc\nd\te\r\r\n":              "a\nb\nc\nd\te\n\n",
		`&#13;&#xD;&#10;&#x9;`:               "\r\r\n\t",
		"\r&#10;":                            "\n\n",
		`&lt;&gt;&amp;&apos;&quot;`:          `<>&'"`,
		`&amp;lt;`:                           `&lt;`,
		`&#65;&#x41;&#x00041;&#x10FFFF;`:     "AAA\U0010FFFF",
		"\u007F\u0085\u2028\uFFFD\U0001F600": "\u007F\u0085\u2028\uFFFD\U0001F600",
		"\uFEFF":                             "\uFEFF",
		`"'>`:                                `"'>`,
	} {
		if got := one(t, `<a>`+in+`</a>`); len(got.Child) != 1 || got.Text() != want {
			t.Errorf("text %q: got %q", in, got.Text())
		}
	}
	for in, want := range map[string]string{
		"'a\r\nb\rc\nd\te'":       "a b c d e",
		`'&#13;&#xA;&#9;'`:        "\r\n\t",
		`'"]]>'`:                  `"]]>`,
		`"'"`:                     `'`,
		`'&lt;&apos;'`:            `<'`,
		"'\u00E9\U0001F600\r\n'":  "\u00E9\U0001F600 ",
		`''`:                      ``,
		"'" + long(40000) + "\t'": long(40000) + " ",
	} {
		if got := one(t, `<a b = `+in+`/>`).SelectAttrValue("b", "?"); got != want {
			t.Errorf("attribute %.40q: got %.40q", in, got)
		}
	}
	if e := one(t, `<a><![CDATA[]]></a>`); len(e.Child) != 0 {
		t.Error("an empty CDATA section is a text")
	}
}

func long(n int) string { return strings.Repeat("é", n/2) }

// The names of the fifth edition of XML 1.0.
func TestNames(t *testing.T) {
	for _, name := range []string{"a", "_", "A-1.b_", "é", "a·", "日本", "\U00010000", "\U000EFFFF", "\u0370", strings.Repeat("n", 256)} {
		if e := one(t, "<"+name+" "+name+"='v'></"+name+"  >"); e.Tag != name || e.SelectAttrValue(name, "") != "v" {
			t.Errorf("%q: got <%s>", name, e.Tag)
		}
	}
	for _, name := range []string{"", "a:b", "1", "-", "a b", "×", "\u037E", "\u2000", "\u3000", "\uFDD0", "\U000F0000", "a\xFF", "a\uFFFE"} {
		if isNCName(name) {
			t.Errorf("%q is a name", name)
		}
	}
}

// The canonical form: see Reader.
func TestCanonical(t *testing.T) {
	const head = `<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' xmlns:p='urn:p' xml:lang='de'>`
	for in, want := range map[string]string{
		`<message/>`:                                                        `<message xmlns="jabber:client" xml:lang="de"/>`,
		`<message xml:lang='en'/>`:                                          `<message xmlns="jabber:client" xml:lang="en"/>`,
		`<message lang='en'/>`:                                              `<message xmlns="jabber:client" lang="en" xml:lang="de"/>`,
		`<message xml:lang=''/>`:                                            `<message xmlns="jabber:client" xml:lang=""/>`,
		`<message from='a'><body/>x</message>`:                              `<message xmlns="jabber:client" from="a" xml:lang="de"><body/>x</message>`,
		`<message xmlns='evil'/>`:                                           `<message xmlns="evil"/>`,
		`<a xmlns=''/>`:                                                     `<a xmlns=""/>`,
		`<s:features/>`:                                                     `<features xmlns="http://etherx.jabber.org/streams"/>`,
		`<p:a b='c' xmlns='jabber:client'/>`:                                `<a xmlns="urn:p" b="c"/>`,
		`<p:a><p:b/><b/></p:a>`:                                             `<a xmlns="urn:p"><b/><b xmlns="jabber:client"/></a>`,
		`<p:a xmlns='u'><b><c/></b><p:d/></p:a>`:                            `<a xmlns="urn:p"><b xmlns="u"><c/></b><d/></a>`,
		`<p:a><b xmlns=''><c/></b></p:a>`:                                   `<a xmlns="urn:p"><b xmlns=""><c/></b></a>`,
		`<p:a x='1' p:x='2'/>`:                                              `<a xmlns="urn:p" xmlns:p="urn:p" x="1" p:x="2"/>`,
		`<p:a p:x='1' p:y='2' xmlns:q='u'/>`:                                `<a xmlns="urn:p" xmlns:p="urn:p" p:x="1" p:y="2"/>`,
		`<p:a p:x='1'><b xmlns='u' p:x=''/></p:a>`:                          `<a xmlns="urn:p" xmlns:p="urn:p" p:x="1"><b xmlns="u" xmlns:p="urn:p" p:x=""/></a>`,
		`<p:a><q:b xmlns:q='urn:p' xmlns:p='u'/></p:a>`:                     `<a xmlns="urn:p"><b/></a>`,
		`<p:a><p:b xmlns:p='u'/><p:c/></p:a>`:                               `<a xmlns="urn:p"><b xmlns="u"/><c/></a>`,
		`<p:a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:x='1'/>`: `<a xmlns="urn:p" xml:x="1"/>`,
	} {
		_, stanzas, err := readAll(strings.NewReader(head+in+`</s:stream>`), Limits{})
		if err != io.EOF || len(stanzas) != 1 {
			t.Errorf("%s: %d stanzas, %v", in, len(stanzas), err)
			continue
		}
		if got, err := Append(nil, stanzas[0]); err != nil || string(got) != want {
			t.Errorf("%s\n got %s, %v\nwant %s", in, got, err, want)
		}
	}
}

// Etree's own accessors understand a stanza out of context.
func TestAccessors(t *testing.T) {
	e := one(t, `<message stream:id='1'><x xmlns='urn:x'><y/>text</x><body>hi</body></message>`)
	x := e.ChildElements()[0]
	if e.NamespaceURI() != "jabber:client" || x.NamespaceURI() != "urn:x" || x.ChildElements()[0].NamespaceURI() != "urn:x" {
		t.Error("wrong namespaces")
	}
	if a := e.SelectAttr("stream:id"); a == nil || a.NamespaceURI() != "http://etherx.jabber.org/streams" || a.Element() != e {
		t.Error("wrong attribute")
	}
	body := x.NextSibling()
	if e.Parent() != nil || e.Index() != -1 || body == nil || body.Text() != "hi" || body.Parent() != e {
		t.Error("wrong relatives")
	}
	// Elements share allocations; none may grow into its neighbour.
	before := dump(body)
	for i := range 20 {
		x.CreateAttr(fmt.Sprint("a", i), "v")
		x.CreateElement("new")
	}
	if x.Remove(); dump(body) != strings.Replace(before, " 1", " 0", 1) || len(e.Child) != 1 {
		t.Error("changing an element changed another")
	}
}

func TestHeader(t *testing.T) {
	r := NewReader(strings.NewReader(openStream+endStream), Limits{})
	h, err := r.Header()
	const want = `"":"stream" "":"xmlns"="http://etherx.jabber.org/streams" "":"from"="montague.example" "":"id"="s1" "":"version"="1.0"` + "\n"
	if err != nil || dump(h) != want || r.ContentNS() != "jabber:client" {
		t.Errorf("got %v, %v, content %q", dump(h), err, r.ContentNS())
	}
	if _, err := r.Header(); err == nil {
		t.Error("a second call succeeds")
	}
	if _, _, err := NewReader(strings.NewReader(openStream), Limits{}).Next(); err == nil {
		t.Error("Next before Header succeeds")
	}
	if h, stanzas, err := readAll(strings.NewReader(`<s/>`), Limits{}); dump(h) != `"":"s" "":"xmlns"=""`+"\n" || stanzas != nil || err != io.EOF {
		t.Errorf("empty stream: got %v, %v, %v", h, stanzas, err)
	}
}

// A stanza of another namespace is an element like any other, and says so.
func TestForeignStanza(t *testing.T) {
	for _, ns := range []string{"jabber:server", "evil"} {
		if e := one(t, `<message xmlns='`+ns+`'/>`); e.NamespaceURI() != ns {
			t.Errorf("got %q", e.NamespaceURI())
		}
	}
}

// White space between stanzas is skipped, however much there is (RFC 6120, section 11.7).
func TestWhiteSpace(t *testing.T) {
	space := strings.Repeat(" \r\n\t", 100_000)
	doc := openStream + space + `<a/>` + space + `<b/>` + space + endStream
	got := transcript(strings.NewReader(doc), Limits{})
	want := transcript(strings.NewReader(openStream+`<a/><b/>`+endStream), Limits{})
	if got != want {
		t.Errorf("got %s", got)
	}
}

// session is a stream with something of everything.
const session = " <?xml version='1.0' encoding='UTF-8'?>\r\n<stream:stream xmlns='jabber:client'\n xmlns:stream='http://etherx.jabber.org/streams' xml:lang='en' id=\"&lt;1&gt;\">" +
	`<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>` + "\r\n \n" +
	typicalMessage + ` <p:x xmlns:p='urn:p' p:a = '1&#x20AC;' b="2"><p:y/><y xmlns=''>]]]&gt;</y></p:x >` +
	"<message><body>\r\n\u00E9\u20AC\U0001F600\r]]<![CDATA[<&]>]]]]>\r</body\t></message>" +
	"<iq type='get' id='\r\n\U0001F600&quot;'/>" + ` </stream:stream>`

// It does not matter how the bytes of a stream come in.
func TestSplits(t *testing.T) {
	want := transcript(strings.NewReader(session), Limits{})
	if !strings.HasSuffix(want, "\nEOF\n") || strings.Count(want, "jabber:client") != 4 {
		t.Fatalf("got %s", want)
	}
	for i := range len(session) + 1 {
		src := io.MultiReader(strings.NewReader(session[:i]), strings.NewReader(session[i:]))
		if got := transcript(src, Limits{}); got != want {
			t.Fatalf("split at %d: got %s", i, got)
		}
	}
	for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
		if got := transcript(wrap(strings.NewReader(session)), Limits{}); got != want {
			t.Errorf("got %s", got)
		}
	}
}

// A connection that ends early is never taken for a complete stream.
func TestTruncated(t *testing.T) {
	for i := range len(session) {
		_, _, err := readAll(strings.NewReader(session[:i]), Limits{})
		if err != io.ErrUnexpectedEOF {
			t.Fatalf("cut at %d: got %v", i, err)
		}
	}
}

// Nothing is read that is not needed (RFC 6120, section 5.4.2.3), and what was read too far shows.
func TestReadsNoMoreThanNeeded(t *testing.T) {
	parts := []string{openStream, `<a>x</a>`, `<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`, `<b/><c/>`, endStream + `<x`}
	reads := 0
	src := readFunc(func(p []byte) (int, error) {
		reads++
		return copy(p, parts[reads-1]), nil
	})
	r := NewReader(src, Limits{})
	if _, err := r.Header(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		tag             string
		reads, buffered int
	}{{"a", 2, 0}, {"proceed", 3, 0}, {"b", 4, 4}, {"c", 4, 0}} {
		e, _, err := r.Next()
		if err != nil || e.Tag != want.tag || reads != want.reads || r.Buffered() != want.buffered {
			t.Fatalf("%s: got %v, %v after %d reads, %d bytes buffered", want.tag, e, err, reads, r.Buffered())
		}
	}
	if _, _, err := r.Next(); err != io.EOF || r.Buffered() != 2 {
		t.Errorf("got %v, %d bytes buffered", err, r.Buffered())
	}
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// Errors are final, and those of the connection come through.
func TestErrors(t *testing.T) {
	broken := errors.New("broken")
	src := io.MultiReader(strings.NewReader(openStream+`<a/><b`), iotest.ErrReader(broken))
	r := NewReader(src, Limits{})
	r.Header()
	if e, _, err := r.Next(); err != nil || e.Tag != "a" {
		t.Fatal(err)
	}
	for range 2 {
		if e, n, err := r.Next(); e != nil || n != 0 || err != broken {
			t.Errorf("got %v, %v", e, err)
		}
	}
	r = NewReader(readFunc(func([]byte) (int, error) { return 0, nil }), Limits{})
	if _, err := r.Header(); err != io.ErrNoProgress {
		t.Errorf("got %v", err)
	}
	r = NewReader(strings.NewReader(openStream+`<a><!----></a><message from='admin@x'/>`+endStream), Limits{})
	r.Header()
	_, _, first := r.Next()
	for range 20 {
		e, _, err := r.Next()
		if e != nil || err != first || first.Error() != "comment, processing instruction or document type at byte 157 (restricted-xml)" {
			t.Fatalf("got %v, %v", e, err)
		}
	}
	if _, err := r.Header(); err != first {
		t.Errorf("got %v", err)
	}
}

// Stanzas do not keep each other alive, nor change when others are read.
func TestStanzasAreIndependent(t *testing.T) {
	r := NewReader(strings.NewReader(openStream+strings.Repeat(typicalMessage+shortMessage, 50)+endStream), Limits{})
	r.Header()
	var all []*etree.Element
	var dumps []string
	for {
		e, _, err := r.Next()
		if err != nil {
			break
		}
		all, dumps = append(all, e), append(dumps, dump(e))
	}
	for i, e := range all {
		if dump(e) != dumps[i] || i >= 2 && dumps[i] != dumps[i-2] {
			t.Fatalf("stanza %d changed", i)
		}
	}
	if len(all) != 100 || !bytes.Contains([]byte(dumps[0]), []byte("& more")) {
		t.Errorf("got %d stanzas", len(all))
	}
}
