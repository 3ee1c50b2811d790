package cmd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"xmppkit/xmpp"
)

func jid(s string) xmpp.JID {
	j, err := xmpp.ParseJID(s)
	if err != nil {
		panic(err)
	}
	return j
}

// S-12: who may bounce a message of romeo@example.org to whom.
func TestBounces(t *testing.T) {
	own := jid("romeo@example.org/r")
	for to, allowed := range map[string][]string{
		"juliet@other.example":   {"juliet@other.example", "other.example", "example.org", "romeo@example.org"},
		"juliet@other.example/x": {"juliet@other.example/x", "juliet@other.example", "other.example", "example.org", "romeo@example.org"},
		"other.example":          {"other.example", "example.org", "romeo@example.org"},
	} {
		for _, from := range []string{"juliet@other.example", "juliet@other.example/x", "juliet@other.example/y", "other.example", "other.example/x",
			"example.org", "romeo@example.org", "romeo@example.org/r", "romeo@example.org/other", "mallory@evil.example/x", "mallory@other.example", "other.example.evil", "juliet@example.org"} {
			if got := bounces(jid(from), jid(to), own); got != slices.Contains(allowed, from) {
				t.Errorf("%s bounces a message to %s: %v", from, to, got)
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

// S-11: an unknown type is normal; of several bodies it is the one in the language of the
// message; X-07: a body of another namespace is none.
func TestMessageRecord(t *testing.T) {
	s := new(xmpp.Session)
	record := func(m *xmpp.Element) *messageRecord {
		return newMessageRecord(newAddressed(s, m, jid(xmpp.Attr(m, "from"))), s, m)
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
		if got != test.body || r.Lang != test.lang || r.empty() != (got == "-") {
			t.Errorf("%d: %q in %q", i, got, r.Lang)
		}
	}
	// An error repeats what was sent: nobody said it.
	bounced := message("error", "en", body("", "mine"), xmpp.Add(xmpp.NewElement(xmpp.NSClient, "error", "type", "cancel"), xmpp.NewElement(xmpp.NSStanzas, "gone")))
	if r := record(bounced); r.Body != nil || r.Error == nil || r.Error.Condition != "gone" || r.Type != "error" {
		t.Errorf("%+v", r)
	}
	// S-10: a stamp that is none does not count, and a strange one does no harm.
	for stamp, delayed := range map[string]bool{"2026-01-02T03:04:05Z": true, "9999-12-31T23:59:59.999Z": true, "yesterday": false, "": false, "2026-01-02": false} {
		r := record(message("", "en", body("", "a"), xmpp.NewElement(nsDelay, "delay", "stamp", stamp)))
		if r.Delayed != delayed {
			t.Errorf("%q: delayed is %v", stamp, r.Delayed)
		}
	}
}

// S-02: what a listener answers; all else is left to be refused alike.
func TestAnswerRequest(t *testing.T) {
	for _, test := range []struct {
		typ     string
		payload *xmpp.Element
		want    string // a part of the answer; "" for none
	}{
		{"get", xmpp.NewElement(xmpp.NSPing, "ping"), `type="result"`},
		{"get", xmpp.NewElement(xmpp.NSDiscoInfo, "query"), `<feature var="urn:xmpp:ping"/>`},
		{"get", xmpp.NewElement(xmpp.NSDiscoInfo, "query", "node", "x"), ""},
		{"get", xmpp.NewElement(nsVersion, "query"), "<name>xmppkit</name>"},
		{"get", xmpp.NewElement(nsTime, "time"), "<tzo>+00:00</tzo>"},
		{"set", xmpp.NewElement(nsVersion, "query"), ""},
		{"set", xmpp.NewElement(xmpp.NSPing, "ping"), ""},
		{"get", xmpp.NewElement("jabber:iq:last", "query"), ""},
		{"get", xmpp.NewElement("evil", "ping"), ""},
		{"set", xmpp.NewElement("jabber:iq:roster", "query"), ""},
	} {
		iq := xmpp.NewElement(xmpp.NSClient, "iq", "type", test.typ, "id", "i1", "from", "juliet@example.org/x")
		answer := answerRequest(t.Context(), xmpp.Add(iq, test.payload))
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
