package xmpp_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
)

const nsManage = "urn:xmpp:sm:3"

func managed(o *xmpp.Options) { o.Manage, o.Resumable = true, time.Minute }

// connectManaged is connect to a server that counts stanzas (XEP-0198). The first flight
// of the session is a presence.
func connectManaged(t testing.TB, change ...func(*xmpp.Options)) (*xmpp.Session, *peer) {
	t.Helper()
	s, p := connectBy(t, func(p *peer) {
		p.bind(p.authenticate("<sm xmlns='urn:xmpp:sm:3'/>"), "romeo@localhost/r")
	}, append([]func(*xmpp.Options){managed}, change...)...)
	sent := async(func() (bool, error) { return true, s.Send(t.Context(), parse(t, "<presence/>")) })
	enable, presence := p.next(), p.next()
	if err := (<-sent).err; err != nil || !xmpp.Is(presence, xmpp.NSClient, "presence") {
		t.Fatalf("%v, %s", err, text(presence))
	}
	if want := `<enable xmlns="urn:xmpp:sm:3" resume="true" max="60"/>`; text(enable) != want {
		t.Fatalf("%s, want %s", text(enable), want)
	}
	p.write("<enabled xmlns='urn:xmpp:sm:3' id='some-id' resume='true' max='60'/>")
	return s, p
}

// take takes n stanzas.
func take(t testing.TB, s *xmpp.Session, n int) {
	t.Helper()
	for _, err := range s.Stanzas(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n--; n == 0 {
			return
		}
	}
}

// h asks for an acknowledgement.
func (p *peer) h() string {
	p.write("<r xmlns='urn:xmpp:sm:3'/>")
	a := p.next()
	if !xmpp.Is(a, nsManage, "a") {
		p.t.Errorf("%s instead of <a/>", text(a))
		return ""
	}
	return xmpp.Attr(a, "h")
}

// acked returns what Acknowledge writes by itself, "" for nothing.
func acked(t testing.TB, s *xmpp.Session, p *peer) string {
	t.Helper()
	done := async(func() (bool, error) { return true, s.Acknowledge(t.Context()) })
	e := p.within(time.Second)
	if r := <-done; r.err != nil {
		t.Error(r.err)
	}
	if e == nil {
		return ""
	}
	return xmpp.Attr(e, "h")
}

// A stanza counts once it has been handled, and so have all before it; an <r/> is
// answered immediately, with what has been handled by then.
func TestAcknowledge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var kept []uint32
		s, p := connectManaged(t, func(o *xmpp.Options) {
			o.Take = func(e *xmpp.Element) bool { return e.Tag == "message" }
			o.Acknowledging = func(r *xmpp.Resumption) { kept = append(kept, r.Handled) }
		})
		defer func() { // before the server was told
			if want := []uint32{0, 1, 1, 1, 4}; !slices.Equal(kept, want) {
				t.Errorf("kept %d, want %d", kept, want)
			}
		}()
		if h := p.h(); h != "0" {
			t.Errorf("h=%s of nothing", h)
		}
		p.write("<presence from='juliet@localhost/x'/>")
		if h := p.h(); h != "1" {
			t.Errorf("h=%s, of a presence that nobody wants", h)
		}
		p.write("<message/><presence from='@'/><presence/><message/><iq type='result' id='nobody'/><x xmlns='u'/>")
		asked := time.Now()
		if h := p.h(); h != "1" || time.Since(asked) > 100*time.Millisecond {
			t.Errorf("h=%s after %s, while a message waits", h, time.Since(asked))
		}
		take(t, s, 1)
		if h := p.h(); h != "1" {
			t.Errorf("h=%s, while a message is held", h)
		}
		if h := acked(t, s, p); h != "4" {
			t.Errorf("h=%s after the first message", h)
		}
		if h := acked(t, s, p); h != "" {
			t.Errorf("h=%s again", h)
		}
		take(t, s, 1)
		p.write("<message/>")
		if h := acked(t, s, p); h != "6" {
			t.Errorf("h=%s after the second", h)
		}
		closed := async(func() (bool, error) { return true, s.Close() })
		if e := p.next(); e != nil {
			t.Errorf("%s, and the third was not handled", text(e))
		}
		p.write("</stream:stream>")
		<-closed
	})
}

// An <r/> that was answered in time is not answered once more, and a server that does not
// resume gets its answer as well.
func TestAcknowledgeOnce(t *testing.T) {
	for resume, want := range map[string]bool{"": false, "0": false, "1": true, "true": true} {
		testAcknowledgeOnce(t, resume, want)
	}
}

