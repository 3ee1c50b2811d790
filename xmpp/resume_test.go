package xmpp_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
)

// resuming is the login of a server that resumes, and answers the ping that is the proof
// of it, or refuses to.
func resuming(t testing.TB, want, answer string) func(p *peer) {
	return func(p *peer) {
		if e := p.authenticate("<sm xmlns='urn:xmpp:sm:3'/>"); text(e) != want {
			t.Errorf("%s, want %s", text(e), want)
		}
		p.write(answer)
		e := p.next()
		if strings.HasPrefix(answer, "<failed") {
			p.bind(e, "romeo@localhost/other")
			return
		}
		if xmpp.Child(e, xmpp.NSPing, "ping") == nil {
			t.Errorf("%s, and no ping", text(e))
		}
		p.write("<iq type='result' from='localhost' id='" + xmpp.Attr(e, "id") + "'/>")
	}
}

// again returns the ids of what is sent again, or what it is where it has none.
func (p *peer) again(n int) (ids []string) {
	for range n {
		e := p.within(time.Second)
		if e == nil {
			break
		}
		ids = append(ids, cmp.Or(xmpp.Attr(e, "id"), e.Tag))
	}
	return ids
}

// XEP-0198, section 5: what the server has not got is sent again, in order and but for
// requests; what was not handled here is its to send again.
func TestResume(t *testing.T) {
	for got, want := range [][]string{0: {"presence", "1", "3", "4", "5"}, 1: {"1", "3", "4", "5"}, 2: {"3", "4", "5"}, 3: {"3", "4", "5"}, 4: {"4", "5"}, 5: {"5"}, 6: nil} {
		bubble(t, func(t *testing.T) {
			s, p := connectManaged(t) // its presence is 0
			go func() {
				s.Send(t.Context(), parse(t, "<message id='1'/>"))
				go s.Ping(t.Context(), s.Server()) // 2
				synctest.Wait()
				s.Send(t.Context(), parse(t, "<iq type='result' id='3'/>"), parse(t, "<message id='4'/>"), parse(t, "<message id='5'/>"))
			}()
			for range 5 {
				p.next()
			}
			p.write("<message/><message/><message/>")
			take(t, s, 2)
			go s.Acknowledge(t.Context())
			p.next()
			p.raw.Close()
			synctest.Wait()
			r := s.Resumption() // the third was received, and nobody has looked at it
			if _, err := collectAll(s); !errors.Is(err, xmpp.ErrLost) {
				t.Errorf("%v", err)
			}
			if r == nil || r.ID != "some-id" || r.Handled != 2 || r.JID != mustJID("romeo@localhost/r") {
				t.Fatalf("%+v", r)
			}
			again, p := connectBy(t, resuming(t, `<resume xmlns="urn:xmpp:sm:3" previd="some-id" h="2"/>`,
				fmt.Sprintf("<resumed xmlns='urn:xmpp:sm:3' previd='some-id' h='%d'/>", got)), managed,
				func(o *xmpp.Options) { o.Resume = r })
			if !again.Resumed() {
				t.Error("not resumed")
			}
			if ids := p.again(len(want)); !slices.Equal(ids, want) {
				t.Errorf("h=%d: %q, want %q", got, ids, want)
			}
			if h := p.h(); h != "3" { // the answer to the ping
				t.Errorf("h=%s", h)
			}
			p.write("<message id='held'/>")
			take(t, again, 1)
			if h := acked(t, again, p); h != "4" {
				t.Errorf("h=%s", h)
			}
			r = again.Resumption() // and so on
			if r.ID != "some-id" || r.Handled != 4 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A connection that is lost right after the resumption leaves the counts right, whether
// or not anything has been sent again by then.
func TestResumeTwice(t *testing.T) {
	for name, test := range map[string]struct {
		answered bool   // the ping that is the proof
		h        string // what the server has then; it had the presence
		want     []string
	}{
		"before the ping":   {false, "1", []string{"1", "2", "3"}},
		"after the ping":    {false, "2", []string{"1", "2", "3"}},
		"before the others": {true, "2", []string{"1", "2", "3"}},
		"in the others":     {true, "4", []string{"3"}},
		"after the others":  {true, "5", nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, p := connectManaged(t)
				go s.Ping(t.Context(), s.Server()) // which is not sent again
				p.next()
				go s.Send(t.Context(), parse(t, "<message id='1'/>"), parse(t, "<message id='2'/>"), parse(t, "<message id='3'/>"))
				p.again(3)
				p.raw.Close()
				synctest.Wait()
				r := s.Resumption()
				o := scripted(t, func(p *peer) {
					p.authenticate("<sm xmlns='urn:xmpp:sm:3'/>")
					p.write("<resumed xmlns='urn:xmpp:sm:3' previd='some-id' h='1'/><message/>")
					ping := p.next()
					if test.answered {
						p.write("<iq type='result' from='localhost' id='" + xmpp.Attr(ping, "id") + "'/>")
						p.next()
					}
				})
				o.Resume = r
				again, err := xmpp.Dial(t.Context(), o)
				if test.answered != (err == nil) || err != nil && !errors.Is(err, xmpp.ErrLost) {
					t.Fatal(err)
				}
				synctest.Wait()
				if err == nil {
					r = again.Resumption()
				}
				again, p = connectBy(t, resuming(t, `<resume xmlns="urn:xmpp:sm:3" previd="some-id" h="0"/>`,
					"<resumed xmlns='urn:xmpp:sm:3' previd='some-id' h='"+test.h+"'/>"), managed, func(o *xmpp.Options) { o.Resume = r })
				if ids := p.again(len(test.want) + 1); !again.Resumed() || !slices.Equal(ids, test.want) {
					t.Errorf("%v, %q again", again.Resumed(), ids)
				}
			})
		})
	}
}

// XEP-0198, section 5: a session that is gone is no reason to fail.
func TestResumeFailed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connectBy(t, resuming(t, `<resume xmlns="urn:xmpp:sm:3" previd="gone" h="4294967295"/>`,
			"<failed xmlns='urn:xmpp:sm:3' h='3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"), managed,
			func(o *xmpp.Options) {
				o.Resume = &xmpp.Resumption{JID: mustJID("romeo@localhost/r"), ID: "gone", Handled: 1<<32 - 1}
			})
		if s.Resumed() || s.JID() != mustJID("romeo@localhost/other") {
			t.Errorf("%v, %s", s.Resumed(), s.JID())
		}
		go s.Send(t.Context(), parse(t, "<presence/>"))
		if e := p.next(); e.Tag != "enable" {
			t.Errorf("%s", text(e))
		}
		p.next()
	})
}

