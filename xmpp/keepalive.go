package xmpp

import (
	"fmt"
	"time"
)

// whitespaceAfter is how long the connection is idle before a space is written, so that no
// NAT or proxy drops it (RFC 6120, section 4.6.4).
const whitespaceAfter = 5 * time.Minute

// keepAlive ends the session if the peer is dead: nothing has arrived for the given time,
// not even the answer to a ping (XEP-0199).
//
// It counts eighths of that time without a sign of life, so that a program that was
// stopped does not mistake its own pause for silence of the peer. The silence may have
// begun an eighth before the first count, so seven counts cover all of it.
func (s *Session) keepAlive(bound time.Duration) {
	ticker := time.NewTicker(bound / 8)
	defer ticker.Stop()
	pinging := make(chan struct{}, 1)
	for silent := 0; ; {
		select {
		case <-s.done:
			return
		case <-ticker.C:
		}
		if silent++; s.in.active.Swap(false) || s.isPaused() {
			silent = 0
		}
		switch silent {
		case 3:
			select {
			case pinging <- struct{}{}:
				s.o.trace("nothing received for a while: sending a ping")
				go func() {
					<-s.Ask(s.ctx, NewIQ("get", s.Server(), NewElement(NSPing, "ping"))) // any sign of life is an answer
					<-pinging
				}()
			default: // if the server answers none, one is enough
			}
		case 7:
			s.abort(fmt.Errorf("nothing received for %s", bound))
			return
		}
		s.keepOpen()
	}
}

// keepOpen writes a space if nothing was written for a while.
func (s *Session) keepOpen() {
	select {
	case s.writing <- struct{}{}:
	default:
		return // somebody is writing
	}
	defer func() { <-s.writing }()
	if !s.closed && time.Since(s.wrote) >= whitespaceAfter {
		_, _ = s.writeBytes(s.ctx, []byte(" ")) // if it fails, the session ends and reports it
	}
}
