package receive

import (
	"os"
	"sync"
	"time"

	"xmppkit/xmpp"
)

const (
	// manyIDs is how many of the messages that were handed on are remembered, to know
	// them when they come again.
	manyIDs = 1000
	// keptIDs is how many of them are kept in a file. As many may be in another order
	// in the archive than they arrived in, so it is read from the first of these on.
	keptIDs = 32
	// longID is how many bytes of an id are kept. A server with longer ones repeats more.
	longID = 1000
)

// A Position is how far a listener has come in what arrives, and in the archive. That of
// a durable listener is kept in a file.
type Position struct {
	Format  int              `json:"format"`
	Account xmpp.JID         `json:"account"`
	Session *xmpp.Resumption `json:"session,omitempty"` // nil if it was closed, or cannot be resumed
	Start   string           `json:"start,omitempty"`   // what is known of the archive before anything was handed on
	Behind  bool             `json:"behind,omitempty"`  // the archive is still to be read, though the session may be resumed
	HasIDs  bool             `json:"has_ids"`           // the account announces xep.NSStanzaID: its ids can be trusted
	After   string           `json:"after"`             // the id in the archive that IDs begins after, "" if there is none or it is not known
	IDs     []string         `json:"ids"`               // of the last messages that were handed on, oldest first
	Time    time.Time        `json:"time"`              // when that was, or when the first listener began; not later than what is Behind

	seen  map[string]bool
	fresh bool // this process has asked where the archive ends, and not read it since
	file  *os.File
	size  int // of what the file holds

	mu sync.Mutex
}

const positionFormat = 1

// The archive at the first start of a durable listener, where it had no last message.
const (
	startNew   = "new"   // it was not asked yet
	startEmpty = "empty" // all that is in it came later
	startNone  = "none"  // there was no archive
)

// NewPosition is that of a listener that begins now and is not durable.
func NewPosition(account xmpp.JID) *Position {
	return &Position{Format: positionFormat, Account: account.Bare(), IDs: []string{}, seen: make(map[string]bool)}
}

// isNew reports whether it is to be asked yet where the archive ends.
func (p *Position) isNew() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Start == startNew
}

// settle notes where the archive ended at the first start: at a message, or what else there
// was. It is in the file when this returns, whatever happens then.
func (p *Position) settle(after, start string) error {
	p.mu.Lock()
	p.After, p.Start, p.Time, p.fresh = after, start, time.Now().UTC(), true
	p.Behind = start != startNone
	p.mu.Unlock()
	if err := p.save(p.Session); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return &PositionError{err}
	}
	return nil
}

// isFresh reports whether this process has asked where the archive ends, and has not read it
// since.
func (p *Position) isFresh() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fresh
}

// pass makes final that messages were handed on, or were none to be.
func (p *Position) pass(ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.Behind { // else there may be older ones that were not handed on
		p.Time = time.Now().UTC()
	}
	for _, id := range ids {
		if len(id) > longID {
			continue
		}
		if p.IDs = append(p.IDs, id); len(p.IDs) > manyIDs {
			delete(p.seen, p.IDs[0])
			p.After, p.IDs = p.IDs[0], p.IDs[1:]
		}
	}
}

// begin reports whether there is something to catch up with: whether a listener was here
// before, and the session is not the one that it had, or it did not get that far itself.
// What came since this process asked where the archive ends was stored for it; it looks
// into the archive later.
func (p *Position) begin(resumed bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fresh {
		return false
	}
	if p.Time.IsZero() {
		p.Time = time.Now().UTC()
		return false
	}
	p.Behind = p.Behind || !resumed
	return p.Behind
}

// caughtUp notes that from here on all arrives by itself.
func (p *Position) caughtUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Behind, p.fresh = false, false
}

// trust notes whether the ids of the account can be trusted.
func (p *Position) trust(ids bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.HasIDs = ids
}

// last returns the id after which the archive is to be read, which repeats a little, or ""
// and the time to read it from, zero for all of it.
func (p *Position) last() (after string, start time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	after, ids := p.tail(keptIDs)
	if p.fresh { // what was handed on since may be older
		after = p.After
	}
	switch {
	case after != "":
		return after, time.Time{}
	case p.Start == startEmpty:
		return "", time.Time{}
	case len(ids) > 0:
		return ids[0], time.Time{}
	}
	return "", p.Time.Add(-clockSkew)
}

// forget drops the ids to read the archive from, as it does not have them any more, and
// returns the time to read it from. This process still knows them when they come again.
func (p *Position) forget() (start time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.seen)
	for _, id := range p.IDs {
		p.seen[id] = true
	}
	p.After, p.IDs = "", []string{}
	return p.Time.Add(-clockSkew)
}

// has reports whether a message has been handed on.
func (p *Position) has(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[id]
}

// mark notes that a message has been handed on, which pass makes final.
func (p *Position) mark(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[id] = true
}

// tail returns the last ids, at most so many, and what they begin behind.
func (p *Position) tail(most int) (after string, ids []string) {
	if n := len(p.IDs) - most; n > 0 {
		return p.IDs[n-1], p.IDs[n:]
	}
	return p.After, p.IDs
}
