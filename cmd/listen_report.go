package cmd

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/receive"
	"xmppkit/xmpp/xep"
)

// tell reports an event of the engine to the user.
func (l *listener) tell(e receive.Event) {
	switch e.Kind {
	case receive.Open:
		l.clocks.start(l.clocks.limits.each)
	case receive.Listening:
		l.clocks.restart() // the time is not over
		if l.watch != nil {
			l.watch.begin()
		}
	case receive.Retry:
		l.env.trace("%v; trying again in %s", e.Err, e.Wait.Round(time.Millisecond))
		l.clocks.limits = l.clocks.limits.again()
		l.handler.each = l.clocks.limits.each
	case receive.Away:
		l.env.warn("%v; trying again", e.Err)
	case receive.Back:
		l.env.warn("%s: reconnected", e.Account)
	case receive.Missed:
		l.env.warn("%s: reconnected, but the server has no archive: messages that it did not store in the meantime are lost", e.Account)
	case receive.Forgotten:
		l.env.warn("%s: the archive no longer has message %s: unread messages from before %s are lost", e.Account, quote(e.ID), e.Before.Format(time.RFC3339))
	case receive.Unreadable:
		l.env.warn("%s: skipped message %s of the archive: it cannot be read", e.Account, quote(e.ID))
	case receive.Oversized:
		from, _ := xmpp.Sender(e.Stanza, e.Account)
		if l.want.kind(e.Stanza) && l.want.wanted(from) {
			l.env.warnSkipped(e.Account, e.Stanza, e.Err)
		}
	}
}

// outcome turns the reason why listening ended into the error of the command.
func (l *listener) outcome(ctx context.Context, r *receive.Receiver, err error) error {
	trouble, away := r.Away()
	write, written := errors.AsType[*output.WriteError](err)
	switch {
	case err == nil, errors.Is(err, errReaderGone), ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil
	case written && errors.Is(write, syscall.EPIPE):
		return nil
	case errors.Is(err, errElapsed) && away && trouble != nil:
		return trouble
	case errors.Is(err, errElapsed) && away:
		return notReady(err)
	case errors.Is(err, errElapsed) && l.count > 0:
		return exit.Negative(fmt.Sprintf("timed out: %d of %d results arrived", l.printed, l.count))
	case errors.Is(err, errElapsed):
		return nil
	}
	return receiveError(err)
}

// notReady is the error of a session whose time is over before the server has answered its
// first requests.
func notReady(err error) error {
	return &exit.Error{Code: exit.Temporary, Class: "timeout", Err: err, Hint: "the server does not answer: try again"}
}

// receiveError adds a hint to an error of the engine. Here item-not-found is about the
// archive, not about a recipient.
func receiveError(err error) error {
	if _, ok := errors.AsType[*receive.PositionError](err); ok {
		return positionError(err)
	}
	archive, ok := errors.AsType[*xep.ArchiveError](err)
	if !ok {
		return err
	}
	if archive.Err == xep.ErrEndless {
		return &exit.Error{Code: exit.Protocol, Class: "stanza", Err: err, Hint: "the archive of the server is broken: tell its administrator"}
	}
	if e, ok := errors.AsType[*xmpp.StanzaError](archive); ok && e.Condition == xmpp.ItemNotFound {
		return &exit.Error{
			Code: exit.Unavailable, Class: "stanza", Err: err,
			Hint: "the server announces an archive but cannot find it: ask its administrator",
		}
	}
	return err
}

// isPassing reports whether another session may succeed after one that ended with err.
// The server was reachable before.
func isPassing(ctx context.Context, err error) bool {
	switch e := classify(ctx, err); e.Class {
	case "dns":
		return true
	case "connect", "stream", "timeout", "auth", "stanza", "tls":
		return e.Code == exit.Temporary || e.Code == exit.Timeout
	}
	return false
}
