package wire

import (
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// flawedBodies hold what a server relays and nobody can keep. What is left of each is
// what the flaw leaves out nothing else of.
var flawedBodies = []struct{ body, flaw, left string }{
	// Depth counts from the stanza, and from the innermost that is forwarded.
	{"<message>" + repeat("<y>", 32) + "t" + repeat("</y>", 32) + "<body>x</body></message>", "nested too deeply (more than 32 levels)",
		"<message>" + repeat("<y>", 31) + repeat("</y>", 31) + "<body>x</body></message>"},
	{"<message>" + repeat("<y>", 100) + "<![CDATA[</y>]]>" + repeat("</y>", 100) + "</message>", "nested too deeply",
		"<message>" + repeat("<y>", 31) + repeat("</y>", 31) + "</message>"},
	{"<message>" + repeat("<y>", 31) + "<z a='>' b=\"/>\"/>" + repeat("</y>", 31) + "</message>", "nested too deeply",
		"<message>" + repeat("<y>", 31) + repeat("</y>", 31) + "</message>"},
	// Attributes
	{"<message><a" + manyAttrs(65) + "/><b/></message>", "too many attributes (more than 64)", "<message><a" + manyAttrs(64) + "/><b/></message>"},
	{"<message" + manyAttrs(1000) + "><b/></message>", "too many attributes", "<message" + manyAttrs(64) + "><b/></message>"},
	// Names
	{"<message><" + repeat("n", 257) + " a='b'>x<c/></" + repeat("n", 257) + "><b/></message>", "name too long (more than 256 bytes)", "<message><b/></message>"},
	{"<message><" + repeat("n", 100_000) + "/><b/></message>", "name too long", "<message><b/></message>"},
	{"<message " + repeat("n", 40_000) + "='x' a='b'/>", "name too long", "<message a='b'/>"},
	{"<message><a xmlns='" + repeat("u", 257) + "'><b/></a><b/></message>", "namespace name too long (more than 256 bytes)", "<message><b/></message>"},
	{"<message><a xmlns:p='" + repeat("u", 257) + "' p:b='c'><p:b/><c/></a></message>", "namespace name too long", "<message><a><c/></a></message>"},
	{`<message><a:b:c>x</a:b:c><b/></message>`, "name with a misplaced colon", "<message><b/></message>"},
	{`<message><:c/><d:/><b :a='1' c:='2' d='3'/></message>`, "name with a misplaced colon", "<message><b d='3'/></message>"},
	// Namespaces
	{`<message><p:a>x<p:b/></p:a><b/></message>`, "undeclared prefix", "<message><b/></message>"},
	{`<message><a p:b='c' d='e'/></message>`, "undeclared prefix", "<message><a d='e'/></message>"},
	{`<message><b xmlns:p='u'/><p:c/></message>`, "undeclared prefix", "<message><b/></message>"},
	{`<message><x:body xmlns:x='jabber:client'>hi</x:body><b/></message>`, "prefix for the content namespace", "<message><b/></message>"},
	{`<a xmlns='u' xmlns:x='jabber:client'><b><x:message/></b></a>`, "prefix for the content namespace", "<a xmlns='u'><b/></a>"},
	{`<message><xml:a/><b/></message>`, "element in the XML namespace", "<message><b/></message>"},
	{`<message><a xmlns:p=''><p:b/><c/></a></message>`, "prefix without a namespace", "<message><a><c/></a></message>"},
	{`<message><a xmlns:xml='u' xml:lang='x'/></message>`, "redefinition of a reserved prefix", "<message><a xml:lang='x'/></message>"},
	{`<message><a xmlns:p='http://www.w3.org/XML/1998/namespace'/></message>`, "redefinition of a reserved prefix", "<message><a/></message>"},
	{`<message><a xmlns='http://www.w3.org/2000/xmlns/'><b/></a></message>`, "redefinition of a reserved prefix", "<message/>"},
	{`<message><a xmlns:xmlns='u'/></message>`, "redefinition of a reserved prefix", "<message><a/></message>"},
	{`<message><a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/></message>`, "duplicate attribute", "<message><a xmlns:p='u' p:b='1'/></message>"},
	// The attributes of a stanza are somebody else's as well. What all stanzas have is kept.
	{`<message from='a' :b='1' c:='2' stream:d:e='3' xmlns:='4'/>`, "name with a misplaced colon", "<message from='a'/>"},
	{`<message p:b='c' from='a'/>`, "undeclared prefix", "<message from='a'/>"},
	{`<message xmlns:p='' p:b='c' from='a'/>`, "prefix without a namespace", "<message from='a'/>"},
	{`<message xmlns:xml='u' from='a'/>`, "redefinition of a reserved prefix", "<message from='a'/>"},
	{`<message xmlns:ns1='http://www.w3.org/XML/1998/namespace' ns1:foo='1' from='a'/>`, "redefinition of a reserved prefix", "<message from='a'/>"},
	{`<message xmlns:p='http://www.w3.org/2000/xmlns/' from='a'/>`, "redefinition of a reserved prefix", "<message from='a'/>"},
	{`<message xmlns:xmlns='http://www.w3.org/2000/xmlns/' from='a'/>`, "redefinition of a reserved prefix", "<message from='a'/>"},
	{`<message xmlns:p='u' xmlns:q='u' p:b='1' q:b='2' from='a'/>`, "duplicate attribute", "<message xmlns:p='u' p:b='1' from='a'/>"},
	{"<message" + manyAttrs(1000) + " from='a' to='b' id='c' type='d' e='f' xmlns='jabber:client'/>", "too many attributes",
		"<message" + manyAttrs(64) + " from='a' to='b' id='c' type='d'/>"},
	{"<message><a" + manyAttrs(65) + " from='a' xmlns='u'/></message>", "too many attributes", "<message><a xmlns='u'" + manyAttrs(64) + "/></message>"},
	{"<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'" + manyAttrs(65) + " from='a'/></forwarded></message>", "too many attributes",
		"<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'" + manyAttrs(64) + " from='a'/></forwarded></message>"},
	// The first flaw is the one that is told.
	{`<message><p:a/><a` + manyAttrs(65) + `/></message>`, "undeclared prefix", "<message><a" + manyAttrs(64) + "/></message>"},
}

func manyAttrs(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(" a" + string(rune('a'+i/676%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) + "=''")
	}
	return b.String()
}

// checkFlaw reads a stream whose last stanza is not whole, in one piece and byte by byte,
// with another stanza after it, which is. It returns what is left of the first.
func checkFlaw(t *testing.T, doc, flaw string, l Limits) string {
	t.Helper()
	left := ""
	for _, src := range []io.Reader{strings.NewReader(doc + "<after>x</after>" + endStream), iotest.OneByteReader(strings.NewReader(doc + "<after>x</after>" + endStream))} {
		r := NewReader(src, l)
		if _, err := r.Header(); err != nil {
			t.Fatal(err)
		}
		e, _, err := r.Next()
		if err != nil || !strings.Contains(r.Flaw(), flaw) {
			t.Errorf("%.120q: flaw %q, %v; want %q", doc, r.Flaw(), err, flaw)
			return ""
		}
		left = dump(e)
		if e, _, err := r.Next(); err != nil || r.Flaw() != "" || e.Tag != "after" || e.Text() != "x" {
			t.Errorf("%.120q: after it comes %v, flaw %q, %v", doc, e, r.Flaw(), err)
		}
	}
	return left
}

// What somebody else wrote ends nothing that comes after it.
func TestFlaws(t *testing.T) {
	for _, c := range flawedBodies {
		left := checkFlaw(t, openStream+c.body, c.flaw, Limits{Stanza: 1 << 20})
		if want := dump(one(t, c.left)); left != want {
			t.Errorf("%.120q: left is\n%swant\n%s", c.body, left, want)
		}
	}
}

// What is skipped has to be XML all the same.
func TestFlawsAreWellFormed(t *testing.T) {
	deep, up := "<message>"+repeat("<y>", 32), repeat("</y>", 32)+"</message>"
	for in, condition := range map[string]string{
		"<b></c>": notWellFormed, "<b": notWellFormed, "<>": notWellFormed, "<b/": notWellFormed, "<b c></b>": notWellFormed, "<b c=d/>": notWellFormed,
		"<b c='<'/>": notWellFormed, "]]>": notWellFormed, "&nbsp;": restricted, "<!-- c -->": restricted, "<?pi?>": restricted,
		"\x01": notWellFormed, "\xff": badEncoding, "</b>": notWellFormed, "<b c='1'd='2'/>": notWellFormed, "&#0;": notWellFormed,
	} {
		checkFailure(t, openStream+deep+in+up+endStream, condition, Limits{})
	}
	// Raw duplicates are no XML, however deep, or many.
	for _, in := range []string{"<message><a b='1' b='2'/></message>", "<message" + manyAttrs(64) + repeat(" from='a'", 100) + "/>", "<message" + manyAttrs(64) + repeat(" xmlns='a'", 2) + "/>"} {
		checkFailure(t, openStream+in, notWellFormed, Limits{})
	}
}

// The same message is accepted by itself, in a carbon copy and in an archive.
func TestForwardedDepth(t *testing.T) {
	deep := func(n int) string {
		return "<message xmlns='jabber:client'><a" + manyAttrs(64) + "/>" + repeat("<y>", n-1) + repeat("</y>", n-1) + "</message>"
	}
	envelopes := map[string][2]string{
		"live":    {"", ""},
		"carbon":  {"<message><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>", "</forwarded></received></message>"},
		"archive": {"<message><result xmlns='urn:xmpp:mam:2'><f:forwarded xmlns:f='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay'/>", "</f:forwarded></result></message>"},
		"both": {"<message><result xmlns='urn:xmpp:mam:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>",
			"</forwarded></received></message></forwarded></result></message>"},
	}
	for name, e := range envelopes {
		r := NewReader(strings.NewReader(openStream+e[0]+deep(32)+e[1]+endStream), Limits{})
		r.Header()
		if _, _, err := r.Next(); err != nil || r.Flaw() != "" {
			t.Errorf("%s, at the limit: %q, %v", name, r.Flaw(), err)
		}
		checkFlaw(t, openStream+e[0]+deep(33)+e[1], "nested too deeply", Limits{})
	}
	// It cannot be used to nest without an end.
	endless := repeat("<message xmlns='jabber:client'><forwarded xmlns='urn:xmpp:forward:0'>", 200) + repeat("</forwarded></message>", 200)
	checkFlaw(t, openStream+endless, "nested too deeply", Limits{Stanza: 1 << 20})
}

// What is too large is read past. Its sender and its id can still be told.
func TestTooLarge(t *testing.T) {
	l := Limits{Stanza: 10_000, End: 1 << 20}
	const id = "<stanza-id xmlns='urn:xmpp:sid:0' id='7'/>"
	head, tail := "<message from='a'><body>", "</body>"+id+"</message>"
	left := checkFlaw(t, openStream+head+repeat("x]]&gt;", 100_000)+tail, "too large (more than 10000 bytes)", l)
	if want := dump(one(t, "<message from='a'><body/>"+id+"</message>")); left != want {
		t.Errorf("left is\n%swant\n%s", left, want)
	}
	for name, body := range map[string]string{
		"attribute":  "<message from='a'><a b='" + repeat("&#233;", 50_000) + "'/>" + id + "</message>",
		"attributes": "<message from='a'><a" + manyAttrs(10_000) + "/>" + id + "</message>",
		"name":       "<message from='a'><" + repeat("n", 100_000) + "/>" + id + "</message>",
		"siblings":   "<message from='a'><y>" + repeat("<z>t</z>", 50_000) + "</y>" + id + "</message>",
		"depth":      "<message from='a'>" + repeat("<z>", 100_000) + repeat("</z>", 100_000) + id + "</message>",
		"cdata":      "<message from='a'><y>" + repeat("<![CDATA[x]]]]>", 50_000) + "</y>" + id + "</message>",
		"spaces":     "<message from='a'><y" + repeat(" ", 50_000) + "/>" + id + "</message>",
	} {
		left := checkFlaw(t, openStream+body, "", l)
		if !strings.Contains(left, `"id"="7"`) || !strings.Contains(left, `"from"="a"`) {
			t.Errorf("%s: left is\n%.300s", name, left)
		}
	}
	checkFlaw(t, openStream+"<message>"+repeat("<a/>", 5000)+id+"</message>", "too many parts (more than 100)", Limits{Nodes: 100})
	checkFailure(t, openStream+"<message><body>"+repeat("x", 1<<20)+"</body></message>", policy, l)
	// Where the end comes in the middle of a "]]>" it is still found.
	for n := 9_980; n < 9_990; n++ {
		checkFailure(t, openStream+"<message><body>"+repeat("x", n)+"]]>"+tail, notWellFormed, l)
		checkFailure(t, openStream+"<message><body>"+repeat("x", n+2000)+"]]>"+tail, notWellFormed, l)
	}
}

// Whatever is read past takes no memory to speak of.
func TestTooLargeMemory(t *testing.T) {
	for name, c := range map[string][2]string{
		"attribute":  {"<a b='", repeat("x", 1<<10)},
		"text":       {"<a>", "é\r\n&lt;"},
		"cdata":      {"<a><![CDATA[", "]"},
		"siblings":   {"<a>", "<b/>x"},
		"children":   {"<a>", "<b c='" + repeat("x", 900) + "'/>"},
		"attributes": {"<a>", "<b" + manyAttrs(200) + "/>"},
		"senders":    {"<a" + manyAttrs(64), " from='a'"},
		"depth":      {"", "<a>"},
		"name":       {"<a><", "n"},
		"prefixes":   {"<a><b ", " xmlns:p='u'"},
	} {
		t.Run(name, func(t *testing.T) {
			src := &watched{src: &loop{head: openStream + c[0], body: c[1]}}
			r := NewReader(src, Limits{Stanza: 1 << 20, End: 64 << 20})
			runtime.GC()
			_, err := r.Header()
			for err == nil {
				_, _, err = r.Next()
			}
			if name != "prefixes" && !strings.Contains(err.Error(), "too large (more than 64 MiB)") {
				t.Error(err)
			}
			if src.peak > 40<<20 {
				t.Errorf("%d MiB of heap", src.peak>>20)
			}
		})
	}
}
