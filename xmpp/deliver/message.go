package deliver

import (
	"time"

	"xmppkit/xmpp"
)

// A Message is one stanza to one recipient, and what became of it.
type Message struct {
	To     xmpp.JID
	Stanza *xmpp.Element
	Secret bool          // its id is random, and nobody else has it
	Size   int           // in bytes, about
	First  int           // line of the input; 0 where it is not from there
	Last   int           // line, where several are one message
	Grace  time.Duration // how long bounces are waited for after the confirmation

	number  int // in the order in which they came
	state   state
	lane    *lane // that has let it go
	limited int   // how often it was refused for the rate
	sent    time.Time
	took    time.Duration     // until it was confirmed, or its receipt came
	bounce  *bounce           // since it was written last
	refusal *xmpp.StanzaError // why it is to be sent again
}

// A bounce is what a message of type error says of one of ours.
type bounce struct {
	err   *xmpp.StanzaError
	by    xmpp.JID
	early bool // it came before the confirmation
}

// A Fate is what is known of a message.
type Fate int

const (
	Unsent      Fate = iota // it has certainly not been sent
	Refused                 // refused for now, and not sent again yet
	Unconfirmed             // it may or may not have been sent
	MayBounce               // accepted by the server; bounces are still waited for
	Unreceived              // accepted by the server; its receipt is still waited for

	Accepted // by the server, and no bounce has come in time
	Received // its receipt has come
	Bounced  // refused, before it was confirmed that the server processed it
	Returned // refused, after that or with it
	Overdue  // accepted, and no receipt has come in time
)

// Fate returns what is known of the message. From Accepted on it is final.
func (m *Message) Fate() Fate { return m.state.fate() }

// ID returns the id of the stanza.
func (m *Message) ID() string { return xmpp.Attr(m.Stanza, "id") }

// Err returns why a message was refused, be it for now.
func (m *Message) Err() *xmpp.StanzaError {
	if m.bounce != nil {
		return m.bounce.err
	}
	return m.refusal
}

// Took returns how long it took until the message was confirmed, or its receipt came.
func (m *Message) Took() time.Duration { return m.took }

// InOrder compares messages by when they came.
func InOrder(a, b *Message) int { return a.number - b.number }

func (m *Message) on(e event) { m.state = m.state.on(e) }

// isOpen reports whether a bounce or a receipt can be of this message.
func (m *Message) isOpen() bool { return m.state.stage == written || m.state.stage == confirmed }
