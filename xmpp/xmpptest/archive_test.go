package xmpptest

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
)

// chat sends juliet messages with the bodies from, from+1, and so on.
func chat(from, to int) string {
	var text strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintf(&text, "<message to='juliet@localhost' type='chat'><body>%d</body></message>", n)
	}
	return text.String()
}

// read asks for a page of the archive and returns the bodies in it, the ids, and what stands behind them.
func (c *client) read(t testing.TB, form, set string) (bodies string, ids []string, fin *xmpp.Element) {
	t.Helper()
	for name, value := range map[string]string{"with": "WITH ", "start": "START ", "end": "END "} {
		form = strings.ReplaceAll(form, value, "<field var='"+name+"'><value>") // and ; ends it
	}
	form = strings.ReplaceAll(form, ";", "</value></field>")
	c.send(t, "<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2' queryid='x'><x xmlns='jabber:x:data' type='submit'>"+form+
		"</x><set xmlns='http://jabber.org/protocol/rsm'>"+set+"</set></query></iq>")
	for {
		e, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Tag == "iq" {
			return strings.TrimSpace(bodies), ids, e
		}
		found := xmpp.Child(e, nsMAM, "result")
		if found == nil {
			t.Fatal("no result: ", text(e))
		}
		forwarded := xmpp.Child(found, nsForward, "forwarded")
		message := xmpp.Child(forwarded, xmpp.NSClient, "message")
		body, _ := xmpp.Text(message, xmpp.NSClient, "body")
		bare := xmpp.Attr(e, "from")
		if xmpp.Attr(found, "queryid") != "x" || xmpp.Child(forwarded, nsDelay, "delay") == nil || strings.Contains(text(message), "by=\""+bare+"\"") {
			t.Error(text(e))
		}
		bodies += " " + body
		ids = append(ids, xmpp.Attr(found, "id"))
	}
}

func TestArchive(t *testing.T) {
	inBubble(t, Config{}, func(b bubble) {
		romeo := b.login("romeo", "r")
		romeo.send(b, chat(1, 3))
		romeo.ping(b)
		time.Sleep(time.Second)
		noon := time.Now().UTC().Format(time.RFC3339Nano)
		romeo.send(b, "<message to='nobody@localhost/x'><body>4</body></message>"+
			"<message to='juliet@localhost'><body>no</body><no-store xmlns='urn:xmpp:hints'/></message>"+
			"<message to='juliet@localhost' type='headline'><body>no</body></message>"+
			"<message to='juliet@localhost'/>"+
			"<message to='romeo@localhost/r'><body>5</body></message>")
		romeo.next()
		romeo.next()

		_, ids, _ := romeo.read(b, "", "")
		if len(ids) != 5 {
			b.Fatal(ids)
		}
		for _, test := range []struct{ form, set, bodies, fin string }{
			{"", "", "1 2 3 4 5", "complete count=5"},
			{"", "<max>2</max>", "1 2", "count=5"},
			{"", "<max>2</max><after>1</after>", "2 3", "count=5"},
			{"", "<max>2</max><after>3</after>", "4 5", "complete count=5"},
			{"", "<after>5</after>", "", "complete count=5"},
			{"", "<max>2</max><before/>", "4 5", "count=5"},
			{"", "<max>2</max><before>4</before>", "2 3", "count=5"},
			{"", "<max>2</max><before>3</before>", "1 2", "complete count=5"},
			{"", "<max>0</max>", "", "count=5"},
			{"WITH juliet@localhost/j;", "", "1 2 3", "complete count=3"},
			{"WITH juliet@localhost;", "<max>2</max>", "1 2", "count=3"},
			{"WITH romeo@localhost;", "", "5", "complete count=1"},
			{"WITH juliet@localhost;", "<after>4</after>", "", "complete count=3"},
			{"START " + noon + ";", "", "4 5", "complete count=2"},
			{"START " + noon + ";WITH nobody@localhost;", "", "4", "complete count=1"},
			{"END " + noon + ";", "<before/>", "1 2 3 4", "complete count=4"},
			{"START yesterday;", "", "", "bad-request"},
			{"WITH @;", "", "", "bad-request"},
			{"", "<max>-1</max>", "", "bad-request"},
			{"", "<after>99</after>", "", "item-not-found"},
			{"", "<before>x</before>", "", "item-not-found"},
		} {
			set := test.set
			for i, id := range ids {
				for _, where := range []string{"after", "before"} {
					set = strings.ReplaceAll(set, fmt.Sprintf("<%s>%d<", where, i+1), "<"+where+">"+id+"<")
				}
			}
			bodies, got, e := romeo.read(b, test.form, set)
			fin := xmpp.Child(e, nsMAM, "fin")
			described := ""
			if fin != nil && xmpp.Attr(fin, "complete") == "true" {
				described = "complete "
			}
			page := xmpp.Child(fin, nsRSM, "set")
			count, _ := xmpp.Text(page, nsRSM, "count")
			described += "count=" + count
			first, _ := xmpp.Text(page, nsRSM, "first")
			last, _ := xmpp.Text(page, nsRSM, "last")
			switch {
			case fin == nil:
				described = text(e)
			case len(got) > 0 && (first != got[0] || last != got[len(got)-1]), len(got) == 0 && first+last != "":
				b.Errorf("%s %s: from %s to %s, but got %s", test.form, test.set, first, last, got)
			}
			if bodies != test.bodies || !strings.Contains(described, test.fin) || fin != nil && described != test.fin {
				b.Errorf("%s %s: got %s, %s, want %s, %s", test.form, test.set, bodies, described, test.bodies, test.fin)
			}
		}

		// What survives a restart; pages are of 50 even if more is wanted.
		romeo.send(b, chat(6, 60))
		romeo.ping(b)
		b.Restart()
		juliet := b.login("juliet", "j")
		if bodies, ids, e := juliet.read(b, "", "<max>1000</max>"); len(ids) != maxPage || !strings.HasPrefix(bodies, "1 2 3 6") {
			b.Error(bodies, text(e))
		}
	})
}

