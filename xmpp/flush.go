package xmpp

import (
	"context"
	"errors"
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
