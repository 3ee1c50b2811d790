package deliver

import (
	"time"

	"xmppkit/xmpp"
)

// A Message is one stanza to one recipient, and its state.
type Message struct {
	To     xmpp.JID
	Stanza *xmpp.Element
	Secret bool          // its id is random, and no other message has it
	Size   int           // in bytes, about
	First  int           // line of the input; 0 if it does not come from there
	Last   int           // line, if several lines are one message
	Grace  time.Duration // how long to wait for bounces after the confirmation

	number  int // in the order in which they came
	state   state
	lane    *lane // that has released it
	limited int   // how often a rate limit refused it
	sent    time.Time
	took    time.Duration     // until the confirmation or the receipt
	bounce  *bounce           // since the last write
	refusal *xmpp.StanzaError // why it is to be resent
}

// A bounce is a message of type error about one of ours.
type bounce struct {
	err   *xmpp.StanzaError
	by    xmpp.JID
	early bool // arrived before the confirmation
}

// A Fate is what is known of a message.
type Fate int

const (
	Unsent      Fate = iota // it has certainly not been sent
	Refused                 // temporarily refused, and not resent yet
	Unconfirmed             // it may or may not have been sent
	MayBounce               // accepted by the server; a bounce may still come
	Unreceived              // accepted by the server; its receipt may still come

	Accepted // accepted by the server, and no bounce came in time
	Received // its receipt has come
	Bounced  // refused, before the server confirmed that it processed it
	Returned // refused, after that or with it
	Overdue  // accepted, and no receipt came in time
)

// Fate returns what is known about the message. From Accepted on it is final.
func (m *Message) Fate() Fate { return m.state.fate() }

// ID returns the id of the stanza.
func (m *Message) ID() string { return xmpp.Attr(m.Stanza, "id") }

// Err returns why a message was refused, finally or temporarily.
func (m *Message) Err() *xmpp.StanzaError {
	if m.bounce != nil {
		return m.bounce.err
	}
	return m.refusal
}

// Took returns the time until the confirmation or the receipt.
func (m *Message) Took() time.Duration { return m.took }

// InOrder compares messages by their order in the input.
func InOrder(a, b *Message) int { return a.number - b.number }

func (m *Message) on(e event) { m.state = m.state.on(e) }

// isOpen reports whether a bounce or a receipt can belong to this message.
func (m *Message) isOpen() bool { return m.state.stage == written || m.state.stage == confirmed }
