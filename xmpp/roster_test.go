package xmpp_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

const juliet = "<item jid='juliet@localhost' name='J' subscription='both' ask='subscribe' approved='true'><group>b</group><group>a</group><group>b</group></item>"

// A push is from the account and has one item, or it is none (RFC 6121, section 2.1.6).
func TestRosterPush(t *testing.T) {
	push := func(from, items string) string {
		return "<iq type='set' id='1'" + from + "><query xmlns='jabber:iq:roster' ver='v2'>" + items + "</query></iq>"
	}
	for name, test := range map[string]struct {
		push string
		want bool
	}{
		"no from":           {push("", juliet), true},
		"own bare":          {push(" from='romeo@localhost'", juliet), true},
		"own bare, mapped":  {push(" from='romeo@LOCALHOST'", juliet), true},
		"another case":      {push(" from='ROMEO@localhost'", juliet), false},
		"own full":          {push(" from='romeo@localhost/r'", juliet), false},
		"the server":        {push(" from='localhost'", juliet), false},
		"contact":           {push(" from='juliet@localhost'", juliet), false},
		"lookalike":         {push(" from='romeo@localhost.evil'", juliet), false},
		"empty from":        {push(" from=''", juliet), false},
		"no item":           {push("", ""), false},
		"two items":         {push("", juliet+juliet), false},
		"an item and more":  {push("", juliet+"<x xmlns='y'/>"), false},
		"another item":      {push("", "<item xmlns='y' jid='a@b'/>"), false},
		"no address":        {push("", "<item subscription='both'/>"), false},
		"malformed address": {push("", "<item jid='a@b@c'/>"), false},
		"type get":          {strings.Replace(push("", juliet), "'set'", "'get'", 1), false},
		"type result":       {strings.Replace(push("", juliet), "'set'", "'result'", 1), false},
		"message":           {strings.NewReplacer("<iq ", "<message ", "</iq>", "</message>").Replace(push("", juliet)), false},
		"another namespace": {strings.Replace(push("", juliet), ":roster", ":private", 1), false},
		"query in another":  {"<iq type='set' id='1'><x xmlns='y'><query xmlns='jabber:iq:roster'>" + juliet + "</query></x></iq>", false},
	} {
		r := &xmpp.Roster{Account: mustJID("romeo@localhost"), Version: "v1", Contacts: map[xmpp.JID]xmpp.Contact{}}
		_, ok := r.Apply(parse(t, test.push))
		if ok != test.want || ok != (r.Version == "v2") || ok != (len(r.Contacts) == 1) {
			t.Errorf("%s: %v, the roster is then %+v", name, ok, r)
		}
	}
}

// A roster of 40,000 contacts is large, and none of the server's faults.
func TestLargeRoster(t *testing.T) {
	const n = 40_000
	var items strings.Builder
	for i := range n {
		fmt.Fprintf(&items, "<item jid='contact%d@localhost' name='Contact %d' subscription='both'><group>Friends</group></item>", i, i)
	}
	bubble(t, func(t *testing.T) {
		s, p := connect(t)
		go func() {
			get, ping := p.next(), p.next()
			p.write("<iq type='result' id='" + xmpp.Attr(get, "id") + "'><query xmlns='jabber:iq:roster'>" + items.String() + "</query></iq>" +
				"<iq type='result' from='localhost' id='" + xmpp.Attr(ping, "id") + "'/>")
		}()
		r, err := s.Roster(t.Context(), nil)
		if err != nil || len(r.Contacts) != n {
			t.Fatalf("%v, of %d bytes", err, items.Len())
		}
	})
}

