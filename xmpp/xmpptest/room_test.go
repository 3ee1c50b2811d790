package xmpptest

import (
	"strings"
	"testing"
	"testing/synctest"

	"xmppkit/xmpp"
)

// shorten makes of what a client of rooms gets something to compare: see room.
func shorten(e *xmpp.Element) string {
	from := strings.TrimPrefix(xmpp.Attr(e, "from"), "den@muc.localhost")
	parts := []string{e.Tag, from}
	for _, name := range []string{"type", "id"} {
		if v := xmpp.Attr(e, name); v != "" && e.Tag != "iq" {
			parts = append(parts, v)
		}
	}
	for _, name := range []string{"body", "subject", "status"} {
		if v, ok := xmpp.Text(e, xmpp.NSClient, name); ok {
			parts = append(parts, name+"="+v)
		}
	}
	x := xmpp.Child(e, nsMUCUser, "x")
	for part := range xmpp.Elements(x) {
		switch part.Tag {
		case "item":
			parts = append(parts, xmpp.Attr(part, "affiliation")+"/"+xmpp.Attr(part, "role"))
			for _, name := range []string{"nick", "jid"} {
				if v := xmpp.Attr(part, name); v != "" {
					parts = append(parts, name+"="+v)
				}
			}
			if actor := xmpp.Child(part, nsMUCUser, "actor"); actor != nil {
				parts = append(parts, "by="+xmpp.Attr(actor, "nick"))
			}
			if reason, ok := xmpp.Text(part, nsMUCUser, "reason"); ok {
				parts = append(parts, "reason="+reason)
			}
		case "status":
			parts = append(parts, xmpp.Attr(part, "code"))
		case "destroy":
			reason, _ := xmpp.Text(part, nsMUCUser, "reason")
			parts = append(parts, "destroy="+xmpp.Attr(part, "jid"), reason)
		default:
			reason, _ := xmpp.Text(part, nsMUCUser, "reason")
			parts = append(parts, part.Tag+"="+xmpp.Attr(part, "from")+xmpp.TextOf(part)+reason)
		}
	}
	if xmpp.Child(e, nsDelay, "delay") != nil {
		parts = append(parts, "late")
	}
	if reason := xmpp.Child(e, xmpp.NSClient, "error"); reason != nil {
		parts = append(parts, xmpp.Attr(reason, "type"), reason.ChildElements()[0].Tag)
	}
	if e.Tag == "iq" && xmpp.Attr(e, "type") == "result" {
		parts = append(parts, "ok")
	}
	return strings.Join(parts, " ")
}

// expand replaces words in capitals.
func expand(text string) string {
	return strings.NewReplacer("ROOM", "den@muc.localhost", "JOIN", "<x xmlns='"+nsMUC+"'/>", "PING", "<ping xmlns='urn:xmpp:ping'/>",
		"USER", "xmlns='"+nsMUCUser+"'", "ADMIN", "<query xmlns='"+nsMUCAdmin+"'>", "OWNER", "<query xmlns='"+nsMUCOwner+"'>", "QUERY", "</query>",
		"CONFIG", "<iq type='set' id='c' to='den@muc.localhost'><query xmlns='"+nsMUCOwner+"'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"+nsMUC+"#roomconfig</value></field>",
		"GIFNOC", "</x></query></iq>").Replace(text)
}

