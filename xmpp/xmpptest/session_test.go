package xmpptest

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
)

// sm returns a text in which <sm:r/> stands for <r xmlns='urn:xmpp:sm:3'/>, and so on.
func sm(text string) string {
	for _, tag := range []string{"enabled", "enable", "resumed", "resume", "failed", "r", "a"} {
		for _, end := range []string{" ", "/", ">"} {
			text = strings.ReplaceAll(text, "<sm:"+tag+end, "<"+tag+" xmlns='"+nsSM+"'"+end)
		}
		text = strings.ReplaceAll(text, "</sm:"+tag, "</"+tag)
	}
	return strings.NewReplacer("COND", "xmlns='"+xmpp.NSStanzas+"'", "PING", "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>",
		"PONG", "<iq type='result' id='p' from='romeo@localhost' to='romeo@localhost/r'/>").Replace(text)
}

// The rules of XEP-0198, each with what romeo sends behind bind and what he gets, or how
// that begins.
func TestManagement(t *testing.T) {
	for _, test := range []struct {
		rule, send string
		want       []string
		faults     []Fault
	}{
		{"section 3: enabled, and only once", "<sm:enable/><sm:enable/>",
			[]string{"<sm:enabled/>", "<sm:failed><unexpected-request COND/></sm:failed>"}, nil},
		{"section 5: never resumed inside a session", "<sm:enable/><sm:resume previd='x' h='0'/>",
			[]string{"<sm:enabled/>", "<sm:failed><unexpected-request COND/></sm:failed>"}, nil},
		{"section 4: stanzas count, from enable on", "<message to='juliet@localhost'/><sm:enable/><message to='juliet@localhost'/><presence to='juliet@localhost'/><sm:r/><sm:r/>",
			[]string{"<sm:enabled/>", "<sm:a h='2'/>", "<sm:a h='2'/>"}, nil},
		{"section 4: asks for an acknowledgement, one at a time, and not twice for the same", "<sm:enable/>PINGPING<sm:a h='1'/><sm:a h='1'/><sm:a h='2'/>PING",
			[]string{"<sm:enabled/>", "PONG", "<sm:r/>", "PONG", "<sm:r/>", "PONG", "<sm:r/>"}, nil},
		{"section 4: too many acknowledged", "<sm:enable/>PING<sm:a h='2'/>",
			[]string{"<sm:enabled/>", "PONG", "<sm:r/>", "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'"}, nil},
		{"section 4: fewer acknowledged than before", "<sm:enable/>PINGPING<sm:a h='2'/><sm:a h='1'/>",
			[]string{"<sm:enabled/>", "PONG", "<sm:r/>", "PONG", "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='1' send-count='2'"}, nil},
		{"section 4: no count", "<sm:enable/><sm:a/>", []string{"<sm:enabled/>", "<sm:a h='0'/>", "<invalid-xml "}, nil},
		{"section 4: no count", "<sm:enable/><sm:a h='-1'/>", []string{"<sm:enabled/>", "<sm:a h='0'/>", "<invalid-xml "}, nil},
		{"a last count at the end", "<sm:enable/><message/></stream:stream>", []string{"<sm:enabled/>", "<sm:a h='1'/>"}, nil},
		{"section 5: can be resumed", "<sm:enable resume='true'/>", []string{`<sm:enabled id="*" resume='true' max='60'/>`}, nil},
		{"section 5: for as long as asked", "<sm:enable resume='1' max='7'/>", []string{`<sm:enabled id="*" resume='true' max='7'/>`}, nil},
		{"section 5: not longer than allowed", "<sm:enable resume='true' max='700'/>", []string{`<sm:enabled id="*" resume='true' max='60'/>`}, nil},
		{"r without enable", "<sm:r/>", []string{"<unsupported-stanza-type "}, nil},
		{"no-resume", "<sm:enable resume='true'/>", []string{"<sm:enabled/>"}, []Fault{"no-resume"}},
		{"no-sm", "<sm:enable/>", []string{"<unsupported-stanza-type "}, []Fault{"no-sm"}},
		{"ack-too-high", "<sm:enable/><sm:r/>", []string{"<sm:enabled/>", "<sm:a h='1000'/>"}, []Fault{"ack-too-high"}},
		{"a ping counts even if nothing comes back", "<sm:enable/>PING<sm:r/>", []string{"<sm:enabled/>", "<sm:a h='1'/>"}, []Fault{"silence@confirm"}},
		{"what a fault injects counts", "<sm:enable/><message/><sm:a h='1'/>PING", []string{"<sm:enabled/>", "<message><body>x</body></message>", "PONG", "<sm:r/>"},
			[]Fault{"inject=<message><body>x</body></message>"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			c := loggedIn(t, start(t, Config{Faults: test.faults}), "romeo", how{resource: "r"})
			c.send(t, sm(test.send))
			for _, want := range test.want {
				if want = sm(want); strings.HasSuffix(want, ">") {
					c.expect(t, want)
				} else if e, err := c.next(); err != nil || !strings.Contains(text(e), strings.ReplaceAll(want, "'", `"`)) {
					t.Errorf("%s, %v, want %s", text(e), err, want)
				}
			}
		})
	}
}

