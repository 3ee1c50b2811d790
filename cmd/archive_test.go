package cmd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"xmppkit/output"
	"xmppkit/xmpp"
)

// A query has an id of its own that its results are known by, and says what it wants.
func TestArchiveQuery(t *testing.T) {
	const form = `<x xmlns="jabber:x:data" type="submit"><field var="FORM_TYPE" type="hidden"><value>urn:xmpp:mam:2</value></field>`
	const set = `</x><set xmlns="http://jabber.org/protocol/rsm">`
	start := time.Date(2026, 1, 2, 5, 4, 5, 678e6, time.FixedZone("", 2*60*60))
	for _, test := range []struct {
		page archivePage
		want string
	}{
		{archivePage{max: 50, after: "a&b"}, form + set + "<max>50</max><after>a&amp;b</after></set>"},
		{archivePage{max: 1, last: true}, form + set + "<max>1</max><before/></set>"},
		{archivePage{max: 9, start: start}, form + `<field var="start"><value>2026-01-02T03:04:05.678Z</value></field>` + set + "<max>9</max></set>"},
	} {
		iq, id := test.page.query()
		_, again := test.page.query()
		b, err := xmpp.XML(iq)
		want := `<iq xmlns="jabber:client" type="set" id="` + xmpp.Attr(iq, "id") + `"><query xmlns="urn:xmpp:mam:2" queryid="` + id + `">` + test.want + "</query></iq>"
		if string(b) != want || err != nil || len(id) < 20 || id == again || id == xmpp.Attr(iq, "id") {
			t.Errorf("%s\nis not\n%s, %v", b, want, err)
		}
	}
}

// S-06: what is a result of the open query, and what somebody else says is one.
func TestArchiveResult(t *testing.T) {
	own := jid("romeo@example.org/here")
	result := func(attrs, content string) string {
		return "<result " + attrs + "><forwarded><delay stamp='2026-01-02T03:04:05Z'/>" + content + "</forwarded></result>"
	}
	const asked = "queryid='q1' id='a1'"
	from := func(from, content string) string { return "<message from='" + from + "'>" + content + "</message>" }
	for _, test := range []struct {
		xml string
		ok  bool
	}{
		{from("OWN", result(asked, innerReceived)), true},
		{"<message>" + result(asked, innerReceived) + "</message>", true},
		{from("OWN", result(asked, innerForged)), true},
		{from("OWN", "<result "+asked+"><forwarded>"+innerReceived+"</forwarded></result>"), true},

		// From somebody else, with the id of the query.
		{from("mallory@evil.example/x", result(asked, innerReceived)), false},
		{from("JULIET", result(asked, innerReceived)), false},
		{from("example.org", result(asked, innerReceived)), false},
		{from("OWN/phone", result(asked, innerReceived)), false},
		{from("OWN/here", result(asked, innerReceived)), false},
		{from("OWN.evil.example", result(asked, innerReceived)), false},
		{from("@", result(asked, innerReceived)), false},

		// Not asked for.
		{from("OWN", result("queryid='q2' id='a1'", innerReceived)), false},
		{from("OWN", result("queryid='' id='a1'", innerReceived)), false},
		{from("OWN", result("id='a1'", innerReceived)), false},

		// Not one message.
		{from("OWN", ""), false},
		{from("OWN", "<result "+asked+"/>"), false},
		{from("OWN", "<result "+asked+">"+innerReceived+"</result>"), false},
		{from("OWN", result(asked, "")), false},
		{from("OWN", result(asked, innerReceived+innerReceived)), false},
		{from("OWN", result(asked, innerReceived)+result(asked, innerReceived)), false},
		{from("OWN", result("queryid='q1'", innerReceived)), false},
		{from("OWN", result(asked, "<message to='OWN'><body>x</body></message>")), false},
		{from("OWN", result(asked, strings.ReplaceAll(innerReceived, "message", "foreign"))), false},
		{from("OWN", strings.ReplaceAll(result(asked, innerReceived), "result", "older")), false},
		{"<message from='OWN' type='error'>" + result(asked, innerReceived) + "</message>", false},

		// S-05: what was archived is no carbon copy either.
		{from("OWN", result(asked, from("OWN", receivedCopy(innerReceived)))), false},
	} {
		a, ok := archiveResult(own, "q1", element(test.xml))
		if ok != test.ok || ok && (a.id != "a1" || a.message == nil) {
			t.Errorf("%s: %v", test.xml, ok)
		}
		// Before a query and after its end there is none.
		for _, none := range []string{"", "q3"} {
			if _, ok := archiveResult(own, none, element(test.xml)); ok {
				t.Errorf("%s: a result of %q", test.xml, none)
			}
		}
	}
}