// room sends text, after expand, and reads what is wanted, each in the form of shorten, and
// no more.
func (c *client) room(t testing.TB, text string, want ...string) {
	t.Helper()
	if text != "" {
		c.send(t, expand(text))
	}
	for _, want := range want {
		e, err := c.next()
		if err != nil {
			t.Fatalf("want %s, got %v", want, err)
		}
		if strings.Contains(want, " *") {
			e.CreateAttr("id", "*")
		}
		if got := shorten(e); got != want {
			t.Fatalf("got  %s\nwant %s\n%s", got, want, text)
		}
	}
	c.send(t, "<iq type='get' id='end' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	e, err := c.next()
	if err != nil || xmpp.Attr(e, "id") != "end" {
		t.Fatalf("too much: %s %v", shorten(e), err)
	}
}

// den is a server where juliet owns a room and is in it.
func den(t testing.TB, faults ...Fault) (s *Server, juliet, romeo *client) {
	s = start(t, Config{Rooms: map[string]string{"den": "juliet"}})
	juliet = loggedIn(t, s, "juliet", how{resource: "j"})
	juliet.room(t, "<presence to='ROOM/ju'>JOIN</presence>",
		"presence /ju owner/moderator jid=juliet@localhost/j 110", "message  groupchat subject=")
	s.SetFaults(faults...)
	return s, juliet, loggedIn(t, s, "romeo", how{resource: "r"})
}

const (
	joinRo    = "<presence to='ROOM/ro'>JOIN</presence>"
	quietRo   = "<presence to='ROOM/ro'><x xmlns='" + nsMUC + "'><history maxstanzas='0'/></x></presence>"
	pingRo    = "<iq type='get' id='p' to='ROOM/ro'>PING</iq>"
	saysHello = "<message to='ROOM' type='groupchat' id='h'><body>hello</body></message>"

	seesJu   = "presence /ju owner/moderator"
	seesRo   = "presence /ro none/participant jid=romeo@localhost/r"
	isIn     = "presence /ro none/participant jid=romeo@localhost/r 110"
	noTopic  = "message  groupchat subject="
	isHeard  = "message /ro groupchat h body=hello"
	declined = "message  error h cancel not-acceptable"
)

// inside is what romeo gets who joins, and then something more.
func inside(more ...string) []string { return append([]string{seesJu, isIn, noTopic}, more...) }

// What a client sends and gets, in a room that juliet owns and is in.
func TestRoom(t *testing.T) {
	for _, test := range []struct {
		rule, first, send string // first is what juliet does before
		want, juliet      []string
	}{
		{"section 7.1: others, oneself, history, the subject, what is new", saysHello, joinRo + saysHello + pingRo,
			[]string{seesJu, isIn, "message /ju groupchat h body=hello late", noTopic, isHeard, "iq /ro ok"}, []string{seesRo, isHeard}},
		{"section 7.2.13: as much history as one wants", saysHello + saysHello, quietRo, inside(), []string{seesRo}},
		{"section 7.2.13", saysHello + strings.ReplaceAll(saysHello, ">hello", ">again"), strings.Replace(quietRo, "'0'", "'1'", 1),
			[]string{seesJu, isIn, "message /ju groupchat h body=again late", noTopic}, []string{seesRo}},
		{"section 7.2.13: no room for characters", saysHello, strings.Replace(quietRo, "maxstanzas", "maxchars", 1), inside(), []string{seesRo}},
		{"section 7.2.13: since then", saysHello, strings.Replace(quietRo, "maxstanzas='0'", "since='2999-01-01T00:00:00Z'", 1), inside(), []string{seesRo}},
		{"section 7.2.1: only with <x/>", "", "<presence to='ROOM/ro'/>", []string{"presence /ro error cancel item-not-found"}, nil},
		{"section 7.2.1: only with a nick", "", "<presence to='ROOM'>JOIN</presence>", []string{"presence  error cancel service-unavailable"}, nil},
		{"section 7.2.8: a nick that somebody has", "", "<presence to='ROOM/ju' id='1'>JOIN</presence>", []string{"presence /ju error 1 cancel conflict"}, nil},
		{"nicks in another case are others", "", "<presence to='ROOM/JU'>JOIN</presence>",
			[]string{seesJu, "presence /JU none/participant jid=romeo@localhost/r 110", noTopic}, []string{"presence /JU none/participant jid=romeo@localhost/r"}},
		{"section 7.4: only occupants speak", "", saysHello, []string{declined}, nil},
		{"section 7.4: refused as long as one is not in", "", saysHello + joinRo, append([]string{declined}, inside()...), []string{seesRo}},
		{"no such room", "", "<message to='no@muc.localhost' type='groupchat' id='h'><body/></message><iq type='get' id='i' to='no@muc.localhost/x'>PING</iq>",
			[]string{"message no@muc.localhost error h cancel item-not-found", "iq no@muc.localhost/x cancel item-not-found"}, nil},
		{"the type of messages to a room", "", joinRo + strings.Replace(saysHello, "groupchat", "normal", 1), inside("message  error h cancel service-unavailable"), []string{seesRo}},
		{"section 7.5: private messages are not reflected", "", joinRo + "<message to='ROOM/ju' type='chat' id='1'><body>psst</body></message>", inside(),
			[]string{seesRo, "message /ro chat 1 body=psst"}},
		{"section 7.5: to nobody", "", joinRo + "<message to='ROOM/no' type='chat' id='1'/><message to='ROOM/ju' type='groupchat' id='2'/>",
			inside("message /no error 1 cancel item-not-found", "message /ju error 2 modify bad-request"), []string{seesRo}},
		{"section 7.5: from outside", "", "<message to='ROOM/ju' type='chat' id='1'/>", []string{"message /ju error 1 cancel not-acceptable"}, nil},
		{"section 7.6: another nick", "", joinRo + "<presence to='ROOM/mo'/>" + pingRo + "<presence to='ROOM/ju'/>",
			inside("presence /ro unavailable 303 none/participant nick=mo jid=romeo@localhost/r 110", "presence /mo none/participant jid=romeo@localhost/r 110",
				"iq /ro cancel item-not-found", "presence /ju error cancel conflict"),
			[]string{seesRo, "presence /ro unavailable 303 none/participant nick=mo jid=romeo@localhost/r", "presence /mo none/participant jid=romeo@localhost/r"}},
		{"section 7.7: status", "", joinRo + "<presence to='ROOM/ro'><status>away</status></presence>",
			inside("presence /ro status=away none/participant jid=romeo@localhost/r 110"), []string{seesRo, "presence /ro status=away none/participant jid=romeo@localhost/r"}},
		{"section 7.14: leaving", "", joinRo + "<presence type='unavailable' to='ROOM/ro'><status>bye</status></presence>" + pingRo,
			inside("presence /ro unavailable status=bye none/none jid=romeo@localhost/r 110", "iq /ro cancel not-acceptable"),
			[]string{seesRo, "presence /ro unavailable status=bye none/none jid=romeo@localhost/r"}},
		{"who is not available is in no room", "", "<presence/>" + joinRo + "<presence type='unavailable'/>",
			append([]string{"presence romeo@localhost/r"}, inside("presence /ro unavailable none/none jid=romeo@localhost/r 110")...),
			[]string{seesRo, "presence /ro unavailable none/none jid=romeo@localhost/r"}},
		{"joining twice", "", joinRo + joinRo, append(inside(), seesJu, isIn, noTopic), []string{seesRo, seesRo}},
		{"XEP-0410", "", pingRo + joinRo + pingRo + "<iq type='get' id='q' to='ROOM/ju'>PING</iq>",
			append([]string{"iq /ro cancel not-acceptable"}, inside("iq /ro ok")...), []string{seesRo, "iq /ro"}},
		{"section 8.1: moderators set the subject, and its id is lost", "<message to='ROOM' type='groupchat' id='s'><subject>balcony</subject></message>",
			joinRo + "<message to='ROOM' type='groupchat' id='s'><subject>tomb</subject></message>",
			[]string{seesJu, isIn, "message /ju groupchat subject=balcony late", "message  error s auth forbidden"}, []string{seesRo}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			_, juliet, romeo := den(t)
			juliet.write(expand(test.first))
			for range strings.Count(test.first, "<message") {
				juliet.next()
			}
			romeo.room(t, test.send, test.want...)
			if test.juliet != nil {
				juliet.room(t, "", test.juliet...)
			}
		})
	}
}

