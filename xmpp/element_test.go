package xmpp_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/beevik/etree"

	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
)

// A lookup never matches an element of another namespace, however it is written.
func TestLookup(t *testing.T) {
	m := parse(t, `<message><body xmlns='evil'>forged</body><e:body xmlns:e='evil'>forged</e:body><x xmlns='u'><body>inner</body></x><body>true</body><body/></message>`)
	if s, ok := xmpp.Text(m, xmpp.NSClient, "body"); s != "true" || !ok {
		t.Errorf("body is %q, %v", s, ok)
	}
	if all := xmpp.Children(m, xmpp.NSClient, "body"); len(all) != 2 {
		t.Errorf("%d bodies", len(all))
	}
	if s, ok := xmpp.Text(m, "evil", "body"); s != "forged" || !ok {
		t.Errorf("the other body is %q, %v", s, ok)
	}
	x := xmpp.Child(m, "u", "x")
	if x == nil || xmpp.Child(x, "u", "body") == nil || xmpp.Child(x, xmpp.NSClient, "body") != nil {
		t.Error("an inherited namespace")
	}
	for _, absent := range [][2]string{{"", "body"}, {"jabber:server", "body"}, {xmpp.NSClient, "subject"}, {"u", "body"}, {xmpp.NSClient, "x"}, {xmpp.NSClient, "e:body"}} {
		if xmpp.Child(m, absent[0], absent[1]) != nil {
			t.Errorf("found %v", absent)
		}
	}
	if s, ok := xmpp.Text(m, xmpp.NSClient, "thread"); s != "" || ok {
		t.Errorf("no thread is %q, %v", s, ok)
	}
	if xmpp.Child(nil, "", "x") != nil || xmpp.Is(nil, "", "") || xmpp.Children(nil, "", "x") != nil {
		t.Error("nil is something")
	}

	// An element made by hand whose tag has a prefix is none of ours.
	hand := xmpp.NewElement(xmpp.NSClient, "message")
	p := hand.CreateElement("p:body")
	p.CreateAttr("xmlns:p", xmpp.NSClient)
	if xmpp.Child(hand, xmpp.NSClient, "body") != nil {
		t.Error("a prefix is not looked at")
	}
	for in, want := range map[string]bool{
		"<message/>": true, "<presence/>": true, "<iq/>": true,
		"<message xmlns='evil'/>": false, "<message xmlns='jabber:server'/>": false, "<Message/>": false, "<r xmlns='urn:xmpp:sm:3'/>": false,
	} {
		if got := xmpp.IsStanza(parse(t, in)); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func TestTextOf(t *testing.T) {
	e := parse(t, "<message><body>a<b>not this</b><![CDATA[<c>]]>&amp;</body><subject/></message>")
	if s, ok := xmpp.Text(e, xmpp.NSClient, "body"); s != "a<c>&" || !ok {
		t.Errorf("%q, %v", s, ok)
	}
	if s, ok := xmpp.Text(e, xmpp.NSClient, "subject"); s != "" || !ok { // an empty one is not none
		t.Errorf("%q, %v", s, ok)
	}
	if a := parse(t, "<message xmlns:x='u' x:id='2' id='1' xml:lang='de'/>"); xmpp.Attr(a, "id") != "1" || xmpp.Attr(a, "lang") != "" {
		t.Error("an attribute of another namespace:", text(a))
	}
}

// An element without a language has its parent's (RFC 6120, section 8.1.5).
func TestLang(t *testing.T) {
	m := parse(t, "<message xml:lang='en'><body>a</body><body xml:lang='de'><i>b</i></body><x lang='fr' xmlns='u'/></message>")
	bodies := xmpp.Children(m, xmpp.NSClient, "body")
	for i, test := range []struct {
		e    *xmpp.Element
		want string
	}{
		{m, "en"}, {bodies[0], "en"}, {bodies[1], "de"}, {xmpp.Child(bodies[1], xmpp.NSClient, "i"), "de"}, {xmpp.Child(m, "u", "x"), "en"},
		{parse(t, "<message xml:lang='la'><body/></message>"), "la"},
		{parse(t, "<message xml:lang=''/>"), ""},
		{xmpp.NewElement("", "x"), ""},
	} {
		if got := xmpp.Lang(test.e); got != test.want {
			t.Errorf("%d: %q, want %q", i, got, test.want)
		}
	}
}

func TestAdd(t *testing.T) {
	inner := xmpp.Add(xmpp.NewElement("u", "x"), xmpp.NewText("u", "y", "1"), xmpp.NewText(xmpp.NSClient, "z", "2"))
	m := xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message", "to", "a@b", "type", "chat"), xmpp.NewText(xmpp.NSClient, "body", "<&>\r\n"), inner)
	want := `<message xmlns="jabber:client" to="a@b" type="chat"><body>&lt;&amp;&gt;&#xD;` + "\n" + `</body><x xmlns="u"><y>1</y><z xmlns="jabber:client">2</z></x></message>`
	if got := text(m); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("an attribute without a value")
		}
	}()
	odd := strings.Fields("a")
	xmpp.NewElement("", "x", odd...)
}

