package xmpp

import (
	"context"
	"errors"
	"time"
)

// Flush writes elements and waits until the server has processed them, that is, until it
// has answered a ping after them with a result or an error. By then its bounces have
// arrived.
func (s *Session) Flush(ctx context.Context, elements ...*Element) error {
	_, err := s.Ping(ctx, s.Server(), elements...)
	if _, answered := errors.AsType[*StanzaError](err); answered {
		return nil
	}
	return err
}

// RemoteGrace is how long to wait for a bounce from another server.
const RemoteGrace = 500 * time.Millisecond

// Bounced reports whether a stanza is a bounce of what this session sent, with an id that
// NewID made for this stanza alone.
func (s *Session) Bounced(stanza *Element, to JID, id string) bool {
	from, err := s.From(stanza)
	return err == nil && Attr(stanza, "type") == "error" && Answers(from, to, s.jid, Attr(stanza, "id") == id)
}