func testAcknowledgeOnce(t *testing.T, resume string, resumable bool) {
	bubble(t, func(t *testing.T) {
		s, p := connectBy(t, func(p *peer) {
			p.bind(p.authenticate("<sm xmlns='urn:xmpp:sm:3'/>"), "romeo@localhost/r")
		}, func(o *xmpp.Options) {
			o.Manage, o.Take = true, func(e *xmpp.Element) bool { return e.Tag == "message" }
		})
		go s.Send(t.Context(), parse(t, "<presence/>"))
		p.next()
		p.next()
		p.write("<enabled xmlns='urn:xmpp:sm:3' id='x' resume='" + resume + "'/><presence/>")
		if h := p.h(); h != "1" {
			t.Errorf("h=%s", h)
		}
		p.write("<message/><r xmlns='urn:xmpp:sm:3'/>")
		take(t, s, 1)
		if h := acked(t, s, p); h != "2" {
			t.Errorf("h=%s", h)
		}
		time.Sleep(time.Second)
		go s.Send(t.Context(), parse(t, "<presence/>"))
		if e := p.next(); e.Tag != "presence" {
			t.Errorf("%s", text(e))
		}
		if r := s.Resumption(); (r != nil) != resumable {
			t.Errorf("resume='%s': %+v", resume, r)
		}
	})
}

// The end of the stream comes with what is to be acknowledged, and nothing after it.
func TestLastAcknowledgement(t *testing.T) {
	const message, request = "<message/>", "<r xmlns='urn:xmpp:sm:3'/>"
	for name, test := range map[string]struct{ first, then, want string }{
		"handled":    {message, message + request, "1"}, // the request waits for the message
		"for nobody": {"", "<presence/>" + message, "1"},
		"no news":    {"", message + request, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				kept := 0
				s, p := connectManaged(t, func(o *xmpp.Options) {
					o.Take = func(e *xmpp.Element) bool { return e.Tag == "message" }
					o.Acknowledging = func(*xmpp.Resumption) { kept++ }
				})
				if test.first != "" {
					p.write(test.first)
					take(t, s, 1)
					s.Handled()
				}
				p.write(test.then)
				synctest.Wait()
				closed := async(func() (bool, error) { return true, s.Close() })
				e := p.next()
				if test.want != "" {
					if h := xmpp.Attr(e, "h"); h != test.want {
						t.Errorf("h=%s", h)
					}
					e = p.next()
				}
				if e != nil {
					t.Errorf("%s", text(e))
				}
				take(t, s, 1)
				started := time.Now()
				if err := s.Acknowledge(t.Context()); err == nil || time.Since(started) > 0 {
					t.Errorf("%v after %s", err, time.Since(started))
				}
				p.write(request)
				time.Sleep(100 * time.Millisecond)
				p.write("</stream:stream>")
				if r := <-closed; r.err != nil || kept != 0 {
					t.Errorf("%v, kept %d times", r.err, kept)
				}
			})
		})
	}
}

// What is held, or known already, is not acknowledged by the end of the stream.
func TestCloseAcknowledges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connectManaged(t)
		p.write("<message id='1'/><message id='2'/>")
		take(t, s, 1)
		go s.Acknowledge(t.Context())
		if h := xmpp.Attr(p.next(), "h"); h != "1" {
			t.Errorf("h=%s", h)
		}
		p.write("<iq type='result' id='unknown'/>")
		take(t, s, 1)
		if r := s.Resumption(); r.Handled != 1 {
			t.Errorf("%d are handled, and one is held", r.Handled)
		}
		go s.Close()
		if e := p.next(); e != nil {
			t.Errorf("%s, and nothing is new", text(e))
		}
	})
}

// A server that does not learn of the end keeps the session, and with it what comes next.
func TestCloseResumable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connectManaged(t)
		go func() {
			p.closed()
			time.Sleep(200 * time.Millisecond)
			p.write("</stream:stream>")
			io.Copy(io.Discard, p.raw)
		}()
		started := time.Now()
		err := s.Close()
		if took := time.Since(started); err != nil || took != 200*time.Millisecond {
			t.Errorf("%v after %s, and the server needs 200 ms", err, took)
		}
	})
}

