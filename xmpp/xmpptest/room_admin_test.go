package xmpptest

import (
	"strings"
	"testing"

	"xmppkit/xmpp"
)

const (
	seesJuJID = "presence /ju owner/moderator jid=juliet@localhost/j"
	isVisitor = "presence /ro none/visitor jid=romeo@localhost/r 110"
)

func config(fields string) string { return "CONFIG" + fields + "GIFNOC" }

func field(name, value string) string {
	return "<field var='muc#roomconfig_" + name + "'><value>" + value + "</value></field>"
}

func change(item string) string {
	return "<iq type='set' id='a' to='ROOM'>ADMIN" + item + "QUERY</iq>"
}

// What becomes of romeo, who comes after the first things that juliet, the owner, does, and is
// in the room as she does the next.
func TestRoomAdmin(t *testing.T) {
	invite := func(more string) string {
		return "<message to='ROOM' id='i'><x USER>" + more + "</x></message>"
	}
	for _, test := range []struct {
		rule, first, send string
		want              []string
		then              string
		juliet, romeo     []string
	}{
		{"section 7.2.6: members only", config(field("membersonly", "1")), joinRo, []string{"presence /ro error auth registration-required"}, "", nil, nil},
		{"section 9.3: members", config(field("membersonly", "1")) + change("<item affiliation='member' jid='romeo@localhost'/>"), quietRo,
			[]string{seesJu, "presence /ro member/participant jid=romeo@localhost/r 110", noTopic}, "", nil, nil},
		{"section 7.2.7: banned", change("<item affiliation='outcast' jid='romeo@localhost'/>"), joinRo, []string{"presence /ro error auth forbidden"}, "", nil, nil},
		{"section 7.2.5: a password", config(field("roomsecret", "sesame")),
			joinRo + strings.Replace(joinRo, "JOIN", "<x xmlns='"+nsMUC+"'><password>no</password></x>", 1) +
				strings.Replace(quietRo, "<history", "<password>sesame</password><history", 1),
			append([]string{"presence /ro error auth not-authorized", "presence /ro error auth not-authorized"}, inside()...), "", nil, nil},
		{"section 7.9: voice", config(field("moderatedroom", "1")), quietRo + saysHello, []string{seesJu, isVisitor, noTopic, "message  error h auth forbidden"},
			change("<item nick='ro' role='participant'/>"), []string{"presence /ro none/participant jid=romeo@localhost/r by=ju", "iq  ok"},
			[]string{"presence /ro none/participant jid=romeo@localhost/r by=ju 110"}},
		{"section 8.4: voice that is taken", "", quietRo, inside(), change("<item nick='ro' role='visitor'/>"),
			[]string{"presence /ro none/visitor jid=romeo@localhost/r by=ju", "iq  ok"}, []string{"presence /ro none/visitor jid=romeo@localhost/r by=ju 110"}},
		{"section 8.2: kicked", "", quietRo, inside(), change("<item nick='ro' role='none'><reason>loud</reason></item>"),
			[]string{"presence /ro unavailable 307 none/none jid=romeo@localhost/r by=ju reason=loud", "iq  ok"},
			[]string{"presence /ro unavailable 307 none/none jid=romeo@localhost/r by=ju reason=loud 110"}},
		{"section 9.1: banned", "", quietRo, inside(), change("<item jid='romeo@localhost' affiliation='outcast'><reason>loud</reason></item>"),
			[]string{"presence /ro unavailable 301 outcast/none jid=romeo@localhost/r by=ju reason=loud", "iq  ok"},
			[]string{"presence /ro unavailable 301 outcast/none jid=romeo@localhost/r by=ju reason=loud 110"}},
		{"section 9.4: a member no more", config(field("membersonly", "1")) + change("<item affiliation='member' jid='romeo@localhost'/>"), quietRo,
			[]string{seesJu, "presence /ro member/participant jid=romeo@localhost/r 110", noTopic}, change("<item jid='romeo@localhost' affiliation='none'/>"),
			[]string{"presence /ro unavailable 321 none/none jid=romeo@localhost/r by=ju", "iq  ok"},
			[]string{"presence /ro unavailable 321 none/none jid=romeo@localhost/r by=ju 110"}},
		{"section 10.2.1: made members-only", "", quietRo, inside(), config(field("membersonly", "1")),
			[]string{"presence /ro unavailable 322 none/none jid=romeo@localhost/r", "iq  ok", "message  groupchat 104"},
			[]string{"presence /ro unavailable 322 none/none jid=romeo@localhost/r 110"}},
		{"section 10.9: destroyed", "", quietRo, inside(), "<iq type='set' id='d' to='ROOM'>OWNER<destroy jid='new@muc.localhost'><reason>moved</reason></destroy>QUERY</iq>" + saysHello,
			[]string{"presence /ju unavailable destroy=new@muc.localhost moved owner/none jid=juliet@localhost/j 110", "iq  ok", "message  error h cancel gone"},
			[]string{"presence /ro unavailable destroy=new@muc.localhost moved none/none jid=romeo@localhost/r 110"}},
		{"only the owner destroys", "", quietRo + "<iq type='set' id='d' to='ROOM'>OWNER<destroy/>QUERY</iq>", inside("iq  auth forbidden"), "", nil, nil},
		{"only the owner configures", "", quietRo + config("") + "<iq type='get' id='d' to='ROOM'>OWNERQUERY</iq>", inside("iq  auth forbidden", "iq  auth forbidden"), "", nil, nil},
		{"only moderators kick, only admins ban", "", quietRo + change("<item nick='ju' role='none'/>") + change("<item jid='juliet@localhost' affiliation='outcast'/>"),
			inside("iq  cancel not-allowed", "iq  cancel not-allowed"), "", nil, nil},
		{"the owner stays, though not in the room", "", "", nil, change("<item nick='ju' role='none'/>") + change("<item jid='juliet@localhost' affiliation='none'/>") +
			change("<item jid='' affiliation='none'/>") + change("<item nick='ju' role='king'/>") + change("<item nick='no' role='none'/>") + change(""),
			[]string{"presence /ju unavailable 307 owner/none jid=juliet@localhost/j 110", "iq  ok", "iq  cancel conflict", "iq  modify jid-malformed", "iq  modify bad-request", "iq  cancel item-not-found", "iq  modify bad-request"}, nil},
		{"Prosody takes one item", "", "", nil, change("<item jid='a@x' affiliation='member'/><item jid='b@x' affiliation='member'/>") +
			"<iq type='get' id='l' to='ROOM'>ADMIN<item affiliation='member'/>QUERY</iq>", []string{"message  member/ jid=a@x", "iq  ok", "iq  ok"}, nil},
		{"section 7.8.2: invitations", config(field("roomsecret", "sesame")), "<presence/>", []string{"presence romeo@localhost/r"},
			invite("<invite to='romeo@localhost'><reason>come</reason></invite>"), nil, []string{"message  i body=den@muc.localhost/ju invited you to the room den@muc.localhost (come) invite=den@muc.localhost/jucome password=sesame"}},
		{"section 7.8.2: they make members", config(field("membersonly", "1")), "<presence/>", []string{"presence romeo@localhost/r"},
			invite("<invite to='romeo@localhost'/>") + "<iq type='get' id='l' to='ROOM'>ADMIN<item affiliation='member'/>QUERY</iq>", []string{"message  member/ jid=romeo@localhost", "iq  ok"},
			[]string{"message  i body=den@muc.localhost/ju invited you to the room den@muc.localhost invite=den@muc.localhost/ju"}},
		{"section 7.8.2: from outside nothing happens", "", invite("<invite to='juliet@localhost'/>"), nil, "", nil, nil},
		{"section 7.8.2: members do not invite into rooms for members", config(field("membersonly", "1")) + change("<item affiliation='member' jid='romeo@localhost'/>"),
			quietRo + invite("<invite to='juliet@localhost'/>"), []string{seesJu, "presence /ro member/participant jid=romeo@localhost/r 110", noTopic, "message  error i auth forbidden"}, "", nil, nil},
		{"section 7.8.3: refused", "", invite("<decline to='juliet@localhost/j'><reason>no</reason></decline>"), nil, "", []string{"message  i body=romeo@localhost/r declined your invite to the room den@muc.localhost (no) decline=romeo@localhost/rno"}, nil},
		{"section 10.2.1: addresses for all", config(field("whois", "anyone")), quietRo,
			[]string{seesJuJID, "presence /ro 100 none/participant jid=romeo@localhost/r 110", noTopic}, "", nil, nil},
		{"section 10.6: only owners make owners, and unmake them", change("<item affiliation='admin' jid='romeo@localhost'/>"),
			change("<item affiliation='owner' jid='romeo@localhost'/>") + change("<item affiliation='none' jid='juliet@localhost'/>") + change("<item affiliation='member' jid='x@x'/>"),
			[]string{"iq  cancel not-allowed", "iq  cancel not-allowed", "iq  ok"}, "", nil, nil},
		{"a form says what it is for", "", "", nil, "<iq type='set' id='c' to='ROOM'>OWNER<x xmlns='jabber:x:data' type='submit'>" + field("membersonly", "1") + "</x>QUERY</iq>",
			[]string{"iq  modify bad-request"}, nil},
		{"what a form does not know", config(field("whois", "nobody") + field("membersonly", "maybe") + field("size", "7")), quietRo, inside(), "", nil, nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			_, juliet, romeo := den(t)
			juliet.drain(t, test.first)
			romeo.room(t, test.send, test.want...)
			if test.then == "" && test.juliet == nil {
				return
			}
			if test.juliet == nil || !strings.HasPrefix(test.juliet[0], "message  i") {
				juliet.drain(t, "")
			}
			juliet.room(t, test.then, test.juliet...)
			romeo.room(t, "", test.romeo...)
		})
	}
}

