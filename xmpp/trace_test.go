package xmpp_test

import (
	"context"
	"encoding/base64"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// A recorder keeps what TraceXML is shown.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) trace(out bool, xml string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, map[bool]string{true: "> ", false: "< "}[out]+xml)
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n") + "\n"
}

// All that is sent and received is shown, in its order, and nothing with which somebody could log
// in or guess the password.
func TestTraceXML(t *testing.T) {
	for _, mechanism := range []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "PLAIN"} {
		t.Run(mechanism, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{Mechanisms: []string{mechanism}})
				r := new(recorder)
				o := w.starttls()
				o.AllowPlain, o.TraceXML = true, r.trace
				s := w.login(t, o)
				if _, err := s.Ping(context.Background(), s.Server()); err != nil {
					t.Fatal(err)
				}
				s.Close()
				got := r.text()
				last := -1
				for _, want := range []string{
					"> <stream:stream to=\"localhost\"", "> <starttls ", "< <stream xmlns=", "< <features ", "< <proceed ",
					"> <stream:stream from=\"romeo@localhost\"", "> <auth xmlns=\"urn:ietf:params:xml:ns:xmpp-sasl\" mechanism=\"" + mechanism + "\">***</auth>\n",
					"< <success xmlns=", "> <iq xmlns=\"jabber:client\" type=\"set\"", "<jid>romeo@localhost/", "<ping xmlns=", "> </stream:stream>",
				} {
					i := strings.Index(got[last+1:], want)
					if i < 0 {
						t.Fatalf("no %s after %d in:\n%s", want, last, got)
					}
					last += 1 + i
				}
				w.mu.Lock()
				exchange := strings.Join(w.received, "") + strings.Join(w.sent, "")
				w.mu.Unlock()
				for _, m := range regexp.MustCompile(`(?s)<(?:auth|challenge|response|success)\b[^>]*>([^<]+)<`).FindAllStringSubmatch(exchange, -1) {
					data, err := base64.StdEncoding.DecodeString(m[1])
					if err != nil {
						t.Fatal(err)
					}
					for _, secret := range append(strings.Split(string(data), ","), m[1], string(data)) {
						if len(secret) > 8 && strings.Contains(got, secret) {
							t.Errorf("%q is in\n%s", secret, got)
						}
					}
				}
			})
		})
	}
}

func TestTraceHides(t *testing.T) {
	const canary = "TheCanary"
	for _, xml := range []string{
		"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>TheCanary</auth>",
		"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>TheCanary</initial-response><user-agent id='TheCanary'><software>xmppkit</software></user-agent></authenticate>",
		"<challenge xmlns='urn:xmpp:sasl:2'>TheCanary</challenge>",
		"<response xmlns='urn:xmpp:sasl:2'>TheCanary</response>",
		"<success xmlns='urn:xmpp:sasl:2'><additional-data>TheCanary</additional-data><authorization-identifier>a@b</authorization-identifier><token xmlns='urn:xmpp:fast:0' expiry='2030-01-01T00:00:00Z' token='TheCanary'/></success>",
		"<iq type='set' id='1'><query xmlns='jabber:iq:auth'><username>romeo</username><password>TheCanary</password><digest>TheCanary</digest></query></iq>",
		"<iq type='set' id='1'><query xmlns='jabber:iq:register'><username>romeo</username><password>TheCanary</password><key>TheCanary</key></query></iq>",
		"<presence to='room@muc/romeo'><x xmlns='http://jabber.org/protocol/muc'><password>The<![CDATA[Canary]]></password></x></presence>",
		"<message><x xmlns='jabber:x:conference' jid='room@muc' password='TheCanary'/></message>",
		"<iq type='set' id='1'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_roomsecret'><value>TheCanary</value></field><field var='pin' type='text-private'><value>TheCanary</value></field></x></query></iq>",
		"<enabled xmlns='urn:xmpp:sm:3' id='TheCanary' resume='true'/>",
		"<resume xmlns='urn:xmpp:sm:3' previd='TheCanary' h='1'/>",
	} {
		bubble(t, func(t *testing.T) {
			r := new(recorder)
			s, p := connect(t, func(o *xmpp.Options) { o.TraceXML = r.trace })
			e := parse(t, xml)
			go p.next()
			if err := s.Send(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			p.write(xml)
			synctest.Wait()
			got := r.text()
			if strings.Contains(got, "Canary") || strings.Count(got, "***") < 2 {
				t.Errorf("%s is shown as\n%s", xml, got)
			}
			if !strings.Contains(text(e), canary) {
				t.Errorf("what was sent is %s", text(e))
			}
		})
	}
}

// What is no secret is shown.
func TestTraceShows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := new(recorder)
		s, p := connect(t, func(o *xmpp.Options) { o.TraceXML = r.trace })
		go p.next()
		const xml = `<message xmlns="jabber:client" id="m1" type="chat" xml:lang="en"><body>a &lt;password&gt;</body><success xmlns="urn:example"/><password/></message>`
		if err := s.Send(t.Context(), parse(t, xml)); err != nil {
			t.Fatal(err)
		}
		if got := r.text(); !strings.Contains(got, "> "+xml+"\n") {
			t.Errorf("shown as %s", got)
		}
	})
}
