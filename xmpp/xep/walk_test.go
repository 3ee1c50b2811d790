package xep

import (
	"testing"

	"xmppkit/xmpp"
)

// What comes again is not a new item.
func TestDiscoPages(t *testing.T) {
	a := new(Answer)
	seen := make(map[string]bool)
	page := func(items string) int {
		query, err := xmpp.Parse([]byte("<query xmlns='http://jabber.org/protocol/disco#items'>" + items + "</query>"))
		if err != nil {
			t.Fatal(err)
		}
		return a.addItems(query, seen)
	}
	if n := page("<item jid='a'/><item jid='a' node='b'/><item jid='a' name='again'/><item jid='@' name='malformed'/><item xmlns='urn:x' jid='c'/>"); n != 3 {
		t.Errorf("%d items, want 3", n)
	}
	if n := page("<item jid='a'/><item jid='d'/>"); n != 1 || len(a.Items) != 4 || !a.Items[2].JID.IsZero() {
		t.Errorf("%d new items in %v, want 1", n, a.Items)
	}
}