// What is built, parses back as what was meant.
func TestXML(t *testing.T) {
	request := parse(t, "<iq type='get' id='&lt;1&gt;' from='a@b/&quot;&amp;&apos;'><ping xmlns='urn:xmpp:ping'/></iq>")
	for _, e := range []*xmpp.Element{
		xmpp.NewIQ("set", mustJID("a@b/c d"), xmpp.NewElement("u", "x", "y", "tab\tlf\ncr\r'\"")),
		xmpp.Result(request), xmpp.Result(request, xmpp.NewText("u", "x", "\r\n\t ]]>")),
		xmpp.Refusal(request, "cancel", xmpp.ServiceUnavailable),
		xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message", "xml:lang", "de"), xmpp.NewText(xmpp.NSClient, "body", "\u00fc\U0001F600\u2028")),
	} {
		back := parse(t, text(e))
		if xmpp.Attr(e, "id") != xmpp.Attr(back, "id") || e.Tag != back.Tag {
			t.Errorf("%s is %s", text(e), text(back))
		}
		if !strings.Contains(text(e), "xml:lang") {
			back.RemoveAttr("xml:lang") // the stream's
		}
		if text(back) != text(e) {
			t.Errorf("%s is %s", text(e), text(back))
		}
	}
	iq := xmpp.NewIQ("get", xmpp.JID{}, xmpp.NewElement(xmpp.NSPing, "ping"))
	if slices.ContainsFunc(iq.Attr, func(a etree.Attr) bool { return a.Key == "to" }) || len(xmpp.Attr(iq, "id")) != 26 {
		t.Error("a request to the own account:", text(iq))
	}
	refusal := parse(t, text(xmpp.Refusal(request, "cancel", xmpp.ServiceUnavailable)))
	if xmpp.Attr(refusal, "to") != `a@b/"&'` || xmpp.Attr(refusal, "id") != "<1>" || *xmpp.ErrorOf(refusal) != (xmpp.StanzaError{Condition: xmpp.ServiceUnavailable, Type: "cancel"}) {
		t.Error(text(refusal))
	}
	if text(xmpp.Result(parse(t, "<iq type='get' id='1'/>"))) != `<iq xmlns="jabber:client" type="result" id="1"/>` {
		t.Error("an answer to nobody is to the server")
	}

	// What XML cannot carry is refused.
	bad := xmpp.NewText(xmpp.NSClient, "body", "\x1b")
	if _, err := xmpp.XML(bad); err == nil {
		t.Error("a control character")
	}
	if _, err := xmpp.XML(xmpp.NewElement("u", "a b")); err == nil {
		t.Error("a name with a space")
	}
	for in, ok := range map[string]bool{"a\tb\r\n": true, "": true, "\u0085": true, "\x00": false, "\x1b[2J": false, "\xff": false, "\ufffe": false} {
		if (xmpp.CheckText(in) == nil) != ok {
			t.Errorf("CheckText(%q)", in)
		}
	}
}

