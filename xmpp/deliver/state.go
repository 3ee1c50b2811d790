package deliver

// A state is how far a message has come, and what it has been through. It is a value: on is
// the one function that says what comes of it.
type state struct {
	stage   stage
	past    past
	receipt bool // a receipt is asked for
}

type stage int

const (
	pending   stage = iota // waits to be written, be it again
	written                // or about to be
	confirmed              // the server has processed it; a bounce or a receipt may come

	accepted // settled: no bounce has come in time
	received // settled: by its receipt
	bounced  // settled: refused, and the session ended without a confirmation
	returned // settled: refused
	overdue  // settled: no receipt has come in time
)

// A past is the most that is to be said of a pending message.
type past int

const (
	fresh    past = iota // no server has it
	refused              // it was refused for now
	doubtful             // a session that was lost may have brought it
)

// An event is what happens to a message.
type event int

const (
	launch  event = iota // it is about to be written
	spare                // its session has ended and certainly not brought it
	lose                 // its session has ended and cannot be resumed
	confirm              // the ping behind it was answered
	putOff               // a bounce that may not be the last word: it is to be sent again
	refuse               // a bounce that is
	receive              // its receipt has come
	silence              // nothing is waited for any more
)

// on returns the state after an event. One that comes too late or too early to say anything
// changes nothing.
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

// fate is what is known in the state.
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