// Without the feature, without Manage, or after a refusal, nothing is counted (XEP-0198,
// section 3).
func TestUnmanaged(t *testing.T) {
	for name, c := range map[string]struct {
		features string
		manage   bool
		answer   string
	}{
		"not asked for": {"<sm xmlns='urn:xmpp:sm:3'/>", false, ""},
		"not offered":   {"<sm xmlns='urn:xmpp:sm:2'/>", true, ""},
		"refused":       {"<sm xmlns='urn:xmpp:sm:3'/>", true, "<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, p := connectBy(t, func(p *peer) { p.bind(p.authenticate(c.features), "romeo@localhost/r") },
					func(o *xmpp.Options) { o.Manage = c.manage })
				go s.Send(t.Context(), parse(t, "<message id='1'/>"))
				e := p.next()
				if c.answer != "" {
					if e.Tag != "enable" || xmpp.Attr(e, "resume") != "" {
						t.Errorf("%s", text(e))
					}
					p.write(c.answer)
					e = p.next()
				}
				if e.Tag != "message" {
					t.Errorf("%s", text(e))
				}
				p.write("<r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='7'/><enabled xmlns='urn:xmpp:sm:3' id='x' resume='1'/><message/>")
				take(t, s, 1)
				if h := acked(t, s, p); h != "" || s.Resumption() != nil {
					t.Errorf("h=%s, %+v", h, s.Resumption())
				}
				go s.Send(t.Context(), parse(t, "<presence/>"))
				if e := p.next(); e.Tag != "presence" {
					t.Errorf("%s", text(e))
				}
			})
		})
	}
}

// An acknowledgement of more than was sent ends the stream (XEP-0198, section 4); others
// are of use.
func TestAcknowledged(t *testing.T) {
	for h, ok := range map[string]bool{"0": true, "1": true, "2": true, "3": false, "2147483649": false, "4294967295": true, "-1": true, "x": true, "": true, "4294967298": true} {
		bubble(t, func(t *testing.T) {
			s, p := connectManaged(t)
			go s.Send(t.Context(), parse(t, "<message/>"))
			p.next()
			p.write("<a xmlns='urn:xmpp:sm:3' h='" + h + "'/>")
			if ok {
				if h := p.h(); h != "0" {
					t.Errorf("h=%s", h)
				}
				return
			}
			e := p.next()
			if xmpp.Child(e, "urn:ietf:params:xml:ns:xmpp-streams", "undefined-condition") == nil || xmpp.Child(e, nsManage, "handled-count-too-high") == nil {
				t.Errorf("%s", text(e))
			}
			_, err := collectAll(s)
			if stream, ok := errors.AsType[*xmpp.StreamError](err); !ok || !stream.Sent {
				t.Errorf("%v", err)
			}
		})
	}
}

// What nobody asks about is acknowledged when asked for, so that it is not kept for ever.
func TestManyUnproven(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connectManaged(t)
		asked := 0
		go func() {
			for i := range 1000 {
				s.Send(t.Context(), parse(t, fmt.Sprintf("<message id='%d'/>", i)))
			}
		}()
		for n := 0; n < 1000; {
			e := p.next()
			if n++; e.Tag == "r" {
				n--
				asked++
				p.write(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", n+1))
			}
		}
		if asked < 9 || asked > 11 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// A server that acknowledges nothing does not make the memory grow for ever: its session
// is not one to be resumed.
func TestMaxUnproven(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connectManaged(t)
		go io.Copy(io.Discard, p.conn)
		synctest.Wait() // it is known that the session can be resumed
		many := slices.Repeat([]*xmpp.Element{parse(t, "<presence/>")}, 10_000)
		for i := range 3 {
			if err := s.Send(t.Context(), many...); err != nil {
				t.Fatal(err)
			}
			if r := s.Resumption(); (r == nil) != (i > 0) {
				t.Errorf("flight %d: it can be resumed: %v", i, r != nil)
			}
		}
	})
}