// Whoever ends a session leaves its rooms; a session that can be resumed stays in them, and
// gets what was said there (XEP-0198). Messages have ids of the archive.
func TestRoomResume(t *testing.T) {
	inBubble(t, Config{Rooms: map[string]string{"den": "juliet"}}, func(b bubble) {
		juliet, id := b.juliet("<sm:enable resume='true'/>")
		juliet.send(b, "<presence to='den@muc.localhost/ju'><x xmlns='"+nsMUC+"'/></presence>")
		for _, want := range []string{"presence /ju owner/moderator jid=juliet@localhost/j 110", noTopic} {
			if e, err := juliet.next(); err != nil || shorten(e) != want {
				b.Fatal(shorten(e), err)
			}
		}
		juliet.send(b, sm("<sm:a h='3'/>"))
		b.Cut()
		synctest.Wait()
		romeo := b.login("romeo", "r")
		romeo.room(b, joinRo+saysHello, inside(isHeard)...)
		juliet = b.resume("<sm:resume previd='" + id + "' h='3'/>")
		juliet.expect(b, sm("<sm:resumed previd='"+id+"' h='2'/>"))
		for _, want := range []string{seesRo + " late", isHeard + " late"} {
			if e, err := juliet.next(); err != nil || shorten(e) != want {
				b.Fatal(shorten(e), err)
			}
		}
		romeo.write("</stream:stream>")
		synctest.Wait()
		juliet.next() // a request for an acknowledgement
		if e, err := juliet.next(); err != nil || shorten(e) != "presence /ro unavailable none/none jid=romeo@localhost/r" {
			b.Fatal(shorten(e), err)
		}
	})
}