func TestRosterItems(t *testing.T) {
	r := &xmpp.Roster{Account: mustJID("romeo@localhost"), Contacts: map[xmpp.JID]xmpp.Contact{}}
	apply := func(item string) {
		t.Helper()
		if _, ok := r.Apply(parse(t, "<iq type='set' id='1'><query xmlns='jabber:iq:roster' ver='v'>"+item+"</query></iq>")); !ok {
			t.Errorf("%s is no push", item)
		}
	}
	apply(juliet)
	apply("<item jid='nurse@localhost' subscription='odd' ask='odd' approved='1'/>")
	apply("<item jid='MERCUTIO@localhost' subscription='from'/>")
	want := []xmpp.Contact{
		{JID: xmpp.JID{Local: "MERCUTIO", Domain: "localhost"}, Subscription: "from"}, // as it came
		{JID: mustJID("juliet@localhost"), Name: "J", Subscription: "both", Ask: true, Approved: true, Groups: []string{"a", "b"}},
		{JID: mustJID("nurse@localhost"), Subscription: "none", Approved: true},
	}
	if got := r.Sorted(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	apply("<item jid='juliet@localhost' subscription='remove'/>")
	apply("<item jid='nobody@localhost' subscription='remove'/>")
	if want := slices.Delete(want, 1, 2); !reflect.DeepEqual(r.Sorted(), want) {
		t.Errorf("got  %+v\nwant %+v", r.Sorted(), want)
	}
}

// RFC 6121, section 2.6: what is known is not sent again.
func TestRosterVersion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Friends: true})
		ctx := t.Context()
		s := w.login(t, w.Options)
		all, err := s.Roster(ctx, nil)
		if err != nil || len(all.Contacts) != 1 || all.Version == "" || all.Account != s.JID().Bare() {
			t.Fatalf("%+v, %v", all, err)
		}
		known := &xmpp.Roster{Version: all.Version, Contacts: maps.Clone(all.Contacts)}
		known.Contacts[mustJID("kept@localhost")] = xmpp.Contact{JID: mustJID("kept@localhost")}
		same, err := s.Roster(ctx, known)
		if err != nil || len(same.Contacts) != 2 || same.Version != all.Version {
			t.Errorf("unchanged: %+v, %v", same, err)
		}
		nurse := xmpp.Contact{JID: mustJID("nurse@localhost"), Name: "N", Groups: []string{"G"}}
		if _, err := s.Exchange(ctx, xmpp.SetContact(nurse)); err != nil {
			t.Fatal(err)
		}
		for e := range s.Stanzas(ctx) {
			if c, ok := same.Apply(e); ok {
				if c.JID != nurse.JID || same.Contacts[nurse.JID].Name != "N" || same.Version == all.Version {
					t.Errorf("after the push: %+v", same)
				}
				break
			}
		}
		// A cached roster that is empty is none.
		if r, err := s.Roster(ctx, &xmpp.Roster{Version: same.Version}); err != nil || len(r.Contacts) != 2 {
			t.Errorf("%+v, %v", r, err)
		}
		changed, err := s.Roster(ctx, known)
		if err != nil || len(changed.Contacts) != 2 || changed.Version != same.Version || len(known.Contacts) != 2 {
			t.Errorf("changed: %+v, %v; known: %+v", changed, err, known)
		}
		nurse.Subscription = "remove"
		if _, err := s.Exchange(ctx, xmpp.SetContact(nurse)); err != nil {
			t.Error(err)
		}
		if _, err := s.Exchange(ctx, xmpp.SetContact(nurse)); err == nil || err.Error() != "item-not-found" {
			t.Error("removed twice:", err)
		}
	})
}

// Where the server has no versions it is not asked for one, and its answer is all
// there is; an answer without anything is an empty roster, not the cached one.
func TestRosterWithoutVersions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connect(t)
		known := &xmpp.Roster{Version: "v1", Contacts: map[xmpp.JID]xmpp.Contact{mustJID("juliet@localhost"): {}}}
		got := async(func() (*xmpp.Roster, error) { return s.Roster(t.Context(), known) })
		request := p.next()
		if query := xmpp.Child(request, xmpp.NSRoster, "query"); query == nil || strings.Contains(text(query), "ver") {
			t.Errorf("asked by %s", text(request))
		}
		p.write("<iq type='result' id='" + xmpp.Attr(request, "id") + "'/><iq type='result' from='localhost' id='" + xmpp.Attr(p.next(), "id") + "'/>")
		if r := <-got; r.err != nil || r.value.Version != "" || len(r.value.Contacts) != 0 {
			t.Errorf("%+v, %v", r.value, r.err)
		}
	})
}

// What is listed without an address is counted.
func TestRosterUnnamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connect(t)
		got := async(func() (*xmpp.Roster, error) { return s.Roster(t.Context(), nil) })
		p.write("<iq type='result' id='" + xmpp.Attr(p.next(), "id") + "'><query xmlns='jabber:iq:roster'><item/><item jid='@b'/>" + juliet +
			"<item jid='Ju li&#x640;et@LOCALHOST'/><item xmlns='y' jid='@'/></query></iq><iq type='result' from='localhost' id='" + xmpp.Attr(p.next(), "id") + "'/>")
		if r := <-got; r.err != nil || r.value.Unnamed != 2 || len(r.value.Contacts) != 2 || r.value.Contacts[xmpp.JID{Local: "Ju li\u0640et", Domain: "localhost"}].Subscription == "" {
			t.Errorf("%+v, %v", r.value, r.err)
		}
	})
}

// Of pushes the true ones are answered, and the forged ones get no answer.
func TestRosterPushAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connect(t)
		push := func(id, from, items string) string {
			return "<iq type='set' id='" + id + "'" + from + "><query xmlns='jabber:iq:roster'>" + items + "</query></iq>"
		}
		go p.write(push("forged", " from='juliet@localhost/j'", juliet) + push("two", "", juliet+juliet) + push("true", "", juliet))
		synctest.Wait()
		if e := p.next(); xmpp.Attr(e, "id") != "true" || xmpp.Attr(e, "type") != "result" {
			t.Errorf("answered %s", text(e))
		}
		if n := s.Queued(); n != 3 {
			t.Errorf("%d stanzas", n)
		}
	})
}
