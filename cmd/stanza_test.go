package cmd

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/receive"
	"xmppkit/xmpp/xep"
)

func jid(s string) xmpp.JID {
	j, err := xmpp.ParseJID(s)
	if err != nil {
		panic(err)
	}
	return j
}

// RFC 6120, section 8.3.1: who may bounce a message of romeo@example.org to whom. Where the id is a secret,
// that is also anybody at the domain of the recipient.
func TestBounces(t *testing.T) {
	own := jid("romeo@example.org/r")
	for to, allowed := range map[string][]string{
		"juliet@other.example": {"juliet@other.example", "juliet@other.example/x", "juliet@other.example/y", "other.example", "example.org",
			"romeo@example.org"},
		"juliet@other.example/x": {"juliet@other.example/x", "juliet@other.example", "other.example", "example.org", "romeo@example.org"},
		"other.example":          {"other.example", "other.example/x", "example.org", "romeo@example.org"},
	} {
		for _, from := range []string{"juliet@other.example", "juliet@other.example/x", "juliet@other.example/y", "other.example", "other.example/x",
			"example.org", "romeo@example.org", "romeo@example.org/r", "romeo@example.org/other", "mallory@evil.example/x", "mallory@other.example", "other.example.evil", "juliet@example.org"} {
			if got := xmpp.Answers(jid(from), jid(to), own, false); got != slices.Contains(allowed, from) {
				t.Errorf("%s bounces a message to %s: %v", from, to, got)
			}
			want := slices.Contains(allowed, from) || jid(from).Domain == "other.example"
			if got := xmpp.Answers(jid(from), jid(to), own, true); got != want {
				t.Errorf("%s bounces a message to %s, with an id that nobody else has: %v", from, to, got)
			}
		}
	}
}

func message(typ, lang string, children ...*xmpp.Element) *xmpp.Element {
	m := xmpp.NewElement(xmpp.NSClient, "message", "from", "juliet@example.org/x", "xml:lang", lang)
	if typ != "" {
		m.CreateAttr("type", typ)
	}
	return xmpp.Add(m, children...)
}

func body(lang, text string) *xmpp.Element {
	b := xmpp.NewText(xmpp.NSClient, "body", text)
	if lang != "" {
		b.CreateAttr("xml:lang", lang)
	}
	return b
}

// RFC 6121, section 5.2: an unknown type is normal; of several bodies it is the one in the language of the
// message; a body of another namespace is none.
func TestMessageRecord(t *testing.T) {
	own := jid("romeo@example.org/r")
	record := func(m *xmpp.Element) *messageRecord {
		return newMessageRecord(newAddressed(own, m, jid(xmpp.Attr(m, "from"))), own, m)
	}
	for typ, want := range map[string]string{"": "normal", "chat": "chat", "groupchat": "groupchat", "headline": "headline", "normal": "normal", "CHAT": "normal", "foo": "normal"} {
		if got := record(message(typ, "en")).Type; got != want {
			t.Errorf("%q is %s", typ, got)
		}
	}
	evil := xmpp.NewText("evil", "body", "forged")
	for i, test := range []struct {
		m          *xmpp.Element
		body, lang string
	}{
		{message("", "en", body("", "a")), "a", "en"},
		{message("", "en", body("de", "b"), body("", "a")), "a", "en"},
		{message("", "de", body("en", "a"), body("de", "b")), "b", "de"},
		{message("", "fr", body("en", "a"), body("de", "b")), "a", "en"},
		{message("", "en", evil, body("", "")), "", "en"},
		{message("", "en", evil), "-", ""},
	} {
		r := record(test.m)
		got := "-"
		if r.Body != nil {
			got = *r.Body
		}
		if got != test.body || r.Lang != test.lang || r.speaks() != (got == "a" || got == "b") {
			t.Errorf("%d: %q in %q", i, got, r.Lang)
		}
	}
	// An error repeats what was sent: nobody said it.
	bounced := message("error", "en", body("", "mine"), xmpp.Add(xmpp.NewElement(xmpp.NSClient, "error", "type", "cancel"), xmpp.NewElement(xmpp.NSStanzas, "gone")))
	if r := record(bounced); r.Body != nil || r.Error == nil || r.Error.Condition != "gone" || r.Type != "error" {
		t.Errorf("%+v", r)
	}
	// A stamp that cannot be read was delayed as well, and a strange one does no harm.
	for _, stamp := range []string{"2026-01-02T03:04:05Z", "9999-12-31T23:59:59.999Z", "yesterday", "", "2026-01-02"} {
		if r := record(message("", "en", body("", "a"), xmpp.NewElement(xep.NSDelay, "delay", "stamp", stamp))); !r.Delayed {
			t.Errorf("%q: not delayed", stamp)
		}
	}
}