// A session that ends with as much unacknowledged as it may have gets nothing more of its rooms.
func TestRoomFull(t *testing.T) {
	inBubble(t, Config{Rooms: map[string]string{"den": ""}}, func(b bubble) {
		juliet := b.login("juliet", "j")
		juliet.send(b, expand("<presence to='ROOM/ju'>JOIN</presence>")+sm("<sm:enable/>"))
		go func() {
			for {
				if _, err := juliet.next(); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		romeo := b.login("romeo", "r")
		romeo.send(b, strings.Repeat("<message to='juliet@localhost/j' type='headline'/>", maxKept))
		romeo.ping(b)
		juliet.nc.Close()
		synctest.Wait()
		romeo.room(b, joinRo, isIn, noTopic)
	})
}

// The list of disco#items names the service, which describes itself and its rooms.
func TestRoomDisco(t *testing.T) {
	_, _, romeo := den(t)
	ask := func(to, what string) string {
		t.Helper()
		romeo.send(t, "<iq type='get' id='1' to='"+to+"'><query xmlns='"+what+"'/></iq>")
		e, err := romeo.next()
		if err != nil {
			t.Fatal(err)
		}
		return text(e)
	}
	for _, test := range []struct{ to, what, want string }{
		{"localhost", nsDiscoItems, `<item jid="muc.localhost"/>`},
		{"muc.localhost", nsDiscoInfo, `<identity category="conference" type="text" name="Chatrooms"/>`},
		{"muc.localhost", nsDiscoItems, `<item jid="den@muc.localhost" name="den"/></query>`},
		{"den@muc.localhost", nsDiscoInfo, `<feature var="muc_persistent"/>`},
		{"den@muc.localhost", nsDiscoInfo, `<feature var="` + nsMAM + `"/>`},
		{"den@muc.localhost", nsDiscoItems, `<item jid="den@muc.localhost/ju"/>`},
		{"no@muc.localhost", nsDiscoInfo, `<error type="cancel"><item-not-found `},
		{"no@muc.localhost", nsDiscoItems, `<error type="cancel"><item-not-found `},
		{"muc.localhost", "urn:x", `<error type="cancel"><service-unavailable `},
		{"den@muc.localhost", "urn:x", `<service-unavailable `},
	} {
		if got := ask(test.to, test.what); !strings.Contains(got, test.want) || !strings.Contains(got, `from="`+test.to+`"`) {
			t.Errorf("%s %s: %s", test.to, test.what, got)
		}
	}
}

// Requests and answers go from one occupant to another (section 17.1).
func TestRoomRelay(t *testing.T) {
	_, juliet, romeo := den(t)
	romeo.room(t, joinRo+"<iq type='get' id='v' to='ROOM/ju'><query xmlns='jabber:iq:version'/></iq>", inside()...)
	juliet.room(t, "<iq type='result' id='v' to='ROOM/ro'/>", seesRo, "iq /ro")
	romeo.expect(t, "<iq type='result' id='v' to='romeo@localhost/r' from='den@muc.localhost/ju'/>")
}
