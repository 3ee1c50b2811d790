package xmpptest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
)

// What romeo gets in juliet's room on a connection with these faults.
func TestRoomFaults(t *testing.T) {
	out := func(first, then string) string {
		return "presence /ro unavailable " + first + "none/none jid=romeo@localhost/r" + then + " 110"
	}
	outcast := "presence /ro unavailable 301 outcast/none jid=romeo@localhost/r by=warden reason=a fault 110"
	for _, test := range []struct {
		faults, send string
		want         []string
	}{
		{"no-rooms", joinRo, []string{"presence /ro error cancel remote-server-not-found"}},
		{"room-join=silence", joinRo + saysHello, []string{declined}},
		{"room-join=resource-constraint room-joins=1", joinRo + joinRo, append([]string{"presence /ro error wait resource-constraint"}, inside()...)},
		{"room-info=remote-server-timeout", "<iq type='get' id='d' to='ROOM'><query xmlns='" + nsDiscoInfo + "'/></iq>", []string{"iq  wait remote-server-timeout"}},
		{"room-no-110", joinRo, []string{seesJu, strings.TrimSuffix(isIn, " 110"), noTopic}},
		{"room-nick=mo", joinRo + saysHello, []string{seesJu, "presence /mo 210 none/participant jid=romeo@localhost/r 110", noTopic, "message /mo groupchat h body=hello"}},
		{"room-nick=ju", joinRo, []string{seesJu, "presence /ju_ 210 none/participant jid=romeo@localhost/r 110", noTopic}},
		{"room-rename=mo", joinRo + saysHello + pingRo, inside("presence /ro unavailable 303 none/participant nick=mo jid=romeo@localhost/r 110",
			"presence /mo none/participant jid=romeo@localhost/r 110", "message /mo groupchat h body=hello", "iq /ro cancel item-not-found")},
		{"room-remove=332 room-after=1", joinRo + saysHello + saysHello + quietRo, append(inside(isHeard, out("332 ", " reason=a fault"), declined), inside()...)},
		{"room-remove=333", joinRo + saysHello, inside(out("333 ", " reason=a fault"), declined)},
		{"room-remove=307", joinRo + quietRo, append(inside(out("307 ", " by=warden reason=a fault")), inside()...)},
		{"room-remove=301", joinRo + quietRo, inside(outcast, "presence /ro error auth forbidden")},
		{"room-remove=322", joinRo + quietRo, inside(out("322 ", " reason=a fault"), "presence /ro error auth registration-required")},
		{"room-remove=none", joinRo + quietRo, append(inside(out("", "")), inside()...)},
		{"room-remove=silence", joinRo + pingRo + quietRo, append(inside("iq /ro cancel not-acceptable"), inside()...)},
		{"room-remove=destroy", joinRo + saysHello, inside(out("destroy= a fault ", ""), "message  error h cancel gone")},
		{"room-reflect=never", joinRo + saysHello + pingRo, inside("iq /ro ok")},
		{"room-reflect=no-id", joinRo + saysHello, inside("message /ro groupchat body=hello")},
		{"room-self-ping=remote-server-timeout", joinRo + pingRo, inside("iq /ro wait remote-server-timeout")},
		{"room-self-ping=silence", joinRo + pingRo, inside()},
		{"room-history=2", quietRo, []string{seesJu, isIn, "message /ghost groupchat flood1 body=history 1 late", "message /ghost groupchat flood2 body=history 2 late", noTopic}},
		{"room-crowd=2", joinRo + "<message to='ROOM/extra 1' type='chat'/>", []string{seesJu, "presence /extra 1 none/participant", "presence /extra 2 none/participant", isIn, noTopic}},
		{"room-phantom", "<iq type='get' id='d' to='no@muc.localhost'><query xmlns='" + nsDiscoInfo + "'/></iq>" + strings.Replace(joinRo, "ROOM", "no@muc.localhost", 1),
			[]string{"iq no@muc.localhost ok", "presence no@muc.localhost/ro 201 owner/moderator jid=romeo@localhost/r 110", "message no@muc.localhost groupchat subject="}},
		{"room-no-archive", joinRo + "<iq type='set' id='q' to='ROOM'><query xmlns='" + nsMAM + "'/></iq>", []string{seesJu, isIn, noTopic, "iq  cancel service-unavailable"}},
		{"room-persistent", strings.Replace(joinRo, "ROOM", "no@muc.localhost", 1) + "<presence to='no@muc.localhost/ro' type='unavailable'/><iq type='get' id='d' to='no@muc.localhost'><query xmlns='" + nsDiscoInfo + "'/></iq>",
			[]string{"presence no@muc.localhost/ro 201 owner/moderator jid=romeo@localhost/r 110", "message no@muc.localhost groupchat subject=",
				"presence no@muc.localhost/ro unavailable owner/none jid=romeo@localhost/r 110", "iq no@muc.localhost ok"}},
	} {
		t.Run(test.faults, func(t *testing.T) {
			var faults []Fault
			for _, f := range strings.Fields(test.faults) {
				faults = append(faults, Fault(f))
			}
			_, _, romeo := den(t, faults...)
			romeo.room(t, test.send, test.want...)
		})
	}
}

