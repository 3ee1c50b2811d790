package xmpp

import (
	"context"
	"errors"
	"time"
)

// Flush writes elements and waits until the server has processed them: a ping after them
// was answered, by a result or an error, and so its bounces of them have arrived.
func (s *Session) Flush(ctx context.Context, elements ...*Element) error {
	_, err := s.Ping(ctx, s.Server(), elements...)
	if _, answered := errors.AsType[*StanzaError](err); answered {
		return nil
	}
	return err
}

// RemoteGrace is how long a bounce from another server is waited for.
const RemoteGrace = 500 * time.Millisecond

// Bounced reports whether a stanza is the error of what this session sent to somebody with
// an id, which was made by NewID for that alone.
func (s *Session) Bounced(stanza *Element, to JID, id string) bool {
	from, err := s.From(stanza)
	return err == nil && Attr(stanza, "type") == "error" && Answers(from, to, s.jid, Attr(stanza, "id") == id)
}