// Prosody 0.12 ends the stream when a session is there, but not all of it, and does not
// understand us where the old connection was cut inside of a stanza. A new session of the
// same resource ends the old one.
func TestResumeRefused(t *testing.T) {
	const resumed = "<resumed xmlns='urn:xmpp:sm:3' previd='x' h='1'/>"
	for name, refuse := range map[string]func(p *peer){
		"failed, and an error": func(p *peer) {
			p.write("<failed xmlns='urn:xmpp:sm:3'/><stream:error><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
			p.next()
		},
		"the end":  func(p *peer) {},
		"closed":   func(p *peer) { p.write("</stream:stream>") },
		"no error": func(p *peer) { p.write("<failed xmlns='urn:xmpp:sm:3'/></stream:stream>") },
		"silence": func(p *peer) {
			p.write(resumed)
			for p.next() != nil {
			}
		},
		"broken": func(p *peer) {
			p.write(resumed)
			p.next()
			p.write("<stream:error><not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				logins := 0
				s, _ := connectBy(t, func(p *peer) {
					request := p.authenticate("<sm xmlns='urn:xmpp:sm:3'/>")
					if logins++; logins == 2 {
						if resource, _ := xmpp.Text(xmpp.Child(request, nsBind, "bind"), nsBind, "resource"); resource != "r" {
							t.Errorf("%s", text(request))
						}
						p.bind(request, "romeo@localhost/r")
						return
					}
					refuse(p)
					p.raw.Close()
				}, func(o *xmpp.Options) {
					o.Resume = &xmpp.Resumption{JID: mustJID("romeo@localhost/r"), ID: "x"}
				})
				if s.Resumed() || s.JID() != mustJID("romeo@localhost/r") || logins != 2 {
					t.Errorf("%v, %s, %d", s.Resumed(), s.JID(), logins)
				}
			})
		})
	}
}

