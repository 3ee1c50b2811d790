package xmpp_test

import (
	"errors"
	"strings"
	"testing"

	"xmppkit/xmpp"
)

// The address that the server gives is the truth, as long as it is of the domain (RFC 6120,
// section 7).
func TestBind(t *testing.T) {
	for jid, want := range map[string]string{
		"romeo@localhost/r":                            "romeo@localhost/r",
		"Romeo@LOCALHOST./R":                           "Romeo@localhost/R",
		"romeo@localhost/\u0645\u0640 \u00a0":          "romeo@localhost/\u0645\u0640 \u00a0",
		"romeo@localhost/a b/@c":                       "romeo@localhost/a b/@c",
		"romeo@localhost/" + strings.Repeat("r", 1023): "romeo@localhost/" + strings.Repeat("r", 1023),
		"strasse@localhost/r":                          "strasse@localhost/r", // the server has prepared it
		"romeo@evil.example/r":                         "",
		"romeo@localhost.evil/r":                       "",
		"romeo@localhost":                              "",
		"localhost/r":                                  "",
		"localhost":                                    "",
		"":                                             "",
		"@":                                            "",
		"a@@b/r":                                       "",
		"romeo@localhost/" + strings.Repeat("r", 4000): "",
	} {
		bubble(t, func(t *testing.T) {
			o := scripted(t, func(p *peer) {
				p.bind(p.authenticate(""), jid)
				if e := p.next(); (e == nil) != (want != "") {
					t.Errorf("%.40s: the server was told %s", jid, text(e))
				}
			})
			s, err := xmpp.Dial(t.Context(), o)
			if err == nil {
				defer s.Close()
			}
			var e *xmpp.StreamError
			if want == "" && (!errors.As(err, &e) || !e.Sent) || want != "" && (err != nil || s.JID().String() != want) {
				t.Errorf("%.40s: %v", jid, err)
			}
		})
	}
}

// The answers to the bind request that are none, and those that are errors (RFC 6120,
// section 7.7.2).
func TestBindAnswers(t *testing.T) {
	const right = "<bind xmlns='" + nsBind + "'><jid>romeo@localhost/r</jid></bind>"
	const wrong = "<bind xmlns='" + nsBind + "'><jid>romeo@localhost/wrong</jid></bind>"
	refusal := func(condition string) string {
		return "<iq type='error' id='ID'><error type='cancel'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
	}
	for name, test := range map[string]struct {
		resource string
		answers  []string // one to each request
		want     string   // the resources asked for
		err      xmpp.Condition
	}{
		"result":               {"", []string{"<iq type='result' id='ID'>" + right + "</iq>"}, "|", ""},
		"resource":             {"x", []string{"<iq type='result' id='ID'>" + right + "</iq>"}, "x|", ""},
		"from the server":      {"", []string{"<iq type='result' id='ID' from='localhost'>" + right + "</iq>"}, "|", ""},
		"from the account":     {"", []string{"<iq type='result' id='ID' from='romeo@localhost'>" + right + "</iq>"}, "|", ""},
		"others before":        {"", []string{"<message/><iq type='result' id='other'>" + wrong + "</iq><iq type='result' id='ID' from='mallory@localhost/x'>" + wrong + "</iq><iq type='result' id='ID' from='localhost.evil'>" + wrong + "</iq><iq type='set' id='ID'>" + wrong + "</iq><iq type='result' id='ID' from='@@'>" + wrong + "</iq><iq xmlns='evil' type='result' id='ID'>" + wrong + "</iq><iq type='result' id='ID'>" + right + "</iq>"}, "|", ""},
		"wrong namespace":      {"", []string{"<iq type='result' id='ID'><bind xmlns='evil'><jid>romeo@localhost/r</jid></bind></iq>"}, "|", "undefined-condition"},
		"empty":                {"", []string{"<iq type='result' id='ID'/>"}, "|", "undefined-condition"},
		"conflict":             {"x", []string{refusal("conflict"), "<iq type='result' id='ID'>" + right + "</iq>"}, "x||", ""},
		"conflict twice":       {"x", []string{refusal("conflict"), refusal("conflict")}, "x||", "conflict"},
		"conflict by itself":   {"", []string{refusal("conflict")}, "|", "conflict"},
		"conflict, then other": {"x", []string{refusal("conflict"), refusal("not-allowed")}, "x||", "not-allowed"},
		"not-allowed":          {"x", []string{refusal("not-allowed")}, "x|", "not-allowed"},
		"resource-constraint":  {"x", []string{refusal("resource-constraint")}, "x|", "resource-constraint"},
		"stream error":         {"", []string{"<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"}, "|", "not-authorized"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				asked := make(chan string, 1)
				o := scripted(t, func(p *peer) {
					var resources strings.Builder
					request := p.authenticate("")
					for _, a := range test.answers {
						r, _ := xmpp.Text(xmpp.Child(request, nsBind, "bind"), nsBind, "resource")
						resources.WriteString(r + "|")
						p.write(strings.ReplaceAll(a, "ID", xmpp.Attr(request, "id")))
						request = p.next()
					}
					if request != nil && !xmpp.Is(request, xmpp.NSStream, "error") {
						t.Errorf("it goes on with %s", text(request))
					}
					asked <- resources.String()
				})
				o.JID.Resource = test.resource
				s, err := xmpp.Dial(t.Context(), o)
				var condition xmpp.Condition
				var stanza *xmpp.StanzaError
				var stream *xmpp.StreamError
				switch {
				case errors.As(err, &stanza):
					condition = stanza.Condition
				case errors.As(err, &stream):
					condition = stream.Condition
				case err != nil:
					t.Error(err)
				default:
					if s.JID().String() != "romeo@localhost/r" {
						t.Errorf("bound %s", s.JID())
					}
					s.Close()
				}
				if got := <-asked; got != test.want || condition != test.err {
					t.Errorf("asked for %s, got %v", got, err)
				}
			})
		})
	}
}

// RFC 3921's session is established where the server insists, and only there.
func TestLegacySession(t *testing.T) {
	const ns = "urn:ietf:params:xml:ns:xmpp-session"
	for features, asked := range map[string]bool{
		"":                              false,
		"<session xmlns='" + ns + "'/>": true,
		"<session xmlns='" + ns + "'><optional/></session>":              false,
		"<session xmlns='" + ns + "'><optional xmlns='evil'/></session>": true,
		"<session xmlns='evil'/>":                                        false,
	} {
		for answer, ok := range map[string]bool{
			"<iq type='result' id='ID'/>": true,
			"<iq type='error' id='ID'><error type='wait'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>": false,
		} {
			bubble(t, func(t *testing.T) {
				requests := make(chan bool, 1)
				o := scripted(t, func(p *peer) {
					p.bind(p.authenticate(features), "romeo@localhost/r")
					e := p.next()
					requests <- xmpp.Child(e, ns, "session") != nil
					if e != nil {
						p.write(strings.ReplaceAll(answer, "ID", xmpp.Attr(e, "id")))
						p.next()
					}
				})
				s, err := xmpp.Dial(t.Context(), o)
				if err == nil {
					s.Close()
				}
				var e *xmpp.StanzaError
				if got := <-requests; got != asked || (err == nil) != (ok || !asked) || err != nil && !errors.As(err, &e) {
					t.Errorf("%s: asked %v, %v", features, got, err)
				}
			})
		}
	}
}