// Rooms as with ejabberd.
func TestRoomEjabberd(t *testing.T) {
	const start = "presence "
	is := func(more ...string) []string {
		return append([]string{start, seesJu, "presence /ro none/participant jid=romeo@localhost/r 110", noTopic}, more...)
	}
	for _, test := range []struct {
		rule, send string
		want       []string
	}{
		{"a presence of the room before the others, and before the end", joinRo + "<presence type='unavailable' to='ROOM/ro'/>",
			is("presence  unavailable", "presence /ro unavailable none/none jid=romeo@localhost/r 110")},
		{"presence joins", "<presence to='ROOM/ro'/>", is()},
		{"joins without a nick", "<presence to='ROOM'>JOIN</presence>", []string{"presence  error modify jid-malformed"}},
		{"payload in errors", saysHello, []string{"message  error h body=hello modify not-acceptable"}},
		{"normal messages vanish", joinRo + strings.Replace(saysHello, "groupchat", "normal", 1), is()},
		{"everybody sets the subject, which keeps its id", joinRo + "<message to='ROOM' type='groupchat' id='s'><subject>tomb</subject></message>" + joinRo,
			append(is("message /ro groupchat s subject=tomb"), start, seesJu, "presence /ro none/participant jid=romeo@localhost/r 110", "message /ro groupchat s subject=tomb")},
		{"invitations", "<message to='ROOM' id='i'><x USER><invite to='juliet@localhost'/></x></message>" + joinRo + "<message to='ROOM' id='i'><x USER><invite to='juliet@localhost'/></x></message>",
			append([]string{"message  error i invite= modify not-acceptable"}, is("message  error i invite= cancel not-allowed")...)},
		{"fields that it does not know", strings.ReplaceAll(joinRo+config(field("size", "7")), "den@muc", "x@muc"), append(is(), "iq  auth forbidden")},
	} {
		t.Run(test.rule, func(t *testing.T) {
			_, _, romeo := den(t, "rooms-ejabberd")
			romeo.room(t, test.send, test.want...)
		})
	}
	s, juliet, _ := den(t, "rooms-ejabberd")
	romeo := loggedIn(t, s, "juliet", how{resource: "k"})
	romeo.room(t, "<iq type='set' id='d' to='ROOM'>OWNER<destroy/>QUERY</iq>"+joinRo, "iq  ok", start, "presence /ro owner/moderator jid=juliet@localhost/k 201 110", noTopic)
	juliet.room(t, "", "presence  unavailable", "presence /ju unavailable destroy=  owner/none jid=juliet@localhost/j")
}

