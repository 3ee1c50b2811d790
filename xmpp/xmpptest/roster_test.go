package xmpptest

import (
	"strings"
	"testing"

	"xmppkit/xmpp"
)

// The tables of RFC 6121, appendix A. A state is what its tables call it, with + for
// "plus", Out and In for pending, and here also pre for an approval in advance. What a
// stanza does is the state that it leads to, with * where it is also routed, or
// delivered.
func TestAppendixA(t *testing.T) {
	states := strings.Fields("None None+Out None+In None+Out+In To To+In From From+Out Both")
	for _, table := range []struct {
		section, kind, want string
		do                  func(*contact, string) bool
	}{
		{"A.2.1", "subscribe", "None+Out* None+Out* None+Out+In* None+Out+In* To* To+In* From+Out* From+Out* Both*", (*contact).says},
		{"A.2.2", "unsubscribe", "None* None* None+In* None+In* None* None+In* From* From* From*", (*contact).says},
		{"A.2.3", "subscribed", "None+pre None+Out+pre From* From+Out* To+pre Both* From From+Out Both", (*contact).says},
		{"A.2.4", "unsubscribed", "None None+Out None* None+Out* To To* None* None+Out* To*", (*contact).says},
		{"A.3.1", "subscribe", "None+In* None+Out+In* None+In None+Out+In To+In* To+In From From+Out Both", hears},
		{"A.3.2", "unsubscribe", "None None+Out None* None+Out* To To* None* None+Out* To*", hears},
		{"A.3.3", "subscribed", "None To* None+In To+In* To To+In From Both* Both", hears},
		{"A.3.4", "unsubscribed", "None None* None+In None+In* None* None+In* From From* From*", hears},
	} {
		for i, want := range strings.Fields(table.want) {
			c := inState(states[i])
			got := "*"
			if !table.do(c, table.kind) {
				got = ""
			}
			if got = nameOf(c) + got; got != want {
				t.Errorf("%s: %s in state %s leads to %s, want %s", table.section, table.kind, states[i], got, want)
			}
		}
	}

	// Section 3.4: an approval in advance is kept until they ask, or it is cancelled.
	c := inState("To+pre")
	if hears(c, "subscribe") || nameOf(c) != "To+pre" {
		t.Error("a request that was approved in advance leads to", nameOf(c))
	}
	if c.says("unsubscribed") || nameOf(c) != "To" {
		t.Error("an approval that is cancelled leads to", nameOf(c))
	}
}

func hears(c *contact, kind string) bool {
	return c.hears(kind, xmpp.NewElement(xmpp.NSClient, "presence"))
}

func inState(name string) *contact {
	c := new(contact)
	for part := range strings.SplitSeq(name, "+") {
		switch part {
		case "To":
			c.to = true
		case "From":
			c.from = true
		case "Both":
			c.to, c.from = true, true
		case "Out":
			c.ask = true
		case "In":
			c.request = xmpp.NewElement(xmpp.NSClient, "presence")
		case "pre":
			c.approved = true
		}
	}
	return c
}

func nameOf(c *contact) string {
	s := c.subscription()
	name := strings.ToUpper(s[:1]) + s[1:]
	if c.ask {
		name += "+Out"
	}
	if c.request != nil {
		name += "+In"
	}
	if c.approved {
		name += "+pre"
	}
	return name
}