// A bubble has a server in a synctest bubble, where minutes pass at once.
type bubble struct {
	*Server
	*testing.T
}

func inBubble(t *testing.T, config Config, test func(b bubble)) {
	synctest.Test(t, func(t *testing.T) {
		config.Accounts = map[string]string{"romeo": "secret of romeo", "juliet": "secret of juliet"}
		s, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		test(bubble{s, t})
	})
}

func (b bubble) connect() *client {
	there, here := net.Pipe()
	go b.ServeConn(there, true)
	c := attach(b.T, here)
	here.SetDeadline(time.Time{}) // minutes pass
	return c
}

func (b bubble) login(local, resource string) *client {
	b.Helper()
	c := b.connect()
	if err := dial(b.Server, c, local, how{resource: resource}); err != nil {
		b.Fatal(err)
	}
	return c
}

// juliet logs in, and can be resumed by the id.
func (b bubble) juliet(enable string) (*client, string) {
	b.Helper()
	c := b.login("juliet", "j")
	go c.write(sm(enable + "<presence/>"))
	enabled, err := c.next()
	if err != nil || !xmpp.Is(enabled, nsSM, "enabled") {
		b.Fatal("not enabled: ", err)
	}
	c.expect(b, "<presence from='juliet@localhost/j' to='juliet@localhost'/>")
	c.expect(b, sm("<sm:r/>"))
	return c, xmpp.Attr(enabled, "id")
}

// stream logs juliet in, sends text in one flight with the header of the stream after
// that, and reads up to its features.
func (b bubble) stream(text string) (*client, error) {
	c := b.connect()
	err := c.handshake(b.Server, how{}, true)
	if err == nil {
		_, err = c.open(openTag)
	}
	if err == nil {
		err = c.authenticate("juliet", how{})
	}
	if err == nil {
		_, err = c.open(openTag + sm(text))
	}
	return c, err
}