// drain sends text, after expand, and reads until all is done.
func (c *client) drain(t testing.TB, text string) {
	t.Helper()
	c.send(t, expand(text)+"<iq type='get' id='drained' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	for {
		if e, err := c.next(); err != nil {
			t.Fatal(err)
		} else if xmpp.Attr(e, "id") == "drained" {
			return
		}
	}
}

// A room that is made is locked until its owner has configured it, and not there any more when
// nobody is in it, unless it is persistent (section 10.1).
func TestRoomMade(t *testing.T) {
	s := start(t, Config{})
	juliet, romeo := loggedIn(t, s, "juliet", how{resource: "j"}), loggedIn(t, s, "romeo", how{resource: "r"})
	join, leave := "<presence to='ROOM/ju'>JOIN</presence>", "<presence to='ROOM/ju' type='unavailable'/>"
	made := []string{"presence /ju 201 owner/moderator jid=juliet@localhost/j 110", noTopic}
	left := "presence /ju unavailable owner/none jid=juliet@localhost/j 110"
	nothing := "<iq type='get' id='d' to='ROOM'><query xmlns='" + nsDiscoInfo + "'/></iq>"

	juliet.room(t, join+saysHello, append(made, "message /ju groupchat h body=hello")...)
	romeo.room(t, joinRo, "presence /ro error cancel item-not-found")
	juliet.room(t, leave+nothing, left, "iq  cancel item-not-found")

	juliet.room(t, join+config("")+saysHello, append(made, "iq  ok", "message /ju groupchat h body=hello")...)
	romeo.room(t, quietRo, inside()...)
	juliet.room(t, leave, seesRo, left)
	romeo.room(t, "<presence to='ROOM/ro' type='unavailable'/>"+nothing, "presence /ju unavailable owner/none",
		"presence /ro unavailable none/none jid=romeo@localhost/r 110", "iq  cancel item-not-found")

	juliet.room(t, join+"<iq type='set' id='c' to='ROOM'>OWNER<x xmlns='jabber:x:data' type='cancel'/>QUERY</iq>"+nothing,
		append(made, "presence /ju unavailable destroy=  owner/none jid=juliet@localhost/j 110", "iq  ok", "iq  cancel item-not-found")...)
	juliet.room(t, join+config(field("persistentroom", "1"))+leave+nothing, append(made, "iq  ok", "message  groupchat 104", left, "iq  ok")...)

	// What it is configured as can be read, but false is not written out.
	juliet.send(t, expand("<iq type='get' id='f' to='ROOM'>OWNERQUERY</iq>"))
	e, err := juliet.next()
	form := text(e)
	for _, want := range []string{`<field var="muc#roomconfig_persistentroom" type="boolean"><value>1</value></field>`,
		`<field var="muc#roomconfig_membersonly" type="boolean"/>`, `<value>moderators</value><option><value>moderators</value></option>`} {
		if err != nil || !strings.Contains(form, want) {
			t.Error(want, form, err)
		}
	}

	// A restart leaves what is persistent, with nobody in it.
	romeo.room(t, quietRo, "presence /ro none/participant jid=romeo@localhost/r 110", noTopic)
	romeo.room(t, "<presence to='other@muc.localhost/ro'>JOIN</presence>", "presence other@muc.localhost/ro 201 owner/moderator jid=romeo@localhost/r 110", "message other@muc.localhost groupchat subject=")
	s.Restart()
	juliet = loggedIn(t, s, "juliet", how{resource: "j"})
	juliet.room(t, nothing+strings.Replace(nothing, "ROOM", "other@muc.localhost", 1)+join, "iq  ok", "iq other@muc.localhost cancel item-not-found",
		"presence /ju owner/moderator jid=juliet@localhost/j 110", noTopic)

	// Destroyed, it says where people have gone.
	juliet.drain(t, "<iq type='set' id='d' to='ROOM'>OWNER<destroy jid='new@muc.localhost'><reason>moved</reason></destroy>QUERY</iq>")
	juliet.send(t, expand(join))
	if e, err := juliet.next(); err != nil || !strings.Contains(text(e), "<gone xmlns=\""+xmpp.NSStanzas+"\">xmpp:new@muc.localhost?join</gone>") || !strings.Contains(text(e), ">moved</text>") {
		t.Error(text(e), err)
	}
}

