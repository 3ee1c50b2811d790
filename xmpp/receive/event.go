package receive

import (
	"time"

	"xmppkit/xmpp"
)

// An Event is news for the user that is not a stanza.
type Event struct {
	Kind    Kind
	Account xmpp.JID
	Err     error         // of Retry, Away and Oversized
	Wait    time.Duration // of Retry
	Stanza  *xmpp.Element // of Oversized: what is left of it
	ID      string        // of Forgotten and Unreadable: of a message in the archive
	Before  time.Time     // of Forgotten
}

// A Kind is what an Event is about.
type Kind int

const (
	Open       Kind = iota // the first session is open
	Listening              // a session works: from here on, stanzas are passed on
	Retry                  // a session has ended by Err, and the next is tried after Wait
	Away                   // Err has kept it away for Options.Patience
	Back                   // the trouble of Away is over
	Missed                 // messages that came while it was away are lost: there is no archive
	Forgotten              // messages from before Before are lost: the archive no longer has ID
	Unreadable             // the message ID of the archive was skipped
	Oversized              // Stanza was skipped: Err is the limit that it exceeds
)

// A PositionError is the failure to save the position to its file.
type PositionError struct{ Err error }

func (e *PositionError) Error() string { return e.Err.Error() }
func (e *PositionError) Unwrap() error { return e.Err }
