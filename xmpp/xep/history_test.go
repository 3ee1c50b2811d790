package xep

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// A library is a server with the archive of romeo.
type library struct {
	t      *testing.T
	server *xmpptest.Server
	login  xmpp.Options
}

func newLibrary(t *testing.T, faults ...xmpptest.Fault) *library {
	t.Helper()
	server, err := xmpptest.New(xmpptest.Config{Accounts: map[string]string{"romeo": "r", "juliet": "j", "nurse": "n"}, Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(server.CA())
	l := &library{t: t, server: server}
	l.login = xmpp.Options{JID: jid("romeo@localhost"), Password: "r", RootCAs: roots, Pause: true, Server: "server.example:5222", DialContext: func(context.Context, string, string) (net.Conn, error) {
		there, here := net.Pipe()
		go server.ServeConn(there, false)
		return here, nil
	}}
	return l
}

func (l *library) dial() *xmpp.Session {
	l.t.Helper()
	s, err := xmpp.Dial(l.t.Context(), l.login)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { s.Close() })
	return s
}

// write has romeo send the bodies to somebody.
func (l *library) write(s *xmpp.Session, to string, bodies ...string) {
	l.t.Helper()
	for some := range slices.Chunk(bodies, 20) {
		var flight []*xmpp.Element
		for _, body := range some {
			m := xmpp.NewElement(xmpp.NSClient, "message", "to", to, "type", "chat", "id", xmpp.NewID())
			flight = append(flight, xmpp.Add(m, xmpp.NewText(xmpp.NSClient, "body", body)))
		}
		if err := s.Flush(l.t.Context(), flight...); err != nil {
			l.t.Fatal(err)
		}
	}
}

// A reading is a history, and what it has told.
type reading struct {
	History
	bodies, ids []string
	skipped     int
}

func newReading() *reading {
	r := &reading{}
	r.Select = func(_ xmpp.JID, a Archived) (func() error, error) {
		body, _ := xmpp.Text(a.Message, xmpp.NSClient, "body")
		body, _, _ = strings.Cut(body, " ")
		if strings.HasPrefix(body, "-") {
			return nil, nil
		}
		return func() error {
			r.bodies, r.ids = append(r.bodies, body), append(r.ids, a.ID)
			return nil
		}, nil
	}
	r.Skipped = func(xmpp.JID, string, *xmpp.Element, error) { r.skipped++ }
	r.Forgotten = func(string, time.Time) {}
	r.Flush = func() error { return nil }
	return r
}

func numbers(from, to int) (all []string) {
	for i := from; i <= to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// Between any two messages, and of any number of last ones, the same is told as there is in
// the archive, in its order, whatever the pages.
func TestHistoryBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 130
		l := newLibrary(t)
		s := l.dial()
		l.write(s, "juliet@localhost", numbers(1, n)...)
		all := newReading()
		if err := all.Read(t.Context(), s); err != nil || len(all.ids) != n {
			t.Fatalf("%d messages: %v", len(all.ids), err)
		}
		for _, after := range []int{0, 1, 49, 50, 51, 100, n - 1, n} {
			for _, before := range []int{0, 1, 2, 50, 51, 101, n} {
				for _, last := range []int{0, 1, 49, 50, 51, 120, 500} {
					r := newReading()
					first, end := after+1, n
					if r.Last = last; after > 0 {
						r.After = all.ids[after-1]
					}
					if before > 0 {
						r.Before, end = all.ids[before-1], before-1
					}
					if last > 0 {
						first = max(first, end-last+1)
					}
					if err := r.Read(t.Context(), s); err != nil || !slices.Equal(r.bodies, numbers(first, end)) {
						t.Errorf("after %d, before %d, last %d: %v, %v", after, before, last, r.bodies, err)
					}
				}
			}
		}
	})
}

