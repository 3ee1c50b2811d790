package xep

import "testing"

// An id in the archive is that which the account has given, and no other; of
// several in its name it is the last.
func TestStanzaID(t *testing.T) {
	id := func(by, id string) string {
		return "<stanza-id xmlns='urn:xmpp:sid:0' by='" + by + "' id='" + id + "'/>"
	}
	for content, want := range map[string]string{
		"":                           "",
		id("OWN", "1"):               "1",
		id("romeo@EXAMPLE.org", "1"): "1",
		id("ROMEO@example.org", "1"): "",
		id("JULIET", "1"):            "",
		id("OWN/here", "1"):          "",
		id("example.org", "1"):       "",
		id("OWN.evil.example", "1"):  "",
		id("@", "1"):                 "",
		"<stanza-id xmlns='urn:xmpp:sid:0' id='1'/>":                    "",
		"<stanza-id xmlns='evil' by='OWN' id='1'/>":                     "",
		"<x xmlns='evil'>" + id("OWN", "1") + "</x>":                    "",
		"<origin-id xmlns='urn:xmpp:sid:0' by='OWN' id='1'/>":           "",
		id("JULIET", "2") + id("OWN", "1") + id("muc.example.org", "3"): "1",
		id("OWN", "1") + id("OWN", "2"):                                 "2",
		id("OWN", "1") + id("OWN", "2") + id("JULIET", "3"):             "2",
	} {
		e := element("<message from='JULIET' to='OWN'><body>b</body>" + content + "</message>")
		if got := StanzaID(jid("romeo@example.org/here"), e); got != want {
			t.Errorf("%s: %q", content, got)
		}
	}
}
