package wire

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

// reread writes e into a stream whose content namespace and prefixes have
// nothing to do with it, and reads it again.
func reread(e *etree.Element) (*etree.Element, []byte, error) {
	xml, err := Append(nil, e)
	if err != nil {
		return nil, nil, err
	}
	doc := `<root xmlns='urn:example:root' xml:lang='x'>` + string(xml) + `</root>`
	_, stanzas, err := readAll(strings.NewReader(doc), Limits{Stanza: 1 << 30, Attrs: 200, Depth: 100})
	if err != io.EOF || len(stanzas) != 1 {
		return nil, xml, fmt.Errorf("%d elements, %w", len(stanzas), err)
	}
	return stanzas[0], xml, nil
}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(12) {
		switch r.IntN(6) {
		case 0:
			b.WriteString([]string{"]]>", "<![CDATA[", "&amp;", "<!--", "\r\n", "\uFEFF", "\uFFFD", "\U0010FFFF", "\x7F", "\u0085"}[r.IntN(10)])
		case 1:
			b.WriteByte("\t\n\r<>&\"' ]"[r.IntN(10)])
		case 2:
			if c := rune(r.IntN(0x110000)); isChar(c) {
				b.WriteRune(c)
			}
		default:
			b.WriteByte(byte(' ' + r.IntN(95)))
		}
	}
	return b.String()
}

// randomElement makes a canonical element.
func randomElement(r *rand.Rand, parentNS string, depth int) *etree.Element {
	e := etree.NewElement([]string{"a", "b", "é", "x-y.z"}[r.IntN(4)])
	ns := []string{"", "urn:a", "urn:b&<>'\"\t\r\n"}[r.IntN(3)]
	if depth == 0 || ns != parentNS {
		e.CreateAttr("xmlns", ns)
	}
	if r.IntN(3) == 0 {
		e.CreateAttr("xmlns:p", "urn:p")
		e.CreateAttr("p:x", randomText(r))
	}
	for i := range r.IntN(4) {
		e.CreateAttr([]string{"xml:lang", "x", "y", "é"}[i], randomText(r))
	}
	text := false // adjacent texts would become one
	for range r.IntN(5) {
		if s := randomText(r); s != "" && !text {
			e.CreateText(s)
			text = true
		} else if depth < 5 {
			e.AddChild(randomElement(r, ns, depth+1))
			text = false
		}
	}
	return e
}

// Reading what was written gives back what it was written from.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		e := randomElement(r, "", 0)
		got, xml, err := reread(e)
		if err != nil {
			t.Fatalf("%s\n%s\n%v", dump(e), xml, err)
		}
		want := e.Copy()
		if dump(got) != dump(want) {
			t.Fatalf("%s\ngot  %swant %s", xml, dump(got), dump(want))
		}
	}
}

// Every character on its own, legal or not.
func TestEveryCharacter(t *testing.T) {
	for c := rune(0); c <= 0x10FFFF+1; c++ {
		if c > 0x3000 && c < 0xD700 || c > 0x10010 && c < 0x10FFF0 {
			continue // nothing happens there
		}
		legal := c == '\t' || c == '\n' || c == '\r' || c >= ' ' && c <= 0xD7FF || c >= 0xE000 && c <= 0xFFFD || c >= 0x10000 && c <= 0x10FFFF
		if isChar(c) != legal {
			if c <= 0x10FFFF {
				t.Errorf("%U: got %v", c, !legal)
			}
			continue
		}
		s := "a" + string(c) + "b"
		e := etree.NewElement("e")
		e.CreateAttr("xmlns", "")
		e.CreateAttr("v", s)
		e.CreateText(s)
		got, _, err := reread(e)
		if isSurrogate := c >= 0xD800 && c <= 0xDFFF; isSurrogate || !legal {
			continue // string(c) is something else, or Append has refused it
		}
		if err != nil || dump(got) != dump(e) {
			t.Errorf("%U: %v", c, err)
		}
	}
}