// What comes after the reading began is not read, and a message that is not selected does not
// count for Last.
func TestHistorySelects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLibrary(t)
		s, writer := l.dial(), l.dial()
		l.write(s, "juliet@localhost", numbers(1, 60)...)
		l.write(s, "juliet@localhost", slices.Repeat([]string{"-"}, 120)...)
		l.write(s, "juliet@localhost", "61", "62")
		r := newReading()
		tell := r.Select
		r.Select = func(own xmpp.JID, a Archived) (func() error, error) {
			if len(r.bodies) == 30 {
				l.write(writer, "juliet@localhost", "late")
			}
			return tell(own, a)
		}
		if err := r.Read(t.Context(), s); err != nil || !slices.Equal(r.bodies, numbers(1, 62)) {
			t.Errorf("%v, %v", r.bodies, err)
		}
		r = newReading()
		r.Last, r.Query.With = 10, jid("juliet@localhost")
		if err := r.Read(t.Context(), s); err != nil || !slices.Equal(r.bodies, append(numbers(54, 62), "late")) {
			t.Errorf("%v, %v", r.bodies, err)
		}
		r = newReading()
		r.Query.With, r.After = jid("nurse@localhost"), "1"
		if err := r.Read(t.Context(), s); !errors.Is(err, ErrNotArchived) || len(r.bodies) > 0 {
			t.Errorf("%v, %v", r.bodies, err)
		}
	})
}

// A server that says nothing is waited for so long and no longer; an archive without an end ends.
func TestHistoryBroken(t *testing.T) {
	for fault, want := range map[xmpptest.Fault]error{
		"archive=silence": context.DeadlineExceeded, "archive=stuck": ErrEndless, "archive=fake": ErrEndless, "archive=circle": nil, "archive=endless": nil, "archive=bare": nil,
	} {
		for _, last := range []int{0, 100} {
			synctest.Test(t, func(t *testing.T) {
				l := newLibrary(t, fault)
				s := l.dial()
				l.write(s, "juliet@localhost", numbers(1, 9)...)
				r := newReading()
				r.Last, r.Wait = last, time.Minute
				started := time.Now()
				err := r.Read(t.Context(), s)
				if last > 0 && want == ErrEndless { // these read backwards as they should
					want = nil
				}
				if !errors.Is(err, want) || time.Since(started) > time.Minute {
					t.Errorf("%s, last %d: %v after %s, want %v", fault, last, err, time.Since(started), want)
				}
				if n := len(r.bodies); n > 9 || !slices.IsSorted(r.bodies) || len(slices.Compact(r.bodies)) < n {
					t.Errorf("%s, last %d: %v", fault, last, r.bodies)
				}
			})
		}
	}
}

// A page that is too much is asked for in halves; what is to be held has a limit.
func TestHistoryTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLibrary(t)
		s := l.dial()
		large := strings.Repeat(" large", 1<<18) // 1.5 MiB
		for _, body := range numbers(1, 50) {
			l.write(s, "juliet@localhost", body+large)
		}
		l.write(s, "juliet@localhost", numbers(51, 100)...)
		r := newReading()
		r.Last = 60
		if err := r.Read(t.Context(), s); err != nil || !slices.Equal(r.bodies, numbers(41, 100)) || r.max >= 60 {
			t.Errorf("%v, %v, pages of %d", r.bodies, err, r.max)
		}
		r = newReading()
		r.Last = 100
		if err := r.Read(t.Context(), s); err != ErrHistory || len(r.bodies) > 0 {
			t.Errorf("%v, %v", r.bodies, err)
		}
		r = newReading()
		if err := r.Read(t.Context(), s); err != nil || !slices.Equal(r.bodies, numbers(1, 100)) {
			t.Errorf("%v, %v", r.bodies, err)
		}
	})
}

// A set of what was added last forgets what was added first, and no more.
func TestRecent(t *testing.T) {
	var r recent
	for i := range remembered {
		if !r.add(fmt.Sprint(i)) {
			t.Fatalf("%d is not new", i)
		}
	}
	if r.add("0") || r.add(fmt.Sprint(remembered-1)) {
		t.Error("forgot what it should know")
	}
	r.add("more")
	if !r.add("0") || r.add("2") || len(r.keys) > remembered {
		t.Errorf("%d keys", len(r.keys))
	}
	r.remove("2")
	if !r.add("2") {
		t.Error("did not forget what was removed")
	}
}