// XEP-0198, section 5: another process knows only what is in a file, and counts go on
// beyond 2^32.
func TestResumeFromFile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connectBy(t, resuming(t, `<resume xmlns="urn:xmpp:sm:3" previd="x" h="4294967295"/>`,
			"<resumed xmlns='urn:xmpp:sm:3' previd='x' h='4294967295'/><message/><message/>"), managed,
			func(o *xmpp.Options) {
				o.Resume = &xmpp.Resumption{JID: mustJID("romeo@localhost/r"), ID: "x", Handled: 1<<32 - 1}
			})
		take(t, s, 2)
		if h := acked(t, s, p); h != "2" || !s.Resumed() || s.JID() != mustJID("romeo@localhost/r") {
			t.Errorf("h=%s, %v, %s", h, s.Resumed(), s.JID())
		}
		go s.Send(t.Context(), parse(t, "<message/>"), parse(t, "<message/>"))
		p.next()
		p.next()
		p.write("<a xmlns='urn:xmpp:sm:3' h='2'/>") // with the ping
		if h := p.h(); h != "2" {
			t.Errorf("h=%s", h)
		}
		p.write("<a xmlns='urn:xmpp:sm:3' h='3'/>")
		if e := p.next(); xmpp.Child(e, nsManage, "handled-count-too-high") == nil {
			t.Errorf("%s", text(e))
		}
	})
}

// An answer of type error proves as much that the resumed session is of use.
func TestResumeNoPing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := connectBy(t, func(p *peer) {
			p.authenticate("<sm xmlns='urn:xmpp:sm:3'/>")
			p.write("<resumed xmlns='urn:xmpp:sm:3' previd='x' h='0'/>")
			p.write("<iq type='error' from='localhost' id='" + xmpp.Attr(p.next(), "id") + "'/>")
		}, managed, func(o *xmpp.Options) { o.Resume = &xmpp.Resumption{JID: mustJID("romeo@localhost/r"), ID: "x"} })
		if !s.Resumed() {
			t.Error("not resumed")
		}
	})
}

// Where a session is to be resumed the server can redirect, too (RFC 6120, section
// 4.9.3.19).
func TestResumeRedirect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var dialed []string
		s, _ := connectBy(t, func(p *peer) {
			if len(dialed) == 1 {
				p.authenticate("<sm xmlns='urn:xmpp:sm:3'/>")
				p.write("<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>there.example:5223</see-other-host></stream:error></stream:stream>")
				p.next()
				p.raw.Close()
				return
			}
			resuming(t, `<resume xmlns="urn:xmpp:sm:3" previd="x" h="0"/>`, "<resumed xmlns='urn:xmpp:sm:3' previd='x' h='0'/>")(p)
		}, managed, func(o *xmpp.Options) {
			o.Resume = &xmpp.Resumption{JID: mustJID("romeo@localhost/r"), ID: "x"}
			dial := o.DialContext
			o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				dialed = append(dialed, addr)
				return dial(ctx, network, addr)
			}
		})
		if want := []string{"server.example:5223", "there.example:5223"}; !s.Resumed() || !slices.Equal(dialed, want) {
			t.Errorf("%v by %q", s.Resumed(), dialed)
		}
	})
}

// A server that resumes what it was not asked for is not believed: there is a new session.
func TestResumeOther(t *testing.T) {
	for _, answer := range []string{
		"<resumed xmlns='urn:xmpp:sm:3' previd='y' h='0'/>", "<resumed xmlns='urn:xmpp:sm:3' previd='x'/>", "<resumed xmlns='urn:xmpp:sm:3' previd='x' h='-1'/>",
		"<resumed xmlns='urn:xmpp:sm:3' previd='x' h=''/>", "<resumed xmlns='urn:xmpp:sm:3' previd='x' h='4294967296'/>", "<resumed xmlns='urn:xmpp:sm:3' h='0'/>",
		"<resumed xmlns='urn:xmpp:sm:2' previd='x' h='0'/>", "<message/>", "<enabled xmlns='urn:xmpp:sm:3'/>",
	} {
		bubble(t, func(t *testing.T) {
			logins, told := 0, ""
			s, _ := connectBy(t, func(p *peer) {
				request := p.authenticate("<sm xmlns='urn:xmpp:sm:3'/>")
				if logins++; logins == 2 {
					p.bind(request, "romeo@localhost/r")
					return
				}
				p.write(answer)
				told = text(p.next())
				p.raw.Close()
			}, func(o *xmpp.Options) {
				o.Resume = &xmpp.Resumption{JID: mustJID("romeo@localhost/r"), ID: "x"}
			})
			if s.Resumed() || logins != 2 || !strings.Contains(told, "xmpp-streams") {
				t.Errorf("%s: resumed %v, %d logins, told %s", answer, s.Resumed(), logins, told)
			}
		})
	}
}

