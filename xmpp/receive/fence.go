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

// A fence tells the messages that the server had stored before a listener began from
// those that came after. No clock of ours has a say in it.
//
// A server delivers what it has stored at the first presence. As it works a stream off in
// order (RFC 6120, section 10.1), all of that comes before the answer to a ping that
// follows the presence: so it is with Prosody 0.12 and ejabberd 23.01. In later sessions,
// and in the archive, the server's time tells (XEP-0202): it is asked for just before the
// first presence.
type fence struct {
	mu      sync.Mutex
	crossed bool
	began   time.Time // by the clock of the server; zero if it does not say
}

// leavesOut reports whether a message was stored before the listener began, as the own
// server or account says. Ejabberd 23.01 relays what a sender makes up in their name: with
// an old stamp of that kind it hides its own message, and no other. A fence that is nil
// leaves out nothing.
func (f *fence) leavesOut(own xmpp.JID, message *xmpp.Element) bool {
	if f == nil {
		return false
	}
	when, stored := xep.StoredAt(own, message)
	f.mu.Lock()
	defer f.mu.Unlock()
	return stored && (!f.crossed || !when.IsZero() && when.Before(f.began))
}

// raise asks for the server's time before the first session becomes available. A later
// one has crossed the fence where that is known.
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

// cross waits meanwhile until all that was stored is here, in a session that has just
// become available.
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