// What is written leaves nothing to be normalised.
func TestAppend(t *testing.T) {
	e := etree.NewElement("a")
	e.CreateAttr("xmlns", "u")
	e.CreateAttr("b", "&<>\"'\t\r\n é")
	e.CreateText("&<>\"'\t\r\n é]]>")
	e.CreateElement("p:c").CreateText("")
	e.CreateElement("d")
	e.CreateCData("<e>")
	const want = `start<a xmlns="u" b="&amp;&lt;&gt;&quot;&apos;&#x9;&#xD;&#xA; é">` +
		"&amp;&lt;&gt;&quot;&apos;\t&#xD;\n é]]&gt;" + `<p:c></p:c><d/>&lt;e&gt;</a>`
	got, err := Append([]byte("start"), e)
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
}

// What XML cannot carry is refused, not replaced, and names are names.
func TestAppendRefuses(t *testing.T) {
	for want, change := range map[string]func(e *etree.Element){
		`text of <a>: invalid UTF-8: 0xFF at byte 1`:                           func(e *etree.Element) { e.CreateText("x\xFF") },
		`text of <a>: invalid UTF-8: 0xED at byte 0`:                           func(e *etree.Element) { e.CreateText("\xED\xA0\x80") },
		`text of <a>: character U+0000 at byte 2 cannot be sent in XML`:        func(e *etree.Element) { e.CreateCData("é\x00") },
		`text of <a>: character U+FFFE at byte 0 cannot be sent in XML`:        func(e *etree.Element) { e.CreateText("\uFFFE") },
		`attribute b of <a>: character U+001B at byte 0 cannot be sent in XML`: func(e *etree.Element) { e.CreateAttr("b", "\x1B[0m") },
		`attribute b of <c>: invalid UTF-8: 0xC3 at byte 0`:                    func(e *etree.Element) { e.CreateElement("c").CreateAttr("b", "\xC3") },
		`"b><c" is not an XML name`:                                            func(e *etree.Element) { e.CreateElement("b><c") },
		`"" is not an XML name`:                                                func(e *etree.Element) { e.CreateElement("") },
		`"b='' c" is not an XML name`:                                          func(e *etree.Element) { e.CreateAttr("b='' c", "") },
		`"1" is not an XML prefix`:                                             func(e *etree.Element) { e.CreateAttr("1:b", "") },
		`"b:c" is not an XML name`:                                             func(e *etree.Element) { e.CreateElement("a:b:c") },
		`<a> contains a *etree.Comment, which XMPP does not allow`:             func(e *etree.Element) { e.CreateComment("c") },
		`<a> contains a *etree.ProcInst, which XMPP does not allow`:            func(e *etree.Element) { e.CreateProcInst("p", "") },
		`<a> contains a *etree.Directive, which XMPP does not allow`:           func(e *etree.Element) { e.CreateDirective("d") },
	} {
		e := etree.NewElement("a")
		change(e)
		dst := []byte("start")
		got, err := Append(dst, e)
		if err == nil || err.Error() != want || !bytes.Equal(got, dst) {
			t.Errorf("got %q, %v, want %v", got, err, want)
		}
	}
}

// The check of what a user has typed (XML 1.0, section 2.2).
func TestValidText(t *testing.T) {
	for s, want := range map[string]string{
		"":                                   "",
		"a\t\n\r \x7F\u0085\uFFFD\U0010FFFF": "",
		"\uFFFD\xFF":                         "invalid UTF-8: 0xFF at byte 3",
		"a\x00":                              "character U+0000 at byte 1 cannot be sent in XML",
		"é\x0C":                              "character U+000C at byte 2 cannot be sent in XML",
		"\uFFFF":                             "character U+FFFF at byte 0 cannot be sent in XML",
		"a\xC0\x80":                          "invalid UTF-8: 0xC0 at byte 1",
	} {
		if got := ValidText(s); got == nil && want != "" || got != nil && got.Error() != want {
			t.Errorf("%q: got %v, want %s", s, got, want)
		}
	}
}