// What is hidden, and what is left of a room that was destroyed, is not listed.
func TestRoomHidden(t *testing.T) {
	for order, want := range map[string]bool{"": true, config(field("publicroom", "0")): false,
		"<iq type='set' id='d' to='ROOM'>OWNER<destroy/>QUERY</iq>": false} {
		_, juliet, _ := den(t)
		juliet.drain(t, order)
		juliet.send(t, "<iq type='get' id='l' to='muc.localhost'><query xmlns='"+nsDiscoItems+"'/></iq>")
		if e, err := juliet.next(); err != nil || strings.Contains(text(e), "den@") != want {
			t.Error(order, text(e), err)
		}
	}
}

// Sessions of one account share a nick; the others see one occupant.
func TestRoomShared(t *testing.T) {
	s, juliet, romeo := den(t)
	romeo.room(t, quietRo, inside()...)
	second := loggedIn(t, s, "romeo", how{resource: "s"})
	both := "none/participant jid=romeo@localhost/r none/participant jid=romeo@localhost/s"
	second.room(t, quietRo, seesJu, "presence /ro "+both+" 110", noTopic)
	romeo.room(t, saysHello, "presence /ro "+both+" 110", isHeard)
	second.room(t, "<presence to='ROOM/ro' type='unavailable'/>", isHeard, "presence /ro unavailable none/none jid=romeo@localhost/r none/none jid=romeo@localhost/s 110")
	romeo.room(t, "", isIn)
	juliet.room(t, "", seesRo, seesRo, isHeard)
}
