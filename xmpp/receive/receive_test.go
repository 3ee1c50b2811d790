package receive

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// A stage is a server, a receiver of romeo and what has come of it, and juliet, who writes.
type stage struct {
	t      *testing.T
	server *xmpptest.Server
	login  xmpp.Options
	juliet *xmpp.Session

	Options
	handled []string // bodies
	events  []Event
	flushes int
	fails   func(body string) error // instead of handling it
}

var errHandler = errors.New("it fails")

func newStage(t *testing.T, faults ...xmpptest.Fault) *stage {
	t.Helper()
	server, err := xmpptest.New(xmpptest.Config{Accounts: map[string]string{"romeo": "r", "juliet": "j"}, Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s := &stage{t: t, server: server}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(server.CA())
	s.login = xmpp.Options{JID: jid("romeo@localhost"), Password: "r", RootCAs: roots, Server: "server.example:5222", DialContext: func(context.Context, string, string) (net.Conn, error) {
		there, here := net.Pipe()
		go server.ServeConn(there, false)
		return here, nil
	}}
	s.Options = Options{
		Login: s.login, Position: NewPosition(s.login.JID), Presence: xmpp.NewElement(xmpp.NSClient, "presence"),
		Messages: true, Reconnect: true, Patience: time.Minute,
		Connect: func(ctx context.Context, login xmpp.Options, use func(context.Context, *xmpp.Session) error) error {
			session, err := xmpp.Dial(ctx, login)
			if err != nil {
				return err
			}
			defer session.Close()
			return use(ctx, session)
		},
		Temporary: func(err error) bool { return errors.Is(err, xmpp.ErrLost) },
		Handle:    s.handle,
		Flush:     func() error { s.flushes++; return nil },
		Tell:      func(e Event) { s.events = append(s.events, e) },
	}
	return s
}

// handle fails where it is to, and ends the run at the message "end".
func (s *stage) handle(_ context.Context, _ *xmpp.Session, a Arrival) (Verdict, error) {
	body, ok := xmpp.Text(a.Stanza, xmpp.NSClient, "body")
	if !ok {
		return Verdict{}, nil
	}
	if s.fails != nil {
		if err := s.fails(body); err != nil {
			return Verdict{}, err
		}
	}
	s.handled = append(s.handled, body)
	return Verdict{Used: true, Enough: body == "end"}, nil
}

// durable gives the stage a position with a file.
func (s *stage) durable(file string) {
	s.Login.Resumable = time.Minute
	s.Position = mustOpen(s.t, file)
}

// run runs a receiver, beside which juliet does what is to be done.
func (s *stage) run(beside func()) (*Receiver, error) {
	s.t.Helper()
	if s.juliet == nil {
		o := s.login
		o.JID, o.Password = jid("juliet@localhost"), "j"
		s.juliet = s.dial(o)
	}
	r := New(s.Options)
	var other sync.WaitGroup
	other.Go(beside)
	err := r.Run(s.t.Context(), s.t.Context())
	other.Wait()
	return r, err
}

func (s *stage) dial(o xmpp.Options) *xmpp.Session {
	session, err := xmpp.Dial(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { session.Close() })
	return session
}

// send has juliet send messages, after what goes on meanwhile.
func (s *stage) send(bodies ...string) {
	synctest.Wait()
	for _, body := range bodies {
		m := xmpp.NewElement(xmpp.NSClient, "message", "to", "romeo@localhost", "type", "chat", "id", xmpp.NewID())
		if err := s.juliet.Send(s.t.Context(), xmpp.Add(m, xmpp.NewText(xmpp.NSClient, "body", body))); err != nil {
			s.t.Error(err)
		}
	}
	time.Sleep(100 * time.Millisecond) // an acknowledgement waits a little for others
}

// again lets juliet log in anew, where all were cut off.
func (s *stage) again() {
	o := s.login
	o.JID, o.Password = jid("juliet@localhost"), "j"
	s.juliet = s.dial(o)
}

func (s *stage) kinds() (kinds []Kind) {
	for _, e := range s.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// A run goes on after a loss, and hands on what came meanwhile once: from the archive, or it
// says that there is none.
func TestReceiverReconnects(t *testing.T) {
	for fault, want := range map[xmpptest.Fault]struct {
		handled string
		events  []Kind
	}{
		"":           {"one two three end", []Kind{Open, Listening, Retry, Listening}},
		"no-archive": {"one two three end", []Kind{Open, Listening, Retry, Missed, Listening}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, slices.DeleteFunc([]xmpptest.Fault{fault}, func(f xmpptest.Fault) bool { return f == "" })...)
			r, err := s.run(func() {
				s.send("one")
				s.server.Cut()
				s.again()
				s.send("two")
				time.Sleep(10 * time.Second)
				s.send("three", "end")
			})
			trouble, away := r.Away()
			if err != nil || away || trouble != nil || strings.Join(s.handled, " ") != want.handled || !slices.Equal(s.kinds(), want.events) {
				t.Errorf("%s: %v, away %v (%v), handled %q, events %v", fault, err, away, trouble, s.handled, s.kinds())
			}
		})
	}
}

// What cannot be handled is not acknowledged, and ends the run. The next one of a position
// gets it again, and nothing that was handled before.
func TestReceiverFails(t *testing.T) {
	for name, oneByOne := range map[string]bool{"together": false, "one by one": true} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			if oneByOne {
				s.Flush = nil
			}
			file := filepath.Join(t.TempDir(), "position.json")
			s.durable(file)
			s.fails = func(body string) error {
				if body == "two" {
					return errHandler
				}
				return nil
			}
			_, err := s.run(func() {
				time.Sleep(5 * time.Second)
				s.send("one", "two", "end")
			})
			if !errors.Is(err, errHandler) || fmt.Sprint(s.handled) != "[one]" {
				t.Errorf("%s: %v, handled %q", name, err, s.handled)
			}
			s.Position.Close()
			s.fails = nil
			s.durable(file)
			if _, err := s.run(func() {}); err != nil || fmt.Sprint(s.handled) != "[one two end]" {
				t.Errorf("%s: %v, handled %q", name, err, s.handled)
			}
		})
	}
}

