package deliver

// A state is how far a message has come, and what has happened to it. It is a value; only
// the function on computes a new one.
type state struct {
	stage   stage
	past    past
	receipt bool // a receipt is asked for
}

type stage int

const (
	pending   stage = iota // waits to be written, or to be written again
	written                // or about to be
	confirmed              // the server has processed it; a bounce or a receipt may come

	accepted // settled: no bounce came in time
	received // settled: by its receipt
	bounced  // settled: refused, and the session ended without a confirmation
	returned // settled: refused
	overdue  // settled: no receipt came in time
)

// A past is what is known about a pending message.
type past int

const (
	fresh    past = iota // no server has it
	refused              // it was temporarily refused
	doubtful             // a lost session may have delivered it
)

// An event is what happens to a message.
type event int

const (
	launch  event = iota // it is about to be written
	spare                // its session has ended and certainly not delivered it
	lose                 // its session has ended and cannot be resumed
	confirm              // the ping after it was answered
	putOff               // a temporary bounce: the message is to be resent
	refuse               // a final bounce
	receive              // its receipt has come
	silence              // there is nothing more to wait for
)

// on returns the state after an event. An event that does not apply to a state changes
// nothing.
func (s state) on(e event) state {
	open := s.stage == written || s.stage == confirmed
	switch {
	case e == launch && s.stage == pending:
		s.stage = written
	case e == spare && s.stage == written:
		s.stage = pending
	case e == lose && s.stage == written:
		s.stage, s.past = pending, doubtful
	case e == confirm && s.stage == written:
		s.stage = confirmed
	case e == putOff && open:
		s.stage, s.past = pending, max(s.past, refused)
	case e == refuse && s.stage == written:
		s.stage = bounced
	case e == refuse && s.stage == confirmed:
		s.stage = returned
	case e == receive && open:
		s.stage = received
	case e == silence && s.stage == confirmed && s.receipt:
		s.stage = overdue
	case e == silence && s.stage == confirmed:
		s.stage = accepted
	}
	return s
}

// fate returns what is known in the state.
func (s state) fate() Fate {
	switch s.stage {
	case pending:
		return [...]Fate{fresh: Unsent, refused: Refused, doubtful: Unconfirmed}[s.past]
	case written:
		return Unconfirmed
	case confirmed:
		if s.receipt {
			return Unreceived
		}
		return MayBounce
	}
	return [...]Fate{accepted: Accepted, received: Received, bounced: Bounced, returned: Returned, overdue: Overdue}[s.stage]
}