// What is kept of an error is bounded.
func TestKeptErrorOf(t *testing.T) {
	e := parse(t, "<message xmlns='jabber:client' type='error'><error type='cancel' by='"+strings.Repeat("b", 1<<16)+
		"'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:"+strings.Repeat("c", 1<<16)+"</gone>"+
		"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>"+strings.Repeat("ä", 1<<16)+"</text></error></message>")
	err := xmpp.KeptErrorOf(e)
	if n := len(err.Text) + len(err.By) + len(err.Address); err.Condition != xmpp.Gone || n > 16<<10 || !utf8.ValidString(err.Text) {
		t.Errorf("%s: %d bytes", err.Condition, n)
	}
}

// RFC 6120, section 8.3: the error of a stanza.
func TestErrorOf(t *testing.T) {
	const ns = " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
	for in, want := range map[string]xmpp.StanzaError{
		"<error type='cancel' by='b'><gone" + ns + ">xmpp:x</gone><text" + ns + ">moved</text><x xmlns='u'/></error>": {Condition: xmpp.Gone, Type: "cancel", Text: "moved", By: "b", Address: "xmpp:x"},
		"<error type='wait'><text" + ns + ">first</text><x xmlns='u'/><resource-constraint" + ns + "/></error>":       {Condition: xmpp.ResourceConstraint, Type: "wait", Text: "first"},
		"<error type='auth'><forbidden xmlns='evil'/></error>":                                                        {Condition: xmpp.UndefinedCondition, Type: "auth", Text: "forbidden"}, // what the application calls it
		"<error xmlns='evil' type='auth'><forbidden" + ns + "/></error>":                                              {Condition: xmpp.UndefinedCondition, Type: "cancel"},
		"": {Condition: xmpp.UndefinedCondition, Type: "cancel"},
		// The text in the language of the stanza.
		"<error type='wait' xml:lang='de'><conflict" + ns + "/><text" + ns + " xml:lang='en'>a</text><text" + ns + " xml:lang='DE'>b</text></error>": {Condition: xmpp.Conflict, Type: "wait", Text: "b"},
	} {
		if got := xmpp.ErrorOf(parse(t, "<message type='error'><body>what was sent</body>"+in+"</message>")); *got != want {
			t.Errorf("%s: %#v, want %#v", in, *got, want)
		}
	}
}

// RFC 6120, sections 8.3.3.5 and 8.3.3.14: the new address, if it is one.
func TestNewAddress(t *testing.T) {
	for in, want := range map[string]string{
		"xmpp:romeo@example.net": "xmpp:romeo@example.net", "romeo@example.net": "romeo@example.net", " \n xmpp:a@b?message;body=x ": "xmpp:a@b?message;body=x",
		"example.net": "example.net", "sip:5551@example.net": "sip:5551@example.net", "https://example.net/x": "https://example.net/x", "xmpp:züri@example.net": "xmpp:züri@example.net",
		"": "", "come and see": "", "@": "", "a@b@c": "", "xmpp:": "", "http://a b/": "", "xmpp:a\tb": "", "xmpp:a\u0085b": "", "xmpp:a\u2028b": "",
	} {
		for _, condition := range []xmpp.Condition{xmpp.Gone, xmpp.Redirect, xmpp.Conflict} {
			e := xmpp.NewElement(xmpp.NSClient, "error", "type", "modify")
			m := xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message", "type", "error"), xmpp.Add(e, xmpp.NewText(xmpp.NSStanzas, string(condition), in)))
			got := xmpp.ErrorOf(m)
			if condition == xmpp.Conflict && got.Address != "" || condition != xmpp.Conflict && got.Address != want {
				t.Errorf("%s %q: %q", condition, in, got.Address)
			}
			if got.Address != "" && got.Error() != string(condition)+", new address "+want {
				t.Errorf("%v", got)
			}
		}
	}
}