// What a session that cannot go on has kept is what no answer and no acknowledgement has
// proven to have come. Only stanzas count, and only the first answer to <enable/>.
func TestUnproven(t *testing.T) {
	message := func(id string) *xmpp.Element { return parse(t, "<message id='"+id+"'/>") }
	for name, test := range map[string]struct {
		do   func(t *testing.T, s *xmpp.Session, p *peer) // after the first presence
		want []string
	}{
		"nothing": {func(t *testing.T, s *xmpp.Session, p *peer) {}, []string{"presence"}},
		"answered": {func(t *testing.T, s *xmpp.Session, p *peer) {
			go s.Ping(t.Context(), s.Server(), message("1"))
			p.next()
			p.write("<iq type='result' from='localhost' id='" + xmpp.Attr(p.next(), "id") + "'/>")
			synctest.Wait()
			go s.Send(t.Context(), message("2"))
			p.next()
		}, []string{"2"}},
		"acknowledged": {func(t *testing.T, s *xmpp.Session, p *peer) {
			go s.Send(t.Context(), parse(t, "<x xmlns='u'/>"), message("1"), message("2"), message("3"))
			for range 4 {
				p.next()
			}
			p.write("<a xmlns='urn:xmpp:sm:3' h='1'/><a xmlns='urn:xmpp:sm:3' h='3'/><a xmlns='urn:xmpp:sm:3' h='2'/>")
		}, []string{"3"}},
		"requests": {func(t *testing.T, s *xmpp.Session, p *peer) {
			go s.IQ(t.Context(), parse(t, "<iq type='set' id='1'><q xmlns='u'/></iq>"), message("2"))
			p.next()
			p.next()
		}, []string{"presence", "2"}},
		"other answers": {func(t *testing.T, s *xmpp.Session, p *peer) {
			p.write("<failed xmlns='urn:xmpp:sm:3'/><enabled xmlns='urn:xmpp:sm:3' id='other' resume='true'/><resumed xmlns='urn:xmpp:sm:3' previd='other' h='7'/>")
			synctest.Wait()
			go s.Send(t.Context(), message("1"))
			if e := p.next(); e.Tag != "message" {
				t.Errorf("%s", text(e))
			}
		}, []string{"presence", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, p := connectManaged(t)
				test.do(t, s, p)
				p.raw.Close()
				if _, err := collectAll(s); !errors.Is(err, xmpp.ErrLost) {
					t.Errorf("%v", err)
				}
				again, p := connectBy(t, resuming(t, `<resume xmlns="urn:xmpp:sm:3" previd="some-id" h="`+fmt.Sprint(s.Resumption().Handled)+`"/>`,
					"<resumed xmlns='urn:xmpp:sm:3' previd='some-id' h='"+map[bool]string{true: "3", false: "0"}[name == "acknowledged"]+"'/>"), managed, func(o *xmpp.Options) { o.Resume = s.Resumption() })
				if ids := p.again(len(test.want) + 1); !again.Resumed() || !slices.Equal(ids, test.want) || again.Unacked() != len(ids) {
					t.Errorf("%v, %q again of %d, want %q", again.Resumed(), ids, again.Unacked(), test.want)
				}
			})
		})
	}
}

// Whatever a server sends of XEP-0198, in whatever order: what was not
// handled is not acknowledged, no count goes back, and the session ends, if it does, by an
// <a/> that counts too much.
func FuzzManage(f *testing.F) {
	elements := []string{
		"<message/>", "<presence/>", "<iq type='get' id='1' from='localhost'><ping xmlns='urn:xmpp:ping'/></iq>", "<iq type='result' id='1'/>", "<x xmlns='u'/>",
		"<r xmlns='urn:xmpp:sm:3'/>", "<a xmlns='urn:xmpp:sm:3' h='1'/>", "<a xmlns='urn:xmpp:sm:3' h='4294967295'/>", "<a xmlns='urn:xmpp:sm:3' h='9'/>",
		"<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/>", "<failed xmlns='urn:xmpp:sm:3'/>", "<resumed xmlns='urn:xmpp:sm:3' previd='some-id' h='0'/>",
	}
	const yielded, acknowledged, later = 12, 13, 14 // what happens here
	f.Add([]byte{0, 1, 5, yielded, 5, acknowledged, 5, 0, 5, later, 2, 5, 8})
	f.Add([]byte{9, 10, 11, 0, yielded, acknowledged, 6, 7, 1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, steps []byte) {
		bubble(t, func(t *testing.T) {
			s, p := connectManaged(t, func(o *xmpp.Options) { o.Take = func(e *xmpp.Element) bool { return e.Tag == "message" } })
			counts := make(chan int, 1000)
			go func() {
				defer close(counts)
				for e := p.next(); e != nil; e = p.next() {
					if xmpp.Is(e, nsManage, "a") {
						h, _ := strconv.Atoi(xmpp.Attr(e, "h"))
						counts <- h
					}
				}
			}()
			var messages []int // that are not handled: their numbers
			sent, held, last := 0, 0, 0
			for _, step := range steps[:min(len(steps), 500)] {
				switch step %= 15; step {
				case yielded:
					if s.Queued() > 0 {
						take(t, s, 1)
						held++
					}
				case acknowledged:
					messages, held = messages[held:], 0
					_ = s.Acknowledge(t.Context())
				case later:
					time.Sleep(50 * time.Millisecond)
				default:
					if step < 4 {
						sent++
					}
					if step == 0 {
						messages = append(messages, sent)
					}
					p.write(elements[step])
				}
				synctest.Wait()
				for len(counts) > 0 {
					h, most := <-counts, sent
					if len(messages) > 0 {
						most = messages[0] - 1
					}
					if h < last || h > most {
						t.Fatalf("h=%d after %d, and %d are handled", h, last, most)
					}
					last = h
				}
			}
			p.raw.Close()
			_, err := collectAll(s)
			if stream, ok := errors.AsType[*xmpp.StreamError](err); !errors.Is(err, xmpp.ErrLost) && (!ok || !strings.Contains(stream.Text, "it acknowledges")) {
				t.Errorf("%v", err)
			}
		})
	})
}