// A message out of the archive is a stanza of its own; the archive knows when it came,
// whatever stamps its sender has put on it (S-10).
func TestArchived(t *testing.T) {
	own := jid("romeo@example.org/here")
	a, ok := archiveResult(own, "q1", element(`<message from="OWN"><result queryid="q1" id="a1"><forwarded><delay stamp="2026-01-02T03:04:05.678Z"/>
		<message from="JULIET/b" to="OWN" type="chat" id="m1"><body>b</body><delay from="example.org" stamp="2031-01-01T00:00:00Z"/></message></forwarded></result></message>`))
	if !ok || !xmpp.IsStanza(a.message) || a.message.Parent() != nil {
		t.Fatalf("%v, %+v", ok, a)
	}
	l := listener{kinds: map[string]bool{"message": true}}
	b, err := output.AppendJSON(nil, l.record(own, arrival{a.message, "", a.id}))
	want := `{"kind":"message","time":"2026-01-02T03:04:05.678Z","type":"chat","from":"juliet@example.net/b","from_bare":"juliet@example.net","to":"romeo@example.org","delayed":true,"self":false,"id":"m1","stanza_id":"a1","body":"b"}`
	if string(b) != want || err != nil {
		t.Errorf("%s, %v", b, err)
	}
}

// What a listener would have got, had it been there.
func TestMissed(t *testing.T) {
	for _, test := range []struct {
		from, to        string
		without, carbon string // what it is without and with carbons: "-" is nothing, "" a message, else a copy
	}{
		{"juliet@example.net/b", "romeo@example.org", "", ""},
		{"juliet@example.net/b", "romeo@example.org/here", "", ""},
		{"juliet@example.net/b", "romeo@example.org/gone", "", ""},
		{"romeo@example.org/phone", "romeo@example.org", "", ""},
		{"romeo@example.org/phone", "juliet@example.net", "-", "sent"},
		{"romeo@example.org/here", "juliet@example.net", "-", "-"},
		{"juliet@example.net/b", "ROMEO@EXAMPLE.org", "", ""}, // as it was typed
		{"Romeo@example.org/phone", "juliet@example.net", "-", "sent"},
		{"@", "romeo@example.org", "", ""},
		{"juliet@example.net/b", "mercutio@example.org", "-", "-"},
		{"juliet@example.net/b", "romeo@example.org.evil.example", "-", "-"},
	} {
		a := archived{message: xmpp.NewElement(xmpp.NSClient, "message", "from", test.from, "to", test.to)}
		for carbons, want := range map[bool]string{false: test.without, true: test.carbon} {
			got, ok := a.missed(jid("romeo@example.org/here"), carbons)
			if !ok {
				got = "-"
			}
			if got != want {
				t.Errorf("%s to %s, carbons %v: %q, want %q", test.from, test.to, carbons, got, want)
			}
		}
	}
}

// The end of a page, as Prosody and ejabberd write it, and as none should. No count of
// messages has a say in it.
func TestEndOfArchive(t *testing.T) {
	page := func(set string) string { return "<set xmlns='http://jabber.org/protocol/rsm'>" + set + "</set>" }
	for content, want := range map[string]archiveEnd{
		"<fin xmlns='urn:xmpp:mam:2' complete='true'>" + page("<first>a1</first><last>a9</last><count>9</count>") + "</fin>": {true, "a9"},
		"<fin xmlns='urn:xmpp:mam:2' complete='1'>" + page("<first index='0'>a1</first><last>a9</last>") + "</fin>":          {true, "a9"},
		"<fin xmlns='urn:xmpp:mam:2'>" + page("<first>a1</first><last>a9</last><count>9</count>") + "</fin>":                 {false, "a9"},
		"<fin xmlns='urn:xmpp:mam:2' complete='false'>" + page("<last>a9</last><count>0</count>") + "</fin>":                 {false, "a9"},
		"<fin xmlns='urn:xmpp:mam:2' complete='true'>" + page("<count>0</count>") + "</fin>":                                 {true, ""},
		"<fin xmlns='urn:xmpp:mam:2'>" + page("<count>-5</count>") + "</fin>":                                                {false, ""},
		"<fin xmlns='urn:xmpp:mam:2'/>": {false, ""},
	} {
		answer := element("<message>" + content + "</message>")
		answer.Tag = "iq"
		if got, ok := endOfArchive(answer); !ok || got != want {
			t.Errorf("%s: %+v, %v", content, got, ok)
		}
	}
	for _, content := range []string{"", "<fin xmlns='urn:xmpp:mam:1' complete='true'/>"} {
		if _, ok := endOfArchive(element("<message>" + content + "</message>")); ok {
			t.Errorf("%q: an end", content)
		}
	}
}

// Pages that come again are noticed, whatever the length of the circle and of the way into
// it; pages that do not are none.
func TestCircle(t *testing.T) {
	for tail := range 7 {
		for length := 1; length < 20; length++ {
			for name, page := range map[string]func(n, id int) (string, string){
				"both": func(_, id int) (string, string) { return fmt.Sprint(id), fmt.Sprint(id) },
				"last": func(n, id int) (string, string) { return fmt.Sprint(id), "" },
				"ids":  func(n, id int) (string, string) { return fmt.Sprint("fresh", n), fmt.Sprint(id) },
			} {
				var c circle
				n := 0
				for ; n < 1000; n++ {
					if c.closed(page(n, min(n, tail+(n-tail)%length))) {
						break
					}
				}
				if n <= tail || n > 3*(tail+length) {
					t.Errorf("%s, %d and then %d in a circle: noticed after %d pages", name, tail, length, n)
				}
			}
		}
	}
	var c circle
	for n := range 10_000 {
		if c.closed(fmt.Sprint("last", n), fmt.Sprint("id", n)) || c.closed("", "") {
			t.Fatalf("page %d: a circle", n)
		}
	}
}
