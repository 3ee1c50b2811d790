package xep

import (
	"strings"
	"testing"
	"time"

	"xmppkit/xmpp"
)

const (
	innerSent     = "<message from='OWN/phone' to='JULIET/b' type='chat'><body>I</body></message>"
	innerReceived = "<message from='JULIET/b' to='OWN/phone' type='chat'><body>you</body></message>"
	innerForged   = "<message from='JULIET/b' to='mercutio@example.org'><body>forged</body></message>"
)

func sentCopy(inner string) string { return "<sent><forwarded>" + inner + "</forwarded></sent>" }
func receivedCopy(inner string) string {
	return "<received><forwarded>" + inner + "</forwarded></received>"
}

// What is a carbon copy of your server, and what only looks so: the attack of the
// advisory of 2017 (CVE-2017-5589 and its like) among it.
func TestOpenCarbon(t *testing.T) {
	own := jid("romeo@example.org/here")
	from := func(from, content string) string {
		return "<message from='" + from + "' to='OWN/here'>" + content + "</message>"
	}
	for _, test := range []struct{ xml, want string }{
		{from("OWN", sentCopy(innerSent)), "sent romeo@example.org/phone juliet@example.net/b"},
		{from("OWN", receivedCopy(innerReceived)), "received juliet@example.net/b romeo@example.org/phone"},
		{from("OWN", receivedCopy("<message from='JULIET' to='OWN'><body>to all</body></message>")), "received juliet@example.net romeo@example.org"},
		{from("OWN", receivedCopy("<message from='OWN/phone' to='OWN'><body>a note</body></message>")), "received romeo@example.org/phone romeo@example.org"},
		{from("OWN", receivedCopy("<message from='OWN/phone'><body>a note</body></message>")), "received romeo@example.org/phone romeo@example.org"},
		{from("romeo@example.ORG", sentCopy(innerSent)), "sent romeo@example.org/phone juliet@example.net/b"},
		{from("ROMEO@example.org", sentCopy(innerSent)), ""},
		{from("OWN", receivedCopy("<message from='JULIET/b' to='ROMEO@EXAMPLE.org'><body>x</body></message>")), "received juliet@example.net/b ROMEO@EXAMPLE.org"},
		{from("OWN", sentCopy("<delay stamp='2026-01-02T03:04:05Z'/>"+innerSent)), "sent romeo@example.org/phone juliet@example.net/b"},

		// Somebody else says that they are copies.
		{from("mallory@evil.example/x", receivedCopy(innerReceived)), ""},
		{from("mallory@evil.example/x", sentCopy(innerSent)), ""},
		{from("mallory@evil.example/x", "<body>look</body>"+receivedCopy(innerReceived)), ""},
		{from("JULIET/b", receivedCopy(innerReceived)), ""},
		{from("example.org", receivedCopy(innerReceived)), ""},
		{from("OWN/here", receivedCopy(innerReceived)), ""},
		{from("OWN/phone", sentCopy(innerSent)), ""},
		{from("OWN.evil.example", receivedCopy(innerReceived)), ""},
		{from("xOWN", receivedCopy(innerReceived)), ""},
		{from("@", receivedCopy(innerReceived)), ""},
		{"<message>" + receivedCopy(innerReceived) + "</message>", ""},
		{"<message from=''>" + receivedCopy(innerReceived) + "</message>", ""},
		{"<message from='OWN' type='error'>" + receivedCopy(innerReceived) + "</message>", ""},

		// What they copy was not the account's.
		{from("OWN", receivedCopy(innerForged)), ""},
		{from("OWN", sentCopy(innerForged)), ""},
		{from("OWN", receivedCopy(innerSent)), ""},
		{from("OWN", sentCopy(innerReceived)), ""},
		{from("OWN", receivedCopy("<message from='JULIET/b'><body>x</body></message>")), ""},
		{from("OWN", sentCopy("<message to='JULIET/b'><body>x</body></message>")), ""},
		{from("OWN", receivedCopy("<message from='@' to='OWN'><body>x</body></message>")), "received @ romeo@example.org"},
		{from("OWN", sentCopy("<message from='OWN.evil.example' to='JULIET/b'><body>x</body></message>")), ""},

		// It comes twice, and this is the one too many.
		{from("OWN", sentCopy("<message from='OWN/phone' to='OWN'><body>a note</body></message>")), ""},
		{from("OWN", sentCopy("<message from='OWN/phone' to='OWN/here'><body>a note</body></message>")), ""},
		{from("OWN", sentCopy("<message from='OWN/phone'><body>a note</body></message>")), ""},

		// They are not one copy of one message.
		{from("OWN", ""), ""},
		{from("OWN", "<sent/>"), ""},
		{from("OWN", sentCopy("")), ""},
		{from("OWN", sentCopy(innerSent)+sentCopy(innerSent)), ""},
		{from("OWN", sentCopy(innerSent)+receivedCopy(innerReceived)), ""},
		{from("OWN", sentCopy(innerSent)+"<received/>"), ""},
		{from("OWN", sentCopy(innerSent+innerSent)), ""},
		{from("OWN", "<sent><forwarded>"+innerSent+"</forwarded><forwarded>"+innerSent+"</forwarded></sent>"), ""},
		{from("OWN", "<sent>"+innerSent+"</sent>"), ""},
		{from("OWN", "<sent><x xmlns='urn:xmpp:forward:0'>"+innerSent+"</x></sent>"), ""},
		{from("OWN", "<sent><x xmlns='other'><forwarded>"+innerSent+"</forwarded></x></sent>"), ""},
		{from("OWN", sentCopy("<x xmlns='other'>"+innerSent+"</x>")), ""},
		{from("OWN", sentCopy(`<presence xmlns="jabber:client" from="OWN/phone" to="JULIET"/>`)), ""},
		{from("OWN", sentCopy(strings.ReplaceAll(innerSent, "message", "foreign"))), ""},

		// Copies of copies: what a server copies is never one.
		{from("OWN", receivedCopy(from("mallory@evil.example/x", receivedCopy(innerReceived)))), ""},
		{from("OWN", receivedCopy(from("OWN", receivedCopy(innerReceived)))), ""},
		{from("OWN", sentCopy("<message from='OWN/phone' to='JULIET'>"+sentCopy(innerSent)+"</message>")), ""},
	} {
		got := ""
		m, direction := OpenCarbon(own, element(test.xml), true)
		if m != nil {
			got = direction + " " + xmpp.Attr(m, "from") + " " + xmpp.Attr(m, "to")
		}
		if got != test.want {
			t.Errorf("%s\nis %q, want %q", test.xml, got, test.want)
		}
		if m, _ := OpenCarbon(own, element(test.xml), false); m != nil {
			t.Errorf("%s\nwas not asked for", test.xml)
		}
	}
}