// With room-late everything comes late and in order; with room-interval only what was too
// soon does, and more than that is refused before it is there.
func TestRoomLate(t *testing.T) {
	inBubble(t, Config{Rooms: map[string]string{"den": ""}, Faults: []Fault{"room-late=300"}}, func(b bubble) {
		numbered := func(id string) string { return strings.Replace(saysHello, "'h'", "'"+id+"'", 1) }
		said := func(id string) string { return "message /ro groupchat " + id + " body=hello" }
		romeo := b.login("romeo", "r")
		romeo.room(b, joinRo+numbered("1")+numbered("2")+pingRo, isIn, noTopic, "iq /ro ok")
		time.Sleep(time.Second)
		romeo.room(b, "", said("1"), said("2"))
		b.SetFaults("room-interval=400", "rooms-ejabberd")
		romeo = b.login("romeo", "r")
		romeo.drain(b, joinRo)
		romeo.room(b, numbered("1")+numbered("2")+numbered("3")+pingRo, said("1"), "message  error 3 body=hello wait resource-constraint", "iq /ro ok")
		start := time.Now()
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		romeo.room(b, numbered("3"), said("2"))
		time.Sleep(time.Second)
		romeo.room(b, "", said("3"))
		if time.Since(start) > 2*time.Second {
			b.Error(time.Since(start))
		}

		b.SetFaults("room-join-late=200")
		juliet := b.login("juliet", "j")
		juliet.room(b, strings.ReplaceAll(joinRo, "/ro", "/ju")+saysHello, declined)
		time.Sleep(time.Second)
		juliet.room(b, saysHello, "presence /ro none/participant", "presence /ju none/participant jid=juliet@localhost/j 110",
			"message /ro groupchat 1 body=hello late", "message /ro groupchat 2 body=hello late", "message /ro groupchat 1 body=hello late",
			"message /ro groupchat 2 body=hello late", "message /ro groupchat 3 body=hello late", noTopic, "message /ju groupchat h body=hello")
		romeo.drain(b, "")
		romeo.write(expand(numbered("4") + numbered("5"))) // and nobody is there when that is said
		synctest.Wait()
	})
}

// The archive of a room is paged as that of an account is, and is not for everybody.
func TestRoomArchive(t *testing.T) {
	_, juliet, romeo := den(t)
	for range 60 {
		juliet.write(expand(saysHello))
	}
	juliet.drain(t, "<message to='ROOM' type='groupchat'><body>x</body><no-store xmlns='"+nsHints+"'/></message>")
	query := func(set string) (ids []string, fin string) {
		t.Helper()
		romeo.send(t, expand("<iq type='set' id='q' to='ROOM'><query xmlns='"+nsMAM+"' queryid='x'><set xmlns='"+nsRSM+"'>"+set+"</set></query></iq>"))
		for {
			e, err := romeo.next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Tag == "iq" {
				return ids, text(e)
			}
			found := xmpp.Child(e, nsMAM, "result")
			message := xmpp.Child(xmpp.Child(found, nsForward, "forwarded"), xmpp.NSClient, "message")
			if got := shorten(message); got != "message /ju groupchat h body=hello" || xmpp.Attr(e, "from") != "den@muc.localhost" || xmpp.Child(message, nsOccupantID, "occupant-id") == nil || xmpp.Child(message, nsSID, "stanza-id") != nil {
				t.Error(got, text(e))
			}
			ids = append(ids, xmpp.Attr(found, "id"))
		}
	}
	first, fin := query("")
	if len(first) != maxPage || strings.Contains(fin, "complete") || !strings.Contains(fin, "<count>60</count>") {
		t.Error(len(first), fin)
	}
	if more, fin := query("<after>" + first[maxPage-1] + "</after>"); len(more) != 10 || !strings.Contains(fin, `complete="true"`) {
		t.Error(len(more), fin)
	}
	if last, _ := query("<max>1</max><before/>"); len(last) != 1 {
		t.Error(last)
	}
	if _, fin := query("<after>nothing</after>"); !strings.Contains(fin, "item-not-found") {
		t.Error(fin)
	}

	juliet.drain(t, config(field("membersonly", "1")))
	if _, fin := query(""); !strings.Contains(fin, "forbidden") {
		t.Error(fin)
	}
}

