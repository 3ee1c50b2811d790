package xmpptest

import (
	"strings"
	"testing"
)

func TestCarbons(t *testing.T) {
	s := start(t, Config{})
	romeo, other := loggedIn(t, s, "romeo", how{resource: "r"}), loggedIn(t, s, "romeo", how{resource: "other"})
	juliet, high, deaf := loggedIn(t, s, "juliet", how{resource: "j"}), loggedIn(t, s, "juliet", how{resource: "high"}), loggedIn(t, s, "juliet", how{resource: "deaf"})
	for _, c := range []*client{romeo, other, juliet, high} {
		c.send(t, "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
		from, _, _ := strings.Cut(c.jid, "/")
		c.expect(t, "<iq type='result' id='c' from='"+from+"' to='"+c.jid+"'/>")
	}
	high.send(t, "<presence/>")
	high.expect(t, "<presence from='juliet@localhost/high' to='juliet@localhost'/>")

	// A message from romeo, with the stanza-id of an archive.
	message := func(to, by, body string) string {
		id := "<stanza-id xmlns='urn:xmpp:sid:0' by='" + by + "' id='*'/>"
		return "<message to='" + to + "' type='chat' from='romeo@localhost/r'>" + body + id + "</message>"
	}
	carbon := func(kind, from, to, inner string) string {
		return "<message from='" + from + "' to='" + to + "' type='chat'><" + kind + " xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>" +
			inner + "</forwarded></" + kind + "></message>"
	}
	body := "<body>x</body>"
	romeo.send(t, "<message to='juliet@localhost' type='chat'>"+body+"</message>")
	other.expect(t, carbon("sent", "romeo@localhost", "romeo@localhost/other", message("juliet@localhost", "romeo@localhost", body)))
	juliet.expect(t, carbon("received", "juliet@localhost", "juliet@localhost/j", message("juliet@localhost", "juliet@localhost", body)))
	high.expect(t, message("juliet@localhost", "juliet@localhost", body))

	romeo.send(t, "<message to='juliet@localhost/j' type='chat'>"+body+"</message>")
	other.expect(t, carbon("sent", "romeo@localhost", "romeo@localhost/other", message("juliet@localhost/j", "romeo@localhost", body)))
	juliet.expect(t, message("juliet@localhost/j", "juliet@localhost", body))
	high.expect(t, carbon("received", "juliet@localhost", "juliet@localhost/high", message("juliet@localhost/j", "juliet@localhost", body)))

	// To oneself it is received, not sent.
	romeo.send(t, "<message to='romeo@localhost/r' type='chat'>"+body+"</message>")
	romeo.expect(t, message("romeo@localhost/r", "romeo@localhost", body))
	other.expect(t, carbon("received", "romeo@localhost", "romeo@localhost/other", message("romeo@localhost/r", "romeo@localhost", body)))

	// None of these is copied.
	private, hint := body+"<private xmlns='urn:xmpp:carbons:2'/>", body+"<no-copy xmlns='urn:xmpp:hints'/>"
	romeo.send(t, "<message to='juliet@localhost/j' type='chat'>"+private+"</message>"+
		"<message to='juliet@localhost/j' type='chat'>"+hint+"</message>"+
		"<message to='juliet@localhost/j'/>"+
		"<message to='juliet@localhost/j' type='headline'>"+body+"</message>")
	juliet.expect(t, message("juliet@localhost/j", "juliet@localhost", body))
	juliet.expect(t, message("juliet@localhost/j", "juliet@localhost", hint))
	juliet.next()
	juliet.next()
	other.send(t, "<iq type='set' id='c'><disable xmlns='urn:xmpp:carbons:2'/></iq>")
	other.expect(t, "<iq type='result' id='c' from='romeo@localhost' to='romeo@localhost/other'/>")
	romeo.send(t, "<message to='juliet@localhost/j' type='chat'>"+body+"</message>")
	juliet.expect(t, message("juliet@localhost/j", "juliet@localhost", body))
	high.expect(t, carbon("received", "juliet@localhost", "juliet@localhost/high", message("juliet@localhost/j", "juliet@localhost", body)))
	for _, c := range []*client{romeo, other, juliet, high, deaf} {
		c.ping(t) // and nothing else
	}
}