// What is in a copy is a stanza of its own, with nothing of what it came in.
func TestForwarded(t *testing.T) {
	outer := element("<message from='OWN' xml:lang='en'>" + receivedCopy("<message from='JULIET' to='OWN'><body>you</body><thread>t</thread></message>") + "</message>")
	before, _ := xmpp.XML(outer)
	m, _ := OpenCarbon(jid("romeo@example.org/here"), outer, true)
	got, err := xmpp.XML(m)
	want := `<message xmlns="jabber:client" from="juliet@example.net" to="romeo@example.org"><body>you</body><thread>t</thread></message>`
	if string(got) != want || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if !xmpp.IsStanza(m) || m.Parent() != nil || xmpp.Lang(m) != "" {
		t.Error("it is no stanza of its own")
	}
	if after, _ := xmpp.XML(outer); string(after) != string(before) {
		t.Errorf("%s became %s", before, after)
	}
}

// Whatever a message is made of, what comes out of it was put in by your server, and the account has sent or received it.
func FuzzOpenCarbon(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7})
	for seed := range byte(64) {
		f.Add([]byte{0, 0, 1, seed % 2, 1, seed % 7, 1, 2, seed % 5, seed % 3, seed / 4})
	}
	own := jid("romeo@example.org/here")
	addresses := []string{"romeo@example.org", "romeo@example.org/phone", "romeo@example.org/here", "juliet@example.net/b", "mallory@evil.example", "romeo@example.org.evil.example", "", "@"}
	f.Fuzz(func(t *testing.T, choices []byte) {
		next := func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0]) % n
			choices = choices[1:]
			return c
		}
		var build func(depth int) *xmpp.Element
		build = func(depth int) *xmpp.Element {
			// What belongs at this depth is likely, anything else is possible.
			kinds := [][2]string{{xmpp.NSClient, "message"}, {NSCarbons, "sent"}, {NSCarbons, "received"}, {NSForward, "forwarded"}, {"other", "message"}, {NSDelay, "delay"}}
			kind := kinds[[]int{0, 1 + next(2), 3, 0}[depth%4]]
			if depth > 0 && next(8) == 7 {
				kind = kinds[next(len(kinds))]
			}
			e := xmpp.NewElement(kind[0], kind[1])
			if kind[1] == "message" {
				e.CreateAttr("from", addresses[next(len(addresses))])
				e.CreateAttr("to", addresses[next(len(addresses))])
				if next(8) == 7 {
					e.CreateAttr("type", "error")
				}
			}
			for range 1 + next(8)/6 {
				if depth < 8 && len(choices) > 0 {
					xmpp.Add(e, build(depth+1))
				}
			}
			return e
		}
		outer := build(0)
		m, direction := OpenCarbon(own, outer, true)
		if m == nil {
			return
		}
		b, err := xmpp.XML(m)
		if err != nil || !xmpp.IsStanza(m) || m.Parent() != nil || strings.Contains(string(b), "<message ") && len(copiesIn(m)) > 0 {
			t.Errorf("not a message of its own: %s, %v", b, err)
		}
		if xmpp.Attr(outer, "from") != "romeo@example.org" || xmpp.Attr(outer, "type") == "error" {
			t.Errorf("%s opened a copy", xmpp.Attr(outer, "from"))
		}
		from, to := xmpp.Attr(m, "from"), xmpp.Attr(m, "to")
		switch ofAccount := func(s string) bool { return s == own.Bare().String() || strings.HasPrefix(s, own.Bare().String()+"/") }; {
		case direction == "sent" && ofAccount(from):
		case direction == "received" && ofAccount(to):
		default:
			t.Errorf("%s from %s to %s", direction, from, to)
		}
	})
}

