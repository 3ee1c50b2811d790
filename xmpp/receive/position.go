package receive

import (
	"os"
	"sync"
	"time"

	"xmppkit/xmpp"
)

const (
	// manyIDs is how many handled messages are remembered, to detect repetitions.
	manyIDs = 1000
	// keptIDs is how many of them are kept in the file. The archive may order that many
	// messages differently from their arrival, so it is read from the first of them on.
	keptIDs = 32
	// longID is the length limit of stored ids. A server with longer ids repeats more
	// messages.
	longID = 1000
)

// A Position is how far a listener has come, live and in the archive. The position of a
// durable listener is kept in a file.
type Position struct {
	Format  int              `json:"format"`
	Account xmpp.JID         `json:"account"`
	Session *xmpp.Resumption `json:"session,omitempty"` // nil if it was closed, or cannot be resumed
	Start   string           `json:"start,omitempty"`   // the state of the archive before anything was handled
	CatchUp bool             `json:"behind,omitempty"`  // the archive still has to be read, even if the session is resumed
	HasIDs  bool             `json:"has_ids"`           // the account announces xep.NSStanzaID: its ids can be trusted
	After   string           `json:"after"`             // the id in the archive that IDs begins after, "" if there is none or it is not known
	IDs     []string         `json:"ids"`               // of the last handled messages, oldest first
	Time    time.Time        `json:"time"`              // when that was, or when the first listener began; not later than what is to catch up with

	seen  map[string]bool
	fresh bool // this process has found the end of the archive, and not read it since
	file  *os.File
	size  int // of what the file holds

	mu sync.Mutex
}

const positionFormat = 1

// The state of the archive at the first start of a durable listener, if it had no last
// message.
const (
	startNew   = "new"   // not queried yet
	startEmpty = "empty" // empty: everything in it came later
	startNone  = "none"  // there was no archive
)

// NewPosition returns the position of a listener that starts now and is not durable.
func NewPosition(account xmpp.JID) *Position {
	return &Position{Format: positionFormat, Account: account.Bare(), IDs: []string{}, seen: make(map[string]bool)}
}

// isNew reports whether the end of the archive is still unknown.
func (p *Position) isNew() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Start == startNew
}

// settle notes the end of the archive at the first start. It saves it to the file before it
// returns.
func (p *Position) settle(after, start string) error {
	p.mu.Lock()
	p.After, p.Start, p.Time, p.fresh = after, start, time.Now().UTC(), true
	p.CatchUp = start != startNone
	p.mu.Unlock()
	if err := p.save(p.Session); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return &PositionError{err}
	}
	return nil
}

// isFresh reports whether this process has found the end of the archive, and has not read it
// since.
func (p *Position) isFresh() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fresh
}

// pass notes messages as done: handled, or dropped.
func (p *Position) pass(ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.CatchUp { // otherwise older messages may not have been handled yet
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

// begin reports whether to catch up: there was an earlier listener, and its session is
// not resumed or it had not caught up itself. Messages since this process found the end
// of the archive were stored for it; it reads the archive later.
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
	p.CatchUp = p.CatchUp || !resumed
	return p.CatchUp
}

// caughtUp notes that from here on all messages arrive live.
func (p *Position) caughtUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.CatchUp, p.fresh = false, false
}

// trust notes whether the ids of the account can be trusted.
func (p *Position) trust(ids bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.HasIDs = ids
}

// last returns the id after which to read the archive, which repeats a few messages.
// Without an id it returns "" and the time to start from, zero for the whole archive.
func (p *Position) last() (after string, start time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	after, ids := p.tail(keptIDs)
	if p.fresh { // messages handled since may be older
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

// forget drops the ids to read from, which the archive no longer has, and returns the
// time to read from. This process still recognises them when they come again.
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

// has reports whether a message has been handled.
func (p *Position) has(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[id]
}

// mark notes a message as handled; pass makes that final.
func (p *Position) mark(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[id] = true
}

// tail returns the last ids, at most that many, and the id before them.
func (p *Position) tail(most int) (after string, ids []string) {
	if n := len(p.IDs) - most; n > 0 {
		return p.IDs[n-1], p.IDs[n:]
	}
	return p.After, p.IDs
}
