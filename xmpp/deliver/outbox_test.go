package deliver

import (
	"testing"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

// Of what others say of a message the first counts, if they may say it: by its id, from
// whom it went to or a server on the way, and a receipt only where one is waited for.
func TestOutbox(t *testing.T) {
	const own, to = "romeo@here.example/r", "juliet@there.example/x"
	bounce := func(from, id string) *xmpp.Element {
		return xmpp.NewElement(xmpp.NSClient, "message", "from", from, "type", "error", "id", id)
	}
	receipt := func(from, id string) *xmpp.Element {
		m := xmpp.NewElement(xmpp.NSClient, "message", "from", from, "id", "theirs")
		return xmpp.Add(m, xmpp.NewElement(xep.NSReceipts, "received", "id", id))
	}
	for name, test := range map[string]struct {
		heard    []*xmpp.Element
		receipts bool
		want     string // the senders
	}{
		"a bounce":              {[]*xmpp.Element{bounce(to, "1")}, false, to},
		"of the account":        {[]*xmpp.Element{bounce("juliet@there.example", "1")}, false, "juliet@there.example"},
		"of your server":        {[]*xmpp.Element{bounce("here.example", "1")}, false, "here.example"},
		"of somebody else":      {[]*xmpp.Element{bounce("mallory@evil.example", "1")}, false, ""},
		"of something else":     {[]*xmpp.Element{bounce(to, "2")}, false, ""},
		"twice":                 {[]*xmpp.Element{bounce(to, "1"), bounce("here.example", "1")}, false, to},
		"a receipt":             {[]*xmpp.Element{receipt("juliet@there.example/y", "1")}, true, "juliet@there.example/y"},
		"that nobody asked for": {[]*xmpp.Element{receipt(to, "1")}, false, ""},
		"of another":            {[]*xmpp.Element{receipt("here.example", "1"), receipt("mallory@evil.example", "1")}, true, ""},
		"then a bounce":         {[]*xmpp.Element{receipt(to, "1"), bounce("here.example", "1")}, true, to},
		"no message":            {[]*xmpp.Element{xmpp.NewElement(xmpp.NSClient, "presence", "from", to, "type", "error", "id", "1")}, true, ""},
		"no address":            {[]*xmpp.Element{bounce("@", "1")}, true, ""},
	} {
		b := newOutbox(jid(own), test.receipts)
		m := &Message{To: jid(to), Stanza: xmpp.NewElement(xmpp.NSClient, "message", "id", "1")}
		b.add([]*Message{m})
		for _, e := range test.heard {
			b.onStanza(e)
		}
		got := ""
		for _, n := range b.take() {
			got += n.from.String()
		}
		if got != test.want || len(b.take()) > 0 {
			t.Errorf("%s: heard from %q, want %q", name, got, test.want)
		}
		if woken := len(b.woke) > 0; woken != (test.want != "") {
			t.Errorf("%s: woken is %v", name, woken)
		}
		if b.remove(m); !b.empty() {
			t.Errorf("%s: it is still open", name)
		}
	}
}
