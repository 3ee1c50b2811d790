//go:build unix

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// An account is made as soon as the server can do that, and not waited for without end.
func TestRegister(t *testing.T) {
	for name, test := range map[string]struct {
		answers []int // the last one for ever
		asked   int
		ok      bool
	}{
		"ready":          {[]int{200}, 1, true},
		"later":          {[]int{500, 503, 200}, 3, true},
		"a lost answer":  {[]int{500, 409}, 2, true},
		"refused":        {[]int{400}, 1, false},
		"later, refused": {[]int{500, 403}, 2, false},
	} {
		asked := 0
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.answers[min(asked, len(test.answers)-1)])
			asked++
		}))
		h := &home{IP: "127.0.0.1", Domain: "localhost", HTTP: api.Listener.Addr().(*net.TCPAddr).Port}
		s := &realServer{name: "ejabberd", home: h, process: &process{done: make(chan struct{})}, addAccount: (*home).postEjabberdAccount}
		if err := s.register("romeo", scriptPassword); asked != test.asked || (err == nil) != test.ok {
			t.Errorf("%s: asked %d times, want %d; %v", name, asked, test.asked, err)
		}
		api.Close()
	}
	synctest.Test(t, func(t *testing.T) {
		never := func(*home, string, string) error { return fmt.Errorf("%w: 500", errNotReady) }
		s := &realServer{process: &process{done: make(chan struct{})}, addAccount: never}
		started := time.Now()
		if err := s.register("romeo", scriptPassword); !errors.Is(err, errNotReady) || time.Since(started) > patience+time.Second {
			t.Errorf("%v after %v", err, time.Since(started))
		}
	})
}

// What a server that was killed may have forgotten is what it confirmed just before, and
// not 123 of 200 lines.
func TestLate(t *testing.T) {
	var c cell
	c.ledger.init(200)
	started := time.Now()
	var ids []string
	for i := range c.lines {
		id := fmt.Sprint("id-", i)
		c.confirmed[id] = started.Add(time.Duration(i) * 20 * time.Millisecond) // 4 s
		ids = append(ids, id)
	}
	c.kills = []time.Time{started.Add(2 * time.Second), started.Add(3900 * time.Millisecond)}
	if n := len(c.late(ids[:123])); n >= 123 || n == 0 {
		t.Errorf("%d of 123 are excused", n)
	}
	for id, want := range map[string]int{"id-0": 0, "id-50": 0, "id-51": 1, "id-99": 1, "never": 0} {
		if n := len(c.late([]string{id})); n != want {
			t.Errorf("%s: %d, want %d", id, n, want)
		}
	}
	c.kills = nil
	if n := len(c.late(ids)); n != 0 {
		t.Errorf("%d are excused without a kill", n)
	}
}
