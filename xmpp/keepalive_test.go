package xmpp_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"xmppkit/xmpp"
)

// A peer that is silent for half the time is pinged (XEP-0199), and dead after all of it.
func TestKeepAlive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, p := connect(t, func(o *xmpp.Options) { o.KeepAlive = time.Minute })
		started := time.Now()
		since := func() time.Duration { return time.Since(started).Round(time.Second) }
		answer := func(e *xmpp.Element) string {
			return "<iq type='result' from='localhost' id='" + xmpp.Attr(e, "id") + "'/>"
		}
		p.write(answer(p.next()))
		if since() < 22*time.Second || since() > 30*time.Second {
			t.Errorf("ping after %s", since())
		}
		for range 10 { // whatever comes is a sign of life
			time.Sleep(14 * time.Second)
			p.write(" ")
		}
		started = time.Now()
		if e := p.next(); xmpp.Child(e, xmpp.NSPing, "ping") == nil || since() < 22*time.Second || since() > 30*time.Second {
			t.Errorf("%s after %s", text(e), since())
		}
		_, err := collectAll(s)
		if !errors.Is(err, xmpp.ErrLost) || !strings.Contains(err.Error(), "nothing received for 1m0s") || since() < 50*time.Second || since() > 60*time.Second {
			t.Errorf("%v after %s", err, since())
		}
	})
}

// Neither a write that is stuck nor a server that answers no ping holds up the keepalive.
func TestKeepAliveStalled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := connect(t, func(o *xmpp.Options) { o.KeepAlive = 8 * time.Second })
		started := time.Now()
		go s.Send(t.Context(), parse(t, "<presence/>"))
		if _, err := collectAll(s); !errors.Is(err, xmpp.ErrLost) || time.Since(started) > 8*time.Second {
			t.Errorf("%v after %s", err, time.Since(started))
		}
	})
	bubble(t, func(t *testing.T) {
		_, p := connect(t, func(o *xmpp.Options) { o.KeepAlive = time.Minute })
		go func() {
			for range 4 {
				time.Sleep(40 * time.Second)
				p.write(" ")
			}
			p.raw.Close()
		}()
		if e := p.next(); xmpp.Child(e, xmpp.NSPing, "ping") == nil {
			t.Errorf("%s", text(e))
		}
		if e := p.next(); e != nil {
			t.Errorf("%s, and the first is not answered", text(e))
		}
	})
}

// A connection is never idle for more than five minutes, so that a NAT does not forget it
// (RFC 6120, section 4.6.4).
func TestWhitespace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, p := connect(t, func(o *xmpp.Options) { o.KeepAlive = time.Minute })
		begun, started := time.Now(), time.Now()
		over := async(func() (bool, error) {
			for time.Since(begun) < 11*time.Minute && p.write("<message/>") {
				time.Sleep(10 * time.Second)
			}
			return true, nil
		})
		for range 2 {
			var b [16]byte
			n, err := p.conn.Read(b[:])
			if string(b[:n]) != " " || err != nil || time.Since(started) < 5*time.Minute || time.Since(started) > 5*time.Minute+15*time.Second {
				t.Errorf("%q, %v after %s", b[:n], err, time.Since(started))
			}
			started = time.Now()
		}
		<-over
	})
}