// Each new session tells when it has settled, and that may be enough.
func TestReceiverSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		var settled atomic.Int32
		s.Messages, s.Settled = false, func() (Verdict, error) {
			return Verdict{Enough: settled.Add(1) == 2}, nil
		}
		started := time.Now()
		_, err := s.run(func() {
			time.Sleep(10 * time.Second)
			if n := settled.Load(); n != 1 {
				t.Errorf("settled %d times in the first session", n)
			}
			s.server.Cut()
		})
		if took := time.Since(started); err != nil || settled.Load() != 2 || took < 10*time.Second+settledAll || took > 20*time.Second {
			t.Errorf("%v, settled %d times, took %s", err, settled.Load(), took)
		}
	})
}

// What is to follow a message is sent once that is final, if need be by the next session.
func TestReceiverAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		handle := s.Handle
		final := false
		s.Flush = func() error { final = true; return nil }
		var answered []bool
		s.Login.TraceXML = func(out bool, xml string) {
			if out && strings.Contains(xml, "thanks") {
				answered = append(answered, final)
			}
		}
		s.Handle = func(ctx context.Context, session *xmpp.Session, a Arrival) (Verdict, error) {
			final = false
			v, err := handle(ctx, session, a)
			if v.Used {
				v.After = xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message", "to", "juliet@localhost"), xmpp.NewText(xmpp.NSClient, "body", "thanks"))
			}
			return v, err
		}
		_, err := s.run(func() { s.send("one", "two", "end") })
		if err != nil || !slices.Equal(answered, []bool{true, true, true}) {
			t.Errorf("%v, %v", err, answered)
		}
	})
}