// The account romeo@example.org/here got it.
func recordOf(e *xmpp.Element) *messageRecord {
	own := jid("romeo@example.org/here")
	return newMessageRecord(newAddressed(own, e, jid(xmpp.Attr(e, "from"))), own, e)
}

func textOf(r output.Record) string {
	var b strings.Builder
	p := output.NewPrinter(&b, false, false)
	if err := errors.Join(p.Print(r), p.Flush()); err != nil {
		panic(err)
	}
	return strings.TrimPrefix(b.String(), "2026-01-02T03:04:05Z ")
}

// XEP-0184, XEP-0308 and XEP-0333: receipts, corrections and markers are told as what they are; what a message is
// in JSON, but the keys that are always there, and as text.
func TestReferences(t *testing.T) {
	for _, test := range []struct{ content, json, text string }{
		{"<body>a</body>", `"body":"a"`, "juliet@example.net: a\n"},
		{"<body>a</body><request xmlns='urn:xmpp:receipts'/>", `"body":"a","receipt_requested":true`, "juliet@example.net: a\n"},
		{"<received xmlns='urn:xmpp:receipts' id='r1'/>", `"receipt_for":"r1"`, "juliet@example.net: (receipt for r1)\n"},
		{"<received xmlns='urn:xmpp:receipts'/>", ``, ""},
		{"<received xmlns='evil' id='r1'/>", ``, "juliet@example.net: (payload evil)\n"},
		{"<body>a</body><x xmlns='other'><received xmlns='urn:xmpp:receipts' id='r1'/></x>", `"body":"a"`, "juliet@example.net: a\n"},
		{"<body>b</body><replace xmlns='urn:xmpp:message-correct:0' id='m1'/>", `"body":"b","replaces":"m1"`, "juliet@example.net (corrects m1): b\n"},
		{"<replace xmlns='urn:xmpp:message-correct:0' id='m1'/>", `"replaces":"m1"`, "juliet@example.net (corrects m1): \n"},
		{"<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>", `"marker":"displayed","marker_for":"m1"`, "juliet@example.net: (displayed m1)\n"},
		{"<received xmlns='urn:xmpp:chat-markers:0' id='m1'/>", `"marker":"received","marker_for":"m1"`, "juliet@example.net: (received m1)\n"},
		{"<acknowledged xmlns='urn:xmpp:chat-markers:0' id='m1'/>", `"marker":"acknowledged","marker_for":"m1"`, "juliet@example.net: (acknowledged m1)\n"},
		{"<displayed xmlns='urn:xmpp:chat-markers:0'/>", ``, ""},
		{"<markable xmlns='urn:xmpp:chat-markers:0'/>", ``, ""},
		{"<body>a</body><subject>s</subject><received xmlns='urn:xmpp:receipts' id='r1'/><replace xmlns='urn:xmpp:message-correct:0' id='m1'/><displayed xmlns='urn:xmpp:chat-markers:0' id='m2'/>",
			`"body":"a","subject":"s","receipt_for":"r1","replaces":"m1","marker":"displayed","marker_for":"m2"`,
			"juliet@example.net (corrects m1) [s]: a\n    (receipt for r1)\n    (displayed m2)\n"},
		// None can forge a line, or the end of one.
		{"<body>b</body><replace xmlns='urn:xmpp:message-correct:0' id='m&#10;2026 boss'/>", `"body":"b","replaces":"m\n2026 boss"`, `juliet@example.net (corrects m\u{a}2026 boss): b` + "\n"},
		{"<received xmlns='urn:xmpp:receipts' id='m&#10;2026&#x9b;&#x202e;'/>", `"receipt_for":"m\n2026\u009b\u202e"`, `juliet@example.net: (receipt for m\u{a}2026\u{9b}\u{202e})` + "\n"},
		{"<displayed xmlns='urn:xmpp:chat-markers:0' id='m&#10;2026'/>", `"marker":"displayed","marker_for":"m\n2026"`, `juliet@example.net: (displayed m\u{a}2026)` + "\n"},
	} {
		r := recordOf(element("<message from='JULIET/x' to='OWN'><delay stamp='2026-01-02T03:04:05Z'/>" + test.content + "</message>"))
		b, err := output.AppendJSON(nil, r)
		_, keys, _ := strings.Cut(strings.TrimSuffix(string(b), "}"), `"self":false`)
		if keys = strings.TrimPrefix(keys, ","); err != nil || keys != test.json {
			t.Errorf("%s\nis %s, want %s (%v)", test.content, keys, test.json, err)
		}
		if r.is(everyKind) != (test.text != "") {
			t.Errorf("%s: it is printed: %v", test.content, r.is(everyKind))
		}
		if got := textOf(r); test.text != "" && got != test.text {
			t.Errorf("%s\nis %q, want %q", test.content, got, test.text)
		}
	}
	if r := recordOf(element("<message from='JULIET' type='error'><received xmlns='urn:xmpp:receipts' id='r1'/></message>")); r.ReceiptFor != "" || r.Error == nil {
		t.Errorf("the bounce of a receipt is one: %+v", r)
	}
}

