package xmpp_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"xmppkit/xmpp"
)

// Elements are processed when the ping after them is answered, by an error too, and what
// came before that has been watched by then, although Stanzas yields nothing of it.
func TestFlush(t *testing.T) {
	for answer, want := range map[string]error{
		"<iq type='result' from='localhost' id='ID'/>": nil,
		"<iq type='error' from='localhost' id='ID'><error type='cancel'><feature-not-implemented xmlns='" + stanzasNS + "'/></error></iq>": nil,
		"</stream:stream>": xmpp.ErrLost,
	} {
		bubble(t, func(t *testing.T) {
			var watched []string
			s, p := connect(t, func(o *xmpp.Options) {
				o.Take = func(*xmpp.Element) bool { return false }
				o.Watch = func(e *xmpp.Element) { watched = append(watched, e.Tag+xmpp.Attr(e, "id")) }
			})
			call := async(func() (bool, error) {
				return true, s.Flush(t.Context(), xmpp.NewElement(xmpp.NSClient, "presence"))
			})
			if e := p.next(); e.Tag != "presence" {
				t.Errorf("first came %s", text(e))
			}
			id := xmpp.Attr(p.next(), "id")
			p.write("<message type='error' id='1'/><iq type='get' id='2'/><presence id='3'/>" + strings.ReplaceAll(answer, "ID", id))
			if r := <-call; want == nil && r.err != nil || want != nil && !errors.Is(r.err, want) {
				t.Errorf("%s: %v", answer, r.err)
			}
			if !slices.Equal(watched, []string{"message1", "presence3"}) || s.Queued() != 0 {
				t.Errorf("watched %q, %d are queued", watched, s.Queued())
			}
		})
	}
}
