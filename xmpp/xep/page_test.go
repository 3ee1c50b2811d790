package xep

import (
	"testing"

	"xmppkit/xmpp"
)

// What an answer says of its page. A count that is none is not known.
func TestResultSet(t *testing.T) {
	for content, want := range map[string]ResultSet{
		"":                               {"", "", -1},
		"<count>3</count>":               {"", "", 3},
		"<count>0</count>":               {"", "", 0},
		"<count>-3</count>":              {"", "", -1},
		"<count>+3</count>":              {"", "", -1},
		"<count>3.5</count>":             {"", "", -1},
		"<count>many</count>":            {"", "", -1},
		"<count> 3</count>":              {"", "", -1},
		"<count>99999999999</count>":     {"", "", -1},
		"<last>3</last><count/>":         {"", "3", -1},
		"<count xmlns='urn:x'>3</count>": {"", "", -1},
		"<first index='0'>a</first><last>b</last><count>2</count>": {"a", "b", 2},
		"<last xmlns='urn:x'>b</last>":                             {"", "", -1},
	} {
		answer := element("<message><set xmlns='http://jabber.org/protocol/rsm'>" + content + "</set></message>")
		if got := ResultSetOf(answer); got != want {
			t.Errorf("%s: %+v, want %+v", content, got, want)
		}
	}
	if got := ResultSetOf(xmpp.NewElement(xmpp.NSClient, "iq")); got != (ResultSet{"", "", -1}) {
		t.Errorf("%+v of no set", got)
	}
}
