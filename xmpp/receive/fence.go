package receive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

// A fence separates messages that the server stored before a listener started from
// later ones. It does not depend on the local clock.
//
// A server delivers stored messages at the first presence. It processes a stream in order
// (RFC 6120, section 10.1), so they all come before the answer to a ping after that
// presence. Prosody 0.12 and ejabberd 23.01 do this. In later sessions, and in the
// archive, the server's time decides (XEP-0202), which is requested just before the first
// presence.
type fence struct {
	mu      sync.Mutex
	crossed bool
	began   time.Time // by the clock of the server; zero if it does not say
}

// leavesOut reports whether a message was stored before the listener started, by the stamp
// of your server or account. Ejabberd 23.01 relays stamps that a sender forges in their
// name, but a sender can only hide its own message that way. A nil fence leaves out
// nothing.
func (f *fence) leavesOut(own xmpp.JID, message *xmpp.Element) bool {
	if f == nil {
		return false
	}
	when, stored := xep.StoredAt(own, message)
	f.mu.Lock()
	defer f.mu.Unlock()
	return stored && (!f.crossed || !when.IsZero() && when.Before(f.began))
}

// raise requests the server's time before the first session becomes available. Later
// sessions have crossed the fence if the time is known.
func (f *fence) raise(ctx context.Context, s *xmpp.Session) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	known := !f.began.IsZero()
	f.crossed = f.crossed || known
	f.mu.Unlock()
	if known {
		return nil
	}
	answer, err := s.IQ(ctx, xmpp.NewIQ("get", s.Server(), xmpp.NewElement(xep.NSTime, "time")))
	if _, refused := errors.AsType[*xmpp.StanzaError](err); err != nil && !refused {
		return fmt.Errorf("ask for the server's time: %w", err)
	}
	utc, _ := xmpp.Text(xmpp.Child(answer, xep.NSTime, "time"), xep.NSTime, "utc")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.began = xep.ParseTime(utc).Truncate(time.Second) // Prosody 0.12 stamps whole seconds
	return nil
}

// cross waits until all stored messages have arrived, in a session that has just become
// available.
func (f *fence) cross(ctx context.Context, s *xmpp.Session) {
	if f == nil {
		return
	}
	go func() {
		if err := s.Flush(ctx); err == nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.crossed = true
		}
	}()
}
