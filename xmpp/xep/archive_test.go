package xep

import (
	"strings"
	"testing"
	"time"

	"xmppkit/xmpp"
)

// A query has an id of its own that its results are known by, and says what it wants.
func TestArchiveQuery(t *testing.T) {
	const form = `<x xmlns="jabber:x:data" type="submit"><field var="FORM_TYPE" type="hidden"><value>urn:xmpp:mam:2</value></field>`
	const set = `</x><set xmlns="http://jabber.org/protocol/rsm">`
	start := time.Date(2026, 1, 2, 5, 4, 5, 678e6, time.FixedZone("", 2*60*60))
	for _, test := range []struct {
		query ArchiveQuery
		want  string
	}{
		{ArchiveQuery{Page: Page{Max: 50, After: "a&b"}}, form + set + "<max>50</max><after>a&amp;b</after></set>"},
		{ArchiveQuery{Page: Page{Max: 1, Last: true}}, form + set + "<max>1</max><before/></set>"},
		{ArchiveQuery{Page: Page{Max: 1, Before: "<"}}, form + set + "<max>1</max><before>&lt;</before></set>"},
		{ArchiveQuery{With: jid("a@b"), End: start}, form + `<field var="with"><value>a@b</value></field><field var="end"><value>2026-01-02T03:04:05.678000Z</value></field>` + set + "<max>0</max></set>"},
		{ArchiveQuery{Start: start, Page: Page{Max: 9}}, form + `<field var="start"><value>2026-01-02T03:04:05.678Z</value></field>` + set + "<max>9</max></set>"},
	} {
		iq, id := test.query.IQ()
		_, again := test.query.IQ()
		b, err := xmpp.XML(iq)
		want := `<iq xmlns="jabber:client" type="set" id="` + xmpp.Attr(iq, "id") + `"><query xmlns="urn:xmpp:mam:2" queryid="` + id + `">` + test.want + "</query></iq>"
		if string(b) != want || err != nil || len(id) < 20 || id == again || id == xmpp.Attr(iq, "id") {
			t.Errorf("%s\nis not\n%s, %v", b, want, err)
		}
	}
}

// What is a result of the open query, and what somebody else says is one.
func TestOpenArchived(t *testing.T) {
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

		// What was archived is no carbon copy either.
		{from("OWN", result(asked, from("OWN", receivedCopy(innerReceived)))), false},
	} {
		a, ok := OpenArchived(own, own.Bare(), "q1", element(test.xml))
		if ok != test.ok || ok && (a.ID != "a1" || a.Message == nil) {
			t.Errorf("%s: %v", test.xml, ok)
		}
		// Before a query and after its end there is none.
		for _, none := range []string{"", "q3"} {
			if _, ok := OpenArchived(own, own.Bare(), none, element(test.xml)); ok {
				t.Errorf("%s: a result of %q", test.xml, none)
			}
		}
	}
}

// The archive of a room speaks in the name of the room alone.
func TestArchiveOfRoom(t *testing.T) {
	own, room := jid("romeo@example.org/here"), jid("hall@muc.example.org")
	iq, _ := ArchiveQuery{Of: room}.IQ()
	if to := xmpp.Attr(iq, "to"); to != room.String() {
		t.Errorf("asked %q", to)
	}
	for from, ok := range map[string]bool{room.String(): true, "OWN": false, room.String() + "/nick": false, "muc.example.org": false, "other@muc.example.org": false} {
		e := element("<message from='" + from + "'><result queryid='q1' id='a1'><forwarded><message from='hall@muc.example.org/nick'><body>b</body></message></forwarded></result></message>")
		if _, is := OpenArchived(own, room, "q1", e); is != ok || IsArchiveResult(own, room, e) != ok {
			t.Errorf("%s: %v, want %v", from, is, ok)
		}
	}
}

// A message out of the archive is a stanza of its own; the archive knows when it came,
// whatever stamps its sender has put on it.
func TestArchived(t *testing.T) {
	own := jid("romeo@example.org/here")
	a, ok := OpenArchived(own, own.Bare(), "q1", element(`<message from="OWN"><result queryid="q1" id="a1"><forwarded><delay stamp="2026-01-02T03:04:05.678Z"/>
		<message from="JULIET/b" to="OWN" type="chat" id="m1"><body>b</body><delay from="example.org" stamp="2031-01-01T00:00:00Z"/></message></forwarded></result></message>`))
	if !ok || !xmpp.IsStanza(a.Message) || a.Message.Parent() != nil {
		t.Fatalf("%v, %+v", ok, a)
	}
	when, delayed := SentAt(own, a.Message)
	if a.ID != "a1" || xmpp.Attr(a.Message, "id") != "m1" || !delayed || when.Format(time.RFC3339Nano) != "2026-01-02T03:04:05.678Z" {
		t.Errorf("%+v, %s", a, when)
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
		a := Archived{Message: xmpp.NewElement(xmpp.NSClient, "message", "from", test.from, "to", test.to)}
		for carbons, want := range map[bool]string{false: test.without, true: test.carbon} {
			got, ok := a.Missed(jid("romeo@example.org/here"), carbons)
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
func TestArchiveEndOf(t *testing.T) {
	page := func(set string) string { return "<set xmlns='http://jabber.org/protocol/rsm'>" + set + "</set>" }
	for content, want := range map[string]ArchiveEnd{
		"<fin xmlns='urn:xmpp:mam:2' complete='true'>" + page("<first>a1</first><last>a9</last><count>9</count>") + "</fin>": {true, "a1", "a9"},
		"<fin xmlns='urn:xmpp:mam:2' complete='1'>" + page("<first index='0'>a1</first><last>a9</last>") + "</fin>":          {true, "a1", "a9"},
		"<fin xmlns='urn:xmpp:mam:2'>" + page("<first>a1</first><last>a9</last><count>9</count>") + "</fin>":                 {false, "a1", "a9"},
		"<fin xmlns='urn:xmpp:mam:2' complete='false'>" + page("<last>a9</last><count>0</count>") + "</fin>":                 {false, "", "a9"},
		"<fin xmlns='urn:xmpp:mam:2' complete='true'>" + page("<count>0</count>") + "</fin>":                                 {true, "", ""},
		"<fin xmlns='urn:xmpp:mam:2'>" + page("<count>-5</count>") + "</fin>":                                                {false, "", ""},
		"<fin xmlns='urn:xmpp:mam:2'/>": {false, "", ""},
	} {
		answer := element("<message>" + content + "</message>")
		answer.Tag = "iq"
		if got, ok := ArchiveEndOf(answer); !ok || got != want {
			t.Errorf("%s: %+v, %v", content, got, ok)
		}
	}
	for _, content := range []string{"", "<fin xmlns='urn:xmpp:mam:1' complete='true'/>"} {
		if _, ok := ArchiveEndOf(element("<message>" + content + "</message>")); ok {
			t.Errorf("%q: an end", content)
		}
	}
}
