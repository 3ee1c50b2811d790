package receive

import (
	"strings"
	"testing"

	"xmppkit/xmpp"
)

const (
	innerSent     = "<message xmlns='jabber:client' from='romeo@example.org/phone' to='juliet@example.net/b'><body>I</body></message>"
	innerReceived = "<message xmlns='jabber:client' from='juliet@example.net/b' to='romeo@example.org/phone'><body>you</body></message>"
)

func forwarded(inner string) string {
	return "<forwarded xmlns='urn:xmpp:forward:0'>" + inner + "</forwarded>"
}

func copied(direction, inner string) string {
	return "<" + direction + " xmlns='urn:xmpp:carbons:2'>" + forwarded(inner) + "</" + direction + ">"
}

// What is forwarded without being a carbon copy is no message (XEP-0297), and what claims to
// be a copy and is none is not shown at all.
func TestUnpack(t *testing.T) {
	for _, test := range []struct {
		from, content string
		carbons       bool
		want          string
	}{
		{"mallory@evil.example/x", forwarded(innerReceived), true, "mallory@evil.example/x"},
		{"mallory@evil.example/x", "<body>see</body>" + forwarded(innerReceived), true, "mallory@evil.example/x see"},
		{"romeo@example.org", forwarded(innerReceived), true, "romeo@example.org"},
		{"mallory@evil.example/x", "<body>see</body>" + copied("received", innerReceived), true, "-"},
		{"mallory@evil.example/x", "<body>see</body>" + copied("received", innerReceived), false, "-"},
		{"romeo@example.org", copied("received", innerReceived), true, "juliet@example.net/b you received"},
		{"romeo@example.org", copied("received", innerReceived), false, "-"},
		{"romeo@example.org", copied("sent", innerSent), true, "romeo@example.org/phone I sent"},
		{"juliet@example.net", "<body>I</body><private xmlns='urn:xmpp:carbons:2'/>", true, "juliet@example.net I"},
		{"romeo@example.org", "<result xmlns='urn:xmpp:mam:2' id='1' queryid='q'>" + forwarded(innerReceived) + "</result>", true, "-"},
		{"juliet@example.net", "<body>I</body><result xmlns='urn:xmpp:mam:2' id='1' queryid='q'/>", true, "juliet@example.net I"},
	} {
		got := "-"
		if a, ok := unpack(jid("romeo@example.org/here"), message(t, test.from, test.content), test.carbons, false); ok {
			body, _ := xmpp.Text(a.Stanza, xmpp.NSClient, "body")
			got = strings.Join(strings.Fields(xmpp.Attr(a.Stanza, "from")+" "+body+" "+a.Carbon), " ")
		}
		if got != test.want {
			t.Errorf("from %s: %s\nis %q, want %q", test.from, test.content, got, test.want)
		}
	}
}

// The ids of an account count where it announces that they can be trusted; a copy that nobody
// is to see has one, too.
func TestUnpackID(t *testing.T) {
	const id = "<stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.org' id='1'/>"
	for announced, want := range map[bool]string{true: "1", false: ""} {
		for _, content := range []string{"<body>b</body>" + id, copied("sent", innerSent) + id} {
			if a, _ := unpack(jid("romeo@example.org/here"), message(t, "juliet@example.net", content), true, announced); a.ID != want {
				t.Errorf("announced %v: %q", announced, a.ID)
			}
		}
	}
}