func (b bubble) resume(text string) *client {
	b.Helper()
	c, err := b.stream(text)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

const late = "<delay xmlns='urn:xmpp:delay' from='localhost' stamp='*'/>"

// say sends juliet messages with these ids.
func say(ids ...int) string {
	var text string
	for _, id := range ids {
		text += fmt.Sprintf("<message to='juliet@localhost' id='%d'><thread/></message>", id)
	}
	return text
}

func (c *client) heard(t testing.TB, delay string, ids ...int) {
	t.Helper()
	for _, id := range ids {
		c.expect(t, fmt.Sprintf("<message to='juliet@localhost' id='%d' from='romeo@localhost/r'><thread/>%s</message>", id, delay))
	}
}

func TestResume(t *testing.T) {
	inBubble(t, Config{}, func(b bubble) {
		juliet, id := b.juliet("<sm:enable resume='true'/>")
		romeo := b.login("romeo", "r")
		romeo.send(b, say(1, 2, 3))
		juliet.heard(b, "", 1)
		juliet.send(b, sm("<sm:a h='2'/>")) // the presence and message 1
		juliet.heard(b, "", 2, 3)
		b.Cut()
		time.Sleep(59 * time.Second)
		romeo = b.login("romeo", "r")
		romeo.send(b, say(4))
		romeo.ping(b)

		juliet = b.resume("<sm:resume previd='" + id + "' h='3'/>" + "<presence><show>away</show></presence>") // 2 was handled as well
		juliet.expect(b, sm("<sm:resumed previd='"+id+"' h='1'/>"))
		juliet.heard(b, late, 3, 4)
		juliet.expect(b, sm("<sm:r/>"))
		juliet.expect(b, "<presence from='juliet@localhost/j' to='juliet@localhost'><show>away</show></presence>")
		romeo.send(b, say(5))
		juliet.heard(b, "", 5)
		juliet.send(b, sm("<sm:r/>"))
		juliet.expect(b, sm("<sm:a h='2'/>"))

		// From a connection that seems to be alive it is taken, with the same id.
		next := b.resume("<sm:resume previd='" + id + "' h='6'/>")
		next.expect(b, sm("<sm:resumed previd='"+id+"' h='2'/>"))
		next.heard(b, late, 5)
		next.expect(b, sm("<sm:r/>"))
		if e, err := juliet.next(); err != nil || xmpp.Child(e, xmpp.NSStreams, "conflict") == nil {
			b.Error(err)
		}
		juliet.nc.Close()
		time.Sleep(2 * hibernation)
		romeo.send(b, say(6))
		next.heard(b, "", 6)
	})
}

// A session that cannot be resumed any more leaves its messages in the offline store.
func TestSessionEnds(t *testing.T) {
	for _, test := range []struct {
		name, enable string
		end          func(b bubble, juliet *client)
		failed       string // the attributes of the refusal to resume it
		forgets      bool
	}{
		{"expired", "<sm:enable resume='true' max='10'/>", func(b bubble, _ *client) {
			b.Cut()
			time.Sleep(11 * time.Second)
		}, " h='1'", false},
		{"expired before a restart", "<sm:enable resume='true' max='10'/>", func(b bubble, _ *client) {
			b.Cut()
			time.Sleep(11 * time.Second)
			b.Restart()
		}, "", false},
		{"closed", "<sm:enable resume='true'/>", func(b bubble, c *client) {
			c.send(b, "</stream:stream>")
			c.next()
		}, "", false},
		{"error", "<sm:enable resume='true'/>", func(b bubble, c *client) {
			c.send(b, "<nonsense/>")
			c.next()
		}, "", false},
		{"not resumable", "<sm:enable/>", func(b bubble, _ *client) { b.Cut() }, "", false},
		{"replaced", "<sm:enable resume='true'/>", func(b bubble, c *client) {
			b.login("juliet", "j").write("</stream:stream>")
			c.next()
		}, "", false},
		{"replaced while it hibernated", "<sm:enable resume='true'/>", func(b bubble, c *client) {
			b.Cut()
			synctest.Wait()
			b.login("juliet", "j").write("</stream:stream>")
		}, "", false},
		{"restarted", "<sm:enable resume='true'/>", func(b bubble, c *client) { b.Restart() }, "", true},
		{"restarted while it hibernated", "<sm:enable resume='true'/>", func(b bubble, c *client) {
			b.Cut()
			synctest.Wait()
			b.Restart()
		}, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Config{}, func(b bubble) {
				juliet, id := b.juliet(test.enable)
				romeo := b.login("romeo", "r")
				romeo.send(b, say(1)+"<message to='juliet@localhost' type='headline'/><iq to='juliet@localhost/j' id='i' type='result'/>"+say(2))
				juliet.heard(b, "", 1)
				juliet.send(b, sm("<sm:a h='2'/>"))
				juliet.next()
				juliet.next()
				juliet.heard(b, "", 2)
				test.end(b, juliet)
				synctest.Wait()
				romeo = b.login("romeo", "r")
				romeo.send(b, say(3))
				romeo.ping(b)

				juliet = b.resume("<sm:resume previd='" + id + "' h='2'/>" + "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq><presence/>")
				juliet.expect(b, sm("<sm:failed"+test.failed+"><item-not-found COND/></sm:failed>"))
				for range 2 { // bound, available
					juliet.next()
				}
				if !test.forgets {
					juliet.heard(b, late, 2)
				}
				juliet.heard(b, late, 3)
			})
		})
	}
}