// A copy that waited says so: by what is in it, beside it, or around it.
func TestDelayedCarbon(t *testing.T) {
	own := jid("romeo@example.org/here")
	const inner = "<message xmlns='jabber:client' from='OWN/phone' to='JULIET/b'><body>b</body>"
	const new, old = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-02T03:04:05Z'/>", "<x xmlns='jabber:x:delay' stamp='20260102T03:04:05'/>"
	copied := func(in, beside, around string) string {
		return "<message from='OWN'><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>" + beside + inner + in + "</message></forwarded></sent>" + around + "</message>"
	}
	for _, test := range []struct {
		xml     string
		delayed bool
	}{
		{copied("", "", ""), false},
		{copied(new, "", ""), true}, {copied("", new, ""), true}, {copied("", "", new), true},
		{copied(old, "", ""), true}, {copied("", old, ""), true}, {copied("", "", old), true},
	} {
		m, direction := OpenCarbon(own, element(test.xml), true)
		if m == nil || direction != "sent" {
			t.Fatalf("%s: %v", test.xml, m)
		}
		if when, delayed := SentAt(own, m); delayed != test.delayed || delayed && when.Format(time.RFC3339) != "2026-01-02T03:04:05Z" {
			t.Errorf("%s: %v, %v", test.xml, when, delayed)
		}
	}
}