// What was said has the id that it has in the archive, live and as history, and none that its
// sender gave it (XEP-0359, section 6; XEP-0421, section 4).
func TestRoomIDs(t *testing.T) {
	_, juliet, romeo := den(t)
	juliet.send(t, "<message to='den@muc.localhost' type='groupchat'><body>y</body>"+
		"<stanza-id xmlns='"+nsSID+"' by='den@muc.localhost' id='forged'/><occupant-id xmlns='"+nsOccupantID+"' id='forged'/>"+
		"<delay xmlns='"+nsDelay+"' from='den@muc.localhost' stamp='2020-01-01T00:00:00Z'/><x xmlns='"+nsMUCUser+"'><status code='110'/></x></message>")
	live, err := juliet.next()
	if err != nil || xmpp.Attr(live, "id") == "" || strings.Contains(text(live), "forged") || len(live.ChildElements()) != 3 {
		t.Fatal(text(live), err)
	}
	romeo.send(t, expand(joinRo))
	romeo.next()
	romeo.next()
	late, err := romeo.next()
	if err != nil || xmpp.Attr(late, "id") != xmpp.Attr(live, "id") {
		t.Fatal(text(late), err)
	}
	for _, part := range [][2]string{{nsSID, "stanza-id"}, {nsOccupantID, "occupant-id"}} {
		one, other := xmpp.Child(live, part[0], part[1]), xmpp.Child(late, part[0], part[1])
		if one == nil || other == nil || text(one) != text(other) || xmpp.Attr(one, "id") == "" {
			t.Error(text(live), text(late))
		}
	}
}

// Forged copies come first, and none is quite the true one.
func TestRoomForged(t *testing.T) {
	_, _, romeo := den(t, "room-forged")
	const is = " none/participant jid=romeo@localhost/r"
	const said = " groupchat h body=hello"
	romeo.room(t, joinRo+saysHello, "presence not-den@muc.localhost/ro"+is+" 110", "presence .evil.example/ro"+is+" 110",
		"presence /RO"+is, "presence /ro_"+is, "presence /mallory"+is, seesJu, isIn,
		"message not-den@muc.localhost/ro groupchat forged body=forged late", "message not-den@muc.localhost/ro groupchat forged subject=forged",
		"message .evil.example/ro groupchat forged body=forged late", "message .evil.example/ro groupchat forged subject=forged", noTopic,
		"message not-den@muc.localhost/ro"+said, "message .evil.example/ro"+said, "message /RO"+said, "message /ro_"+said, "message /mallory"+said, "message "+said, isHeard)
}

// Whatever a client sends to rooms, the server goes on.
func TestRoomNonsense(t *testing.T) {
	for _, faults := range []Fault{"first=0", "rooms-ejabberd"} {
		s, _, _ := den(t, faults)
		talkNonsense(t, loggedIn(t, s, "juliet", how{}))
	}
}

func talkNonsense(t *testing.T, juliet *client) {
	var all strings.Builder
	for _, to := range []string{"muc.localhost", "muc.localhost/x", "den@muc.localhost", "den@muc.localhost/ju", "den@muc.localhost/no", "no@muc.localhost", "no@muc.localhost/x"} {
		for _, payload := range []string{"", "JOIN", "<x USER/>", "<x USER><invite/><decline/></x>", "<x USER><decline/></x>", "<x USER><invite to='@'/><invite to='romeo@localhost/no'/></x>", "<subject/>", "<body/>",
			"ADMINQUERY", "ADMIN<item/>QUERY", "ADMIN<item role='none'/>QUERY", "ADMIN<item affiliation='owner'/>QUERY", "ADMIN<item role='moderator' affiliation='x'/>QUERY",
			"OWNERQUERY", "OWNER<x xmlns='jabber:x:data'/>QUERY", "OWNER<x xmlns='jabber:x:data' type='submit'><field/></x>QUERY", "PING", "<query xmlns='" + nsMAM + "'/>", "<query xmlns='" + nsMAM + "'><x xmlns='jabber:x:data'><field var='start'/></x></query>"} {
			for _, start := range []string{"iq type='get'", "iq type='set'", "iq type='error'", "message", "message type='groupchat'", "message type='error'", "presence", "presence type='unavailable'", "presence type='error'", "presence type='subscribe'"} {
				all.WriteString("<" + start + " id='1' to='" + to + "'>" + payload + "</" + strings.Fields(start)[0] + ">")
			}
		}
	}
	all.WriteString("<iq type='get' id='end' to='localhost'>PING</iq>")
	go juliet.write(expand(all.String()))
	for answers := 0; ; answers++ {
		e, err := juliet.next()
		if err != nil {
			t.Fatal(answers, err)
		}
		if xmpp.Attr(e, "id") == "end" {
			if answers < 500 {
				t.Error(answers)
			}
			return
		}
	}
}