func TestResumeRefused(t *testing.T) {
	inBubble(t, Config{Faults: []Fault{"resume-failed"}}, func(b bubble) {
		_, id := b.juliet("<sm:enable resume='true'/>")
		b.resume("<sm:enable/><sm:resume previd='"+id+"' h='0'/>").expect(b, sm("<sm:failed><unexpected-request COND/></sm:failed>"))
		b.resume("<sm:resume previd='"+id+"' h='0'/>").expect(b, sm("<sm:failed><item-not-found COND/></sm:failed>"))
	})
	inBubble(t, Config{}, func(b bubble) {
		_, id := b.juliet("<sm:enable resume='true'/>")
		e, err := b.resume("<sm:resume previd='" + id + "' h='2'/>").next()
		if err != nil || xmpp.Child(e, nsSM, "handled-count-too-high") == nil {
			b.Error(e, err)
		}
		b.resume("<sm:resume previd='"+id+"' h='0'/>").expect(b, sm("<sm:failed><item-not-found COND/></sm:failed>"))
	})
	inBubble(t, Config{}, func(b bubble) { // what cannot be resumed has no id
		b.juliet("<sm:enable/>")
		b.resume("<sm:resume previd='' h='0'/>").expect(b, sm("<sm:failed><item-not-found COND/></sm:failed>"))
	})
	inBubble(t, Config{Faults: []Fault{"no-sm"}}, func(b bubble) {
		if e, err := b.resume("<sm:resume previd='x' h='0'/>").next(); err != nil || xmpp.Child(e, xmpp.NSStreams, "not-authorized") == nil {
			b.Error(e, err)
		}
	})
}

// What a client leaves unacknowledged is bounded, whether it is there or not, and kept.
func TestTooMuchUnacknowledged(t *testing.T) {
	for _, there := range []bool{true, false} {
		inBubble(t, Config{}, func(b bubble) {
			juliet, _ := b.juliet("<sm:enable resume='true'/>")
			ended := make(chan error)
			go func() {
				for {
					if e, err := juliet.next(); err != nil || xmpp.Child(e, xmpp.NSStreams, "policy-violation") != nil {
						juliet.nc.Close()
						ended <- err
						return
					}
				}
			}()
			if !there {
				b.Cut()
				<-ended
			}
			romeo := b.login("romeo", "r")
			romeo.send(b, strings.Repeat(say(1), maxKept)) // and the presence
			romeo.ping(b)
			if there {
				if err := <-ended; err != nil {
					b.Error(err)
				}
			}
			synctest.Wait()
			account := b.account("juliet")
			if len(account.sessions) != 0 || len(account.offline) != maxKept {
				b.Error(len(account.sessions), "sessions,", len(account.offline), "messages")
			}
		})
	}
}

// Of what was on its way when the server was killed nothing is done.
func TestRestartInBetween(t *testing.T) {
	bind, rest := "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq><sm:enable resume='true'/>", "<message to='romeo@localhost'/>"
	for _, flights := range [][]string{{bind + rest}, {bind, rest}} {
		var s *Server
		inBubble(t, Config{Trace: func(_ int, in bool, b []byte) {
			if in && strings.Contains(string(b), rest) {
				s.Restart()
			}
		}}, func(b bubble) {
			s = b.Server
			if c, err := b.stream(flights[0]); err == nil && len(flights) > 1 {
				c.next()
				c.next()
				c.write(flights[1])
			}
			synctest.Wait()
			if n, m := len(b.account("juliet").sessions), len(b.account("romeo").offline); n != 0 || m != 0 {
				b.Error(len(flights), "flights leave", n, "sessions and", m, "messages")
			}
		})
	}
}

func TestCloseEndsSessions(t *testing.T) {
	inBubble(t, Config{}, func(b bubble) {
		b.juliet("<sm:enable resume='true'/>")
		b.Server.Close()
		if n := len(b.account("juliet").sessions); n != 0 {
			b.Error(n, "sessions")
		}
	})
}

// Cut and Restart while messages flow: nothing hangs, and the server is there after it.
func TestRestart(t *testing.T) {
	s := start(t, Config{})
	var wg, flowing sync.WaitGroup
	for range 4 {
		flowing.Add(1)
		juliet, romeo := loggedIn(t, s, "juliet", how{}), loggedIn(t, s, "romeo", how{})
		juliet.send(t, sm("<sm:enable resume='true'/><presence/>"))
		wg.Go(func() {
			for romeo.write(say(1, 2, 3)) == nil {
			}
		})
		wg.Go(func() {
			juliet.next()
			flowing.Done()
			io.Copy(io.Discard, juliet.nc)
		})
	}
	flowing.Wait()
	s.Restart()
	wg.Wait()
	if n := len(s.account("juliet").sessions); n != 0 {
		t.Error(n, "sessions")
	}
	loggedIn(t, s, "romeo", how{}).ping(t)
}