// Of a peer's words an error shows some hundred bytes, cut between characters.
func TestErrorsAreBounded(t *testing.T) {
	long := strings.Repeat("äöü \n", 100_000)
	name := strings.Repeat("ä", 100_000)
	for _, err := range []error{
		&xmpp.StanzaError{Condition: "conflict", Text: long},
		&xmpp.StanzaError{Condition: xmpp.Condition(name), Text: long},
		&xmpp.StanzaError{Condition: xmpp.Gone, Text: long, Address: name},
		&xmpp.StreamError{Condition: "conflict", Text: long},
		&xmpp.StreamError{Condition: xmpp.Condition(name), Text: long, Sent: true},
		&xmpp.AuthError{Mechanism: "PLAIN", Condition: xmpp.Condition(name), Text: long},
		&xmpp.AuthError{Err: errors.New(long)},
		&xmpp.AuthError{Err: &sasl.OfferError{Offered: strings.Fields(strings.Repeat("X-OTHER ", 10_000)), Reason: "none"}},
		&xmpp.DialError{Op: "tls", Addr: name, Err: errors.New(long)},
	} {
		s := err.Error()
		if len(s) > 700 || !utf8.ValidString(s) || strings.Contains(s, "\n") || !strings.Contains(s, "…") && !strings.Contains(s, "and others") {
			t.Errorf("%T: %d bytes: %s", err, len(s), s)
		}
	}
	for in, want := range map[string]string{"": "", "abc": "abc", "abcd": "abc…", "abä": "ab…", "äää": "ä…", "日本": "日…"} {
		if got := xmpp.Clip(in, 3); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// An element is in the namespace of clients where it names none, and an error says where
// a person has to look, counting characters.
func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"\n<message to='a'><p:x xmlns:p='u'/></message>\n": `<message xmlns="jabber:client" to="a"><x xmlns="u"/></message>`,
		"<ping xmlns='urn:xmpp:ping'/>":                    `<ping xmlns="urn:xmpp:ping"/>`,
		"<a>" + strings.Repeat("x", 1<<20) + "</a>":        `<a xmlns="jabber:client">` + strings.Repeat("x", 1<<20) + "</a>",
	} {
		if got := text(parse(t, in)); got != want {
			t.Errorf("%.80s: %.80s", in, got)
		}
	}
	for in, want := range map[string]string{
		"":                                  "line 1, column 1: no element",
		"<a/>\n<b/>":                        "line 2, column 1: more than one element",
		"<a>\r\n  \u00e9\u00e9<p:b/>\n</a>": "line 2, column 5: undeclared prefix",
		"<a>\n":                             "line 2, column 1: the element has no end",
		"<a>\n<?php ?></a>":                 "line 2, column 2: comment, processing instruction or document type",
		"<a>" + strings.Repeat("x", 10<<20) + "</a>": "line 1, column 10485761: too large (more than 10 MiB)",
	} {
		if e, err := xmpp.Parse([]byte(in)); e != nil || err == nil || err.Error() != want {
			t.Errorf("%.80q: %v, %v, want %s", in, e, err, want)
		}
	}
}

// RFC 6121, section 5.2.3; RFC 4647, section 3.3.1.
func TestInLang(t *testing.T) {
	for in, want := range map[string]string{
		"<m/>":                                  "-",
		"<m><b>1</b><b xml:lang='de'>2</b></m>": "1",
		"<m xml:lang='de'><b xml:lang='en'>1</b><b xml:lang='de'>2</b></m>":       "2",
		"<m xml:lang='de'><b xml:lang='en'>1</b><b xml:lang='DE'>2</b></m>":       "2",
		"<m xml:lang='de-ch'><b xml:lang='en'>1</b><b xml:lang='de-CH'>2</b></m>": "2",
		"<m xml:lang='de'><b xml:lang='en'>1</b><b xml:lang='de-CH'>2</b></m>":    "2",
		"<m xml:lang='de'><b xml:lang='de-CH'>1</b><b xml:lang='de'>2</b></m>":    "2",
		"<m xml:lang='de'><b xml:lang='den'>1</b><b>2</b></m>":                    "2",
		"<m xml:lang='fr'><b xml:lang='en'>1</b><b xml:lang='de'>2</b></m>":       "1",
		"<m xml:lang='fr'><b xmlns='u'>1</b><b xml:lang='de'>2</b></m>":           "2",
	} {
		e := parse(t, in)
		got := "-"
		if b := xmpp.InLang(e, xmpp.NSClient, "b"); b != nil {
			got = xmpp.TextOf(b)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// IDs have 96 random bits at least, and are never the same.
func TestNewID(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		id := xmpp.NewID()
		if seen[id] || len(id) < 20 { // base32: 5 bits a character
			t.Fatal(id)
		}
		seen[id] = true
	}
}