var everyKind = map[string]bool{"message": true, "receipt": true, "marker": true, "error": true}

// What a message is selected by: it is a message if it says something, and a receipt or
// marker if it says only that. What goes with a message says nothing without one.
func TestMessageKinds(t *testing.T) {
	const (
		receipt  = "<received xmlns='urn:xmpp:receipts' id='r1'/>"
		marker   = "<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>"
		asks     = "<request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>"
		typing   = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
		luggage  = "<delay stamp='2026-01-02T03:04:05Z'/><origin-id xmlns='urn:xmpp:sid:0' id='o'/><no-store xmlns='urn:xmpp:hints'/><private xmlns='urn:xmpp:carbons:2'/><nick xmlns='http://jabber.org/protocol/nick'>n</nick>"
		private  = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
		invites  = "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='crone@example.net'/></x>"
		nobody   = "<body/>"
		nonsense = "<subject/><thread>t</thread><x xmlns='jabber:x:oob'/>"
	)
	for content, want := range map[string]string{
		"":       "",
		nobody:   "",
		typing:   "",
		asks:     "",
		luggage:  "",
		private:  "",
		nonsense: "",
		nobody + nonsense + typing + asks + luggage + private: "",
		receipt:                                           "receipt",
		receipt + nobody:                                  "receipt",
		receipt + luggage + typing:                        "receipt",
		receipt + "<x xmlns='urn:x'/>":                    "receipt",
		marker:                                            "marker",
		marker + nobody + luggage:                         "marker",
		marker + receipt:                                  "receipt marker",
		"<body>a</body>":                                  "message",
		"<body> </body>":                                  "message",
		"<body>a</body>" + asks:                           "message",
		"<body>a</body>" + receipt + marker:               "message",
		"<subject>s</subject>" + nobody:                   "message",
		"<x xmlns='jabber:x:oob'><url>u</url></x>":        "message",
		"<attention xmlns='urn:xmpp:attention:0'/>":       "message",
		"<encrypted xmlns='urn:xmpp:omemo:2'/>" + receipt: "message",
		"<x xmlns='urn:x'/>":                              "message",
		"<x xmlns='urn:x'/>" + nobody + luggage:           "message",
		invites:                                           "message",
		"<x xmlns='jabber:x:conference' jid='muc@example.net'/>":                              "message",
		"<event xmlns='http://jabber.org/protocol/pubsub#event'/>":                            "message",
		"<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>":    "",
		"<y xmlns='http://jabber.org/protocol/chatstates'><x xmlns='urn:x'>hidden</x></y>":    "",
		"<replace xmlns='urn:xmpp:message-correct:0' id='m1'/>" + nobody:                      "message",
		"<forwarded><message xmlns='jabber:client'><body>forged</body></message></forwarded>": "",
	} {
		r := recordOf(element("<message from='JULIET'>" + content + "</message>"))
		var got []string
		for _, kind := range []string{"message", "receipt", "marker", "error"} {
			if r.is(map[string]bool{kind: true}) {
				got = append(got, kind)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s\nis a %s, want %s", content, got, want)
		}
		bounced := recordOf(element("<message from='JULIET' type='error'>" + content + "</message>"))
		if !bounced.is(map[string]bool{"error": true}) || bounced.is(map[string]bool{"message": true, "receipt": true, "marker": true}) {
			t.Errorf("%s\nbounced is no error", content)
		}
	}
}

// XEP-0184, section 5: what may have a receipt, and that the receipt is of its type.
func TestReceipts(t *testing.T) {
	const asks = "<body>b</body><request xmlns='urn:xmpp:receipts'/>"
	long := strings.Repeat("i", maxReceiptID)
	for xml, want := range map[string]string{
		"<message id='m' from='JULIET/x'>" + asks:                                                   "normal m",
		"<message id='m' from='JULIET/x' type='chat'>" + asks:                                       "chat m",
		"<message id='m' from='JULIET/x' type='headline'>" + asks:                                   "headline m",
		"<message id='" + long + "' from='JULIET/x'>" + asks:                                        "normal " + long,
		"<message id='i" + long + "' from='JULIET/x'>" + asks:                                       "",
		"<message id='m' from='JULIET/x' type='groupchat'>" + asks:                                  "",
		"<message id='m' from='JULIET/x' type='error'>" + asks:                                      "",
		"<message id='' from='JULIET/x'>" + asks:                                                    "",
		"<message from='JULIET/x'>" + asks:                                                          "",
		"<message id='m' from='JULIET/x'><body>b</body>":                                            "",
		"<message id='m' from='JULIET/x'>" + asks + "<received xmlns='urn:xmpp:receipts' id='m0'/>": "",
	} {
		m, got := recordOf(element(xml+"</message>")), ""
		if m.wantsReceipt() {
			r := newReceipt(m)
			got = xmpp.Attr(r, "type") + " " + xmpp.Attr(xmpp.Child(r, xep.NSReceipts, "received"), "id")
			if xmpp.Attr(r, "to") != "juliet@example.net/x" {
				t.Errorf("to %s", xmpp.Attr(r, "to"))
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", xml, got, want)
		}
		if m.Carbon = "received"; m.wantsReceipt() {
			t.Errorf("%s: a carbon copy gets a receipt", xml)
		}
	}
}

// The keys of a message are in the order that is promised.
func TestMessageKeys(t *testing.T) {
	e := element(`<message id="m" from="JULIET" to="OWN" xml:lang="en"><body>b</body><subject>s</subject><thread>t</thread><x xmlns="jabber:x:oob"><url>u</url></x>
		<received xmlns="urn:xmpp:receipts" id="r"/><request xmlns="urn:xmpp:receipts"/><replace xmlns="urn:xmpp:message-correct:0" id="c"/><displayed xmlns="urn:xmpp:chat-markers:0" id="d"/></message>`)
	r := recordOf(e)
	r.Carbon, r.StanzaID, r.Encrypted, r.XML, r.Error = "sent", "i", "e", "x", new(stanzaError)
	b, _ := output.AppendJSON(nil, r)
	var got []string
	for _, m := range regexp.MustCompile(`[{,]"([a-z_]+)":`).FindAllSubmatch(b, -1) {
		got = append(got, string(m[1]))
	}
	want := "kind time type from from_bare to delayed self id stanza_id body subject thread lang url receipt_for receipt_requested replaces marker marker_for carbon encrypted error condition type xml"
	if strings.Join(got, " ") != want {
		t.Errorf("%s\nhas the keys %s", b, got)
	}
}

// What the account has sent to somebody is shown so; who that is cannot forge a body.
func TestSentText(t *testing.T) {
	r := recordOf(element("<message from='OWN/phone' to='JULIET/x: I owe you'><delay stamp='2026-01-02T03:04:05Z'/><body>b</body></message>"))
	r.Carbon = "sent"
	if got := textOf(r); got != "romeo@example.org -> juliet@example.net: b\n" {
		t.Errorf("%q", got)
	}
	if r.Carbon = "received"; textOf(r) != "romeo@example.org: b\n" || !r.Self {
		t.Errorf("%q", textOf(r))
	}
}

// XEP-0380: the body of an encrypted message is a note that nobody is to take for the message,
// be it shown or matched.
func TestEncrypted(t *testing.T) {
	const note = "<body>This message is OMEMO encrypted</body>"
	for content, want := range map[string]string{
		note: "",
		note + "<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:otr:0' name='OTR'/>":                             "urn:xmpp:otr:0",
		note + "<encryption xmlns='urn:xmpp:eme:0'/>":                                                                   "urn:xmpp:eme:0",
		note + "<encryption xmlns='urn:xmpp:eme:0' namespace=''/><encrypted xmlns='urn:xmpp:omemo:2'/>":                 "urn:xmpp:omemo:2",
		note + "<encrypted xmlns='urn:xmpp:omemo:2'/><encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2'/>": "urn:xmpp:omemo:2",
		note + "<encrypted xmlns='eu.siacs.conversations.axolotl'/>":                                                    "eu.siacs.conversations.axolotl",
		note + "<encrypted xmlns='urn:xmpp:omemo:1'/>":                                                                  "urn:xmpp:omemo:1",
		note + "<openpgp xmlns='urn:xmpp:openpgp:0'/>":                                                                  "urn:xmpp:openpgp:0",
		note + "<x xmlns='jabber:x:encrypted'/>":                                                                        "jabber:x:encrypted",
		note + "<x xmlns='jabber:x:signed'/>":                                                                           "",
		note + "<y xmlns='other'><encrypted xmlns='urn:xmpp:omemo:2'/></y>":                                             "",
	} {
		e := element("<message from='JULIET' to='OWN'>" + content + "</message>")
		w := selection{kinds: map[string]bool{"message": true}, match: "OMEMO", pattern: regexp.MustCompile("OMEMO")}
		matched, _ := w.matches(t.Context(), resultOf(&w, e))
		r := recordOf(e)
		b, _ := output.AppendJSON(nil, r)
		shown := strings.Contains(string(b)+textOf(r), "This message")
		if r.Encrypted != want || shown != (want == "") || matched != (want == "") || !r.speaks() {
			t.Errorf("%s: %q, shown %v, matched %v", content, r.Encrypted, shown, matched)
		}
	}
}

// XEP-0203: of several stamps that of the own server or account is taken, the last one, as
// it adds its own behind what the sender has put there; else the first. What is no
// stamp leaves it at the time of arrival, and one from the end of time does no harm. The
// form of XEP-0091 counts as that of XEP-0203.
func TestStamps(t *testing.T) {
	const a, b, c = "2026-01-02T03:04:05.000Z", "2026-02-02T03:04:05.000Z", "2026-03-02T03:04:05.000Z"
	const none = "" // the time of arrival
	by := func(from, stamp string) string {
		return "<delay xmlns='urn:xmpp:delay' from='" + from + "' stamp='" + stamp + "'/>"
	}
	old := func(from, stamp string) string {
		return "<x xmlns='jabber:x:delay' from='" + from + "' stamp='" + stamp + "'/>"
	}
	for content, want := range map[string]string{
		by("JULIET", a) + by("example.org", b):                          b,
		by("example.org", b) + by("JULIET", a):                          b,
		by("OWN", b) + by("evil.example", a):                            b,
		by("example.org", a) + by("evil.example", c) + by("OWN", b):     b,
		by("OWN/phone", a) + by("evil.example", b):                      a,
		by("evil.example", a) + by("example.org.evil", b):               a,
		by("evil.example", a) + by("example.org/x", b):                  a,
		by("evil.example", a) + by("example.org@/", b):                  a,
		by("example.org", "yesterday") + by("evil.example", a):          a,
		by("example.org", "2026-01-02T05:04:05+02:00"):                  a,
		by("evil.example", "9999-12-31T23:59:59-23:59"):                 "9999-12-31T23:59:59.999Z",
		by("evil.example", "0000-01-01T00:00:00+23:59"):                 "0000-01-01T00:00:00.000Z",
		by("evil.example", "2999-01-01T00:00:00.123456789012Z"):         "2999-01-01T00:00:00.123Z",
		by("evil.example", "2026-01-02T03:04:05"):                       a, // without a zone
		by("evil.example", " 2026-01-02t03:04:05z "):                    a,
		by("evil.example", "20260102T03:04:05"):                         a,
		old("evil.example", "20260102T03:04:05"):                        a,
		old("evil.example", "20260102T03:04:05Z"):                       a,
		old("evil.example", "2026-01-02T03:04:05Z"):                     a,
		old("evil.example", "20260202T03:04:05") + by("OWN", a):         a,
		by("evil.example", b) + old("example.org", "20260102T03:04:05"): a,
		by("evil.example", "99999-01-01T00:00:00Z"):                     none,
		by("evil.example", "2026-13-01T00:00:00Z"):                      none,
		by("evil.example", ""):                                          none,
		old("evil.example", "2026"):                                     none,
		"<delay xmlns='urn:xmpp:delay'/>":                               none,
		"<x xmlns='jabber:x:delay'/>":                                   none,
		"":                                                              "-",
		"<x xmlns='evil'>" + by("example.org", a) + "</x>":              "-",
	} {
		r := recordOf(element("<message from='JULIET' to='OWN'><body>b</body>" + content + "</message>"))
		json, err := output.AppendJSON(nil, r)
		wrong := want != none && want != "-" && !strings.Contains(string(json), `"time":"`+want+`"`)
		if want == none || want == "-" {
			wrong = time.Since(time.Time(r.Time)) > time.Minute
		}
		if err != nil || r.Delayed != (want != "-") || wrong || textOf(r) == "" {
			t.Errorf("%s: %s, %v", content, json, err)
		}
	}
}

// RFC 6120, section 8.2.3: what a listener answers; all else is left to be refused alike.
func TestAnswerRequest(t *testing.T) {
	for _, test := range []struct {
		typ     string
		payload *xmpp.Element
		want    string // a part of the answer; "" for none
	}{
		{"get", xmpp.NewElement(xmpp.NSPing, "ping"), `type="result"`},
		{"get", xmpp.NewElement(xep.NSDiscoInfo, "query"), `<feature var="urn:xmpp:ping"/>`},
		{"get", xmpp.NewElement(xep.NSDiscoInfo, "query", "node", "x"), ""},
		{"get", xmpp.NewElement("jabber:iq:version", "query"), "<name>xmppkit</name>"},
		{"get", xmpp.NewElement(xep.NSTime, "time"), "<tzo>+00:00</tzo>"},
		{"set", xmpp.NewElement("jabber:iq:version", "query"), ""},
		{"set", xmpp.NewElement(xmpp.NSPing, "ping"), ""},
		{"get", xmpp.NewElement("jabber:iq:last", "query"), ""},
		{"get", xmpp.NewElement("evil", "ping"), ""},
		{"set", xmpp.NewElement("jabber:iq:roster", "query"), ""},
	} {
		iq := xmpp.NewElement(xmpp.NSClient, "iq", "type", test.typ, "id", "i1", "from", "juliet@example.org/x")
		answer := responder().Answer(t.Context(), xmpp.Add(iq, test.payload))
		if answer == nil {
			if test.want != "" {
				t.Errorf("%s of %s: no answer", test.typ, xmpp.Namespace(test.payload))
			}
			continue
		}
		b, err := xmpp.XML(answer)
		if got := string(b); err != nil || test.want == "" || !strings.Contains(got, test.want) || !strings.Contains(got, `id="i1" to="juliet@example.org/x"`) {
			t.Errorf("%s of %s: %s", test.typ, xmpp.Namespace(test.payload), got)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for in, want := range map[string][]string{
		"ping -c 2": {"ping", "-c", "2"}, "send -m 'a b' c": {"send", "-m", "a b", "c"}, "x ''": {"x", ""}, "": nil,
	} {
		if got := splitWords(in); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("%s: %q", in, got)
		}
	}
}

// element is a stanza as a session delivers it, written with short names for the
// addresses of the account romeo@example.org, and for the namespaces that it leaves out.
func element(xml string) *xmpp.Element {
	xml = strings.NewReplacer(
		"<message xmlns", "<message xmlns", "<sent xmlns", "<sent xmlns", "<received xmlns", "<received xmlns",
		"<forwarded xmlns", "<forwarded xmlns", "<delay xmlns", "<delay xmlns", "<result xmlns", "<result xmlns",
		"<message", "<message xmlns='jabber:client'", "<sent", "<sent xmlns='urn:xmpp:carbons:2'", "<received", "<received xmlns='urn:xmpp:carbons:2'",
		"<foreign", "<message xmlns='jabber:server'", "/foreign", "/message", "<older", "<result xmlns='urn:xmpp:mam:1'", "/older", "/result",
		"<forwarded", "<forwarded xmlns='urn:xmpp:forward:0'", "<delay", "<delay xmlns='urn:xmpp:delay'", "<result", "<result xmlns='urn:xmpp:mam:2'",
		"OWN", "romeo@example.org", "JULIET", "juliet@example.net",
	).Replace(xml)
	e, err := xmpp.Parse([]byte(xml))
	if err != nil {
		panic(err)
	}
	return e
}

// resultOf is the result of a stanza that arrives at romeo@example.org/here.
func resultOf(w *selection, e *xmpp.Element) output.Record {
	return w.record(jid("romeo@example.org/here"), receive.Arrival{Stanza: e})
}