// A stanza-id is that of the archive, live, from the offline store and after
// resumption, and never that of the sender (XEP-0359, section 6).
func TestStanzaID(t *testing.T) {
	inBubble(t, Config{}, func(b bubble) {
		forged := "<stanza-id xmlns='urn:xmpp:sid:0' by='Juliet@localhost' id='evil'/>"
		other := "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@localhost/j' id='other'/>"
		message := "<message to='juliet@localhost' id='m'>" + forged + "<body>x</body>" + forged + other + "</message>"
		romeo := b.login("romeo", "r")
		romeo.send(b, message+strings.ReplaceAll(message, "body", "subject"))
		romeo.ping(b)
		juliet, id := b.juliet("<sm:enable resume='true'/>")
		get := func() *xmpp.Element {
			b.Helper()
			e, err := juliet.next()
			if err != nil || e.Tag != "message" {
				b.Fatal(e, err)
			}
			return e
		}
		var seen []string
		for _, e := range []*xmpp.Element{get(), get()} {
			got := xmpp.Children(e, nsSID, "stanza-id")
			signed := xmpp.Child(e, xmpp.NSClient, "body") != nil
			if len(got) != 1 && !signed || signed && len(got) != 2 || xmpp.Attr(got[0], "id") != "other" {
				b.Error(text(e))
			}
			if signed {
				seen = append(seen, xmpp.Attr(got[1], "by")+" "+xmpp.Attr(got[1], "id"))
			}
		}
		romeo.send(b, chat(1, 1))
		live := text(get())
		b.Cut()
		synctest.Wait()
		juliet = b.resume("<sm:resume previd='" + id + "' h='3'/>")
		juliet.next()
		again := xmpp.Attr(xmpp.Child(get(), nsSID, "stanza-id"), "id")
		if !strings.Contains(live, `by="juliet@localhost" id="`+again+`"`) {
			b.Error(live, again)
		}
		seen = append(seen, "juliet@localhost "+again)
		if e, err := juliet.next(); err != nil || e.Tag != "r" {
			b.Error(e, err)
		}
		if _, ids, _ := juliet.read(b, "", ""); len(ids) != 2 || seen[0] != "juliet@localhost "+ids[0] || seen[1] != "juliet@localhost "+ids[1] {
			b.Error(seen, ids)
		}
	})
}

func TestNoArchive(t *testing.T) {
	s := start(t, Config{Faults: []Fault{"no-archive"}})
	romeo := loggedIn(t, s, "romeo", how{resource: "r"})
	romeo.send(t, "<message to='romeo@localhost/r'><body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='romeo@localhost' id='*'/></message>")
	romeo.expect(t, "<message to='romeo@localhost/r' from='romeo@localhost/r'><body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='romeo@localhost' id='*'/></message>")
	if _, _, e := romeo.read(t, "", ""); !strings.Contains(text(e), "service-unavailable") {
		t.Error(text(e))
	}
	for faults, want := range map[Fault]bool{"first=0": true, "no-archive": false} {
		s.SetFaults(faults)
		c := loggedIn(t, s, "romeo", how{})
		c.send(t, "<iq type='get' id='1'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
		e, err := c.next()
		if err != nil || strings.Contains(text(e), nsMAM) != want || strings.Contains(text(e), nsSID) != want {
			t.Error(faults, text(e), err)
		}
	}
}

// The messages of more than a second do not count together, and a bounce says which one it was.
func TestRateLimit(t *testing.T) {
	inBubble(t, Config{Faults: []Fault{"rate-limit=2"}}, func(b bubble) {
		romeo := b.login("romeo", "r")
		for range 2 {
			romeo.send(b, say(1, 2, 3))
			romeo.expect(b, "<message type='error' id='3' from='juliet@localhost' to='romeo@localhost/r'><error type='wait'>"+
				"<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
			romeo.ping(b)
			time.Sleep(time.Second)
		}
	})
}
