package wire

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

// A typical message as a server delivers it, and a short one.
const (
	typicalMessage = `<message xmlns='jabber:client' to='romeo@montague.example/orchard' from='juliet@capulet.example/balcony' type='chat' id='d8a3c4b2-51f7-4a0e-9c1d-7e6f5a4b'>` +
		`<body>Art thou not Romeo, and a Montague? &amp; more</body>` +
		`<stanza-id xmlns='urn:xmpp:sid:0' by='montague.example' id='2026-01-02-77e1'/>` +
		`<origin-id xmlns='urn:xmpp:sid:0' id='d8a3c4b2-51f7-4a0e-9c1d-7e6f5a4b'/>` +
		`<delay xmlns='urn:xmpp:delay' stamp='2026-01-02T03:04:05Z'/>` +
		`<request xmlns='urn:xmpp:receipts'/>` +
		`<active xmlns='http://jabber.org/protocol/chatstates'/></message>`
	shortMessage = `<message to='romeo@montague.example/orchard' from='juliet@capulet.example/balcony' type='chat' id='5c0ea3a1'>` +
		`<body>Wherefore art thou Romeo?</body></message>`
	openStream = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='montague.example' id='s1' version='1.0'>`
	endStream  = `</stream:stream>`
)

// loop is the stream of a peer that says head, then other a number of times,
// and then body for ever.
type loop struct {
	head, other, body string
	others            int
	rest              string
}

func (l *loop) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if l.rest == "" {
			switch l.rest = l.body; {
			case l.head != "":
				l.rest, l.head = l.head, ""
			case l.others > 0:
				l.rest = l.other
				l.others--
			}
		}
		k := copy(p[n:], l.rest)
		l.rest = l.rest[k:]
		n += k
	}
	return n, nil
}

func BenchmarkReader(b *testing.B) {
	for name, stanza := range map[string]string{"typical": typicalMessage, "short": shortMessage} {
		b.Run(name, func(b *testing.B) {
			r := NewReader(&loop{head: openStream, body: stanza}, Limits{})
			if _, err := r.Header(); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(stanza)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodingXML(b *testing.B) {
	for name, stanza := range map[string]string{"typical": typicalMessage, "short": shortMessage} {
		b.Run(name, func(b *testing.B) {
			d := xml.NewDecoder(&loop{head: openStream, body: stanza})
			if _, err := oracleHeader(d); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(stanza)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := oracleNext(d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	_, stanzas, err := readAll(strings.NewReader(openStream+typicalMessage+endStream), Limits{})
	if err != io.EOF {
		b.Fatal(err)
	}
	var buf []byte
	b.SetBytes(int64(len(typicalMessage)))
	b.ReportAllocs()
	for b.Loop() {
		if buf, err = Append(buf[:0], stanzas[0]); err != nil {
			b.Fatal(err)
		}
	}
	if !bytes.Contains(buf, []byte("Montague? &amp; more")) {
		b.Fatalf("%s", buf)
	}
}

// oracleHeader reads up to the start tag of the stream with encoding/xml.
func oracleHeader(d *xml.Decoder) (*etree.Element, error) {
	for {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		if start, ok := t.(xml.StartElement); ok {
			return oracleElement(nil, start), nil
		}
	}
}

// oracleNext reads a first-level child with encoding/xml. It builds what the
// Reader builds, but for the attributes with a prefix, which encoding/xml has
// forgotten: those have their namespace for a prefix.
func oracleNext(d *xml.Decoder) (*etree.Element, error) {
	var e, top *etree.Element
	for {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			top = oracleElement(top, t)
			if e == nil {
				e = top
			}
		case xml.EndElement:
			if top == nil {
				return nil, io.EOF
			}
			if top = top.Parent(); top == nil {
				return e, nil
			}
		case xml.CharData:
			if top != nil {
				oracleText(top, string(t))
			}
		}
	}
}

func oracleElement(parent *etree.Element, start xml.StartElement) *etree.Element {
	e := etree.NewElement(start.Name.Local)
	if parent != nil {
		parent.AddChild(e)
	}
	if parent == nil || start.Name.Space != parent.NamespaceURI() {
		e.CreateAttr("xmlns", start.Name.Space)
	}
	for _, a := range start.Attr {
		if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
			continue
		}
		if a.Name.Space == "" {
			e.CreateAttr(a.Name.Local, a.Value)
			continue
		}
		e.CreateAttr("x:"+a.Name.Local, a.Value)
		e.Attr[len(e.Attr)-1].Space = a.Name.Space
	}
	return e
}

// oracleText joins adjacent text and CDATA.
func oracleText(e *etree.Element, s string) {
	if n := len(e.Child); n > 0 {
		if c, ok := e.Child[n-1].(*etree.CharData); ok {
			c.SetData(c.Data + s)
			return
		}
	}
	if s != "" {
		e.CreateText(s)
	}
}

// readAll reads a whole stream. The error is never nil; it is io.EOF for one
// that is complete.
func readAll(src io.Reader, l Limits) (header *etree.Element, stanzas []*etree.Element, err error) {
	r := NewReader(src, l)
	if header, err = r.Header(); err != nil {
		return nil, nil, err
	}
	for {
		e, _, err := r.Next()
		if err != nil {
			return header, stanzas, err
		}
		stanzas = append(stanzas, e)
	}
}