// What a server cannot have got, or has not got any more, it does not confirm by resuming:
// a new session is to send it again.
func TestResumeCount(t *testing.T) {
	for h, ok := range map[string]bool{"1": true, "2": true, "3": true, "0": false, "4": false, "100": false, "2147483650": false, "4294967295": false} {
		bubble(t, func(t *testing.T) {
			s, p := connectManaged(t) // a presence
			go s.Send(t.Context(), parse(t, "<message id='1'/>"), parse(t, "<message id='2'/>"))
			p.next()
			p.next()
			p.write("<a xmlns='urn:xmpp:sm:3' h='1'/>")
			p.raw.Close()
			synctest.Wait()
			r := s.Resumption()
			logins, told := 0, ""
			again, _ := connectBy(t, func(p *peer) {
				if logins++; logins == 2 {
					p.bind(p.authenticate(""), "romeo@localhost/r")
					return
				}
				resumed := "<resumed xmlns='urn:xmpp:sm:3' previd='some-id' h='" + h + "'/>"
				if ok {
					resuming(t, `<resume xmlns="urn:xmpp:sm:3" previd="some-id" h="0"/>`, resumed)(p)
					return
				}
				p.authenticate("<sm xmlns='urn:xmpp:sm:3'/>")
				p.write(resumed)
				told = text(p.next())
				p.raw.Close()
			}, managed, func(o *xmpp.Options) { o.Resume = r })
			if again.Resumed() != ok || !ok && (logins != 2 || !strings.Contains(told, "undefined-condition")) {
				t.Errorf("h=%s: resumed %v, %d logins, told %s", h, again.Resumed(), logins, told)
			}
			if tooHigh := strings.Contains(told, "<handled-count-too-high"); tooHigh != (h == "4" || h == "100" || h == "2147483650") {
				t.Errorf("h=%s: told %s", h, told)
			}
		})
	}
}

// A session with an endless id is none to resume, and an endless location is nowhere.
func TestEndlessID(t *testing.T) {
	for size, resumable := range map[int]bool{4000: true, 4001: false, 2 << 20: false} {
		bubble(t, func(t *testing.T) {
			s, p := connectBy(t, func(p *peer) {
				p.bind(p.authenticate("<sm xmlns='urn:xmpp:sm:3'/>"), "romeo@localhost/r")
			}, managed)
			go s.Send(t.Context(), parse(t, "<presence/>"))
			p.next()
			p.next()
			p.write("<enabled xmlns='urn:xmpp:sm:3' resume='true' id='" + strings.Repeat("x", size) + "' location='" + strings.Repeat("y", size) + "'/>")
			if h := p.h(); h != "0" || (s.Resumption() != nil) != resumable || resumable && s.Resumption().Location != "" {
				t.Errorf("%d bytes: h=%s, resumable %v", size, h, s.Resumption() != nil)
			}
		})
	}
}

// A session is resumed at the location that the server gave, if that can be reached
// (XEP-0198, section 5).
func TestResumeLocation(t *testing.T) {
	for location, want := range map[string][]string{
		"there.example:5223": {"there.example:5223"}, "down.example": {"down.example:5222", "server.example:5223"}, "a b": {"server.example:5223"}, "": {"server.example:5223"},
	} {
		bubble(t, func(t *testing.T) {
			var dialed []string
			s, _ := connectBy(t, resuming(t, `<resume xmlns="urn:xmpp:sm:3" previd="x" h="0"/>`, "<resumed xmlns='urn:xmpp:sm:3' previd='x' h='0'/>"), managed,
				func(o *xmpp.Options) {
					o.Resume = &xmpp.Resumption{JID: mustJID("romeo@localhost/r"), ID: "x", Location: location}
					dial := o.DialContext
					o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
						if dialed = append(dialed, addr); strings.HasPrefix(addr, "down.") {
							return nil, errors.New("no route")
						}
						return dial(ctx, network, addr)
					}
				})
			if !s.Resumed() || !slices.Equal(dialed, want) {
				t.Errorf("%q: %v by %q", location, s.Resumed(), dialed)
			}
			if r := s.Resumption(); r.Location != location {
				t.Errorf("then it is to be resumed at %q", r.Location)
			}
		})
	}
}
