package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/files"
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
	// onePage is what is written at once also by a process that is just being killed.
	onePage = 4096
)

// A position is how far a listener has come in what arrives, and in the archive. That of
// a durable listener is kept in a file.
//
// The file is written over in place, by one write, each time that something was handed
// on: a process that is killed leaves it whole. Its end is that of the write before, so
// that there is nothing behind it.
type position struct {
	Format  int              `json:"format"`
	Account xmpp.JID         `json:"account"`
	Session *xmpp.Resumption `json:"session,omitempty"` // nil if it was closed, or cannot be resumed
	Start   string           `json:"start,omitempty"`   // what is known of the archive before anything was handed on
	Behind  bool             `json:"behind,omitempty"`  // the archive is still to be read, though the session may be resumed
	HasIDs  bool             `json:"has_ids"`           // the account announces nsSID: its ids can be trusted
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

// openPosition reads and locks the position of a durable listener. It is another
// listener's as long as that runs.
func (env *Env) openPosition(name string, account xmpp.JID) (*position, error) {
	file := env.stateFile("durable-"+name, account)
	if file == "" {
		return nil, exit.Configf("--state-dir or XDG_STATE_HOME", "--durable: there is no state directory")
	}
	p, err := openPositionFile(file, account.Bare())
	if errors.Is(err, files.ErrLocked) {
		return nil, &exit.Error{Code: exit.Temporary, Class: "config", Err: fmt.Errorf("--durable %s: another listener of that name is running", name)}
	}
	if err != nil {
		return nil, stateError(err)
	}
	return p, nil
}

func stateError(err error) error {
	return &exit.Error{Code: exit.Output, Class: "output", Err: fmt.Errorf("--durable: %w", err), Hint: files.Hint(err)}
}

func openPositionFile(file string, account xmpp.JID) (*position, error) {
	f, err := files.OpenState(file, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		if err = files.CreateState(file, newState(account)); err == nil {
			f, err = files.OpenState(file, os.O_RDWR)
		}
	}
	if err != nil {
		return nil, err
	}
	p, err := readPosition(f, account)
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

func readPosition(f *os.File, account xmpp.JID) (*position, error) {
	if err := files.Lock(f); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPosition))
	if err != nil {
		return nil, err
	}
	p, err := parsePosition(b, account)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (remove it to start over)", f.Name(), err)
	}
	p.file, p.size = f, len(b)
	return p, nil
}

// maxPosition bounds the file; a server's ids are the larger part of it.
const maxPosition = 1 << 20

// parsePosition reads the file of a durable listener. One that is broken, or empty, is an
// error: to begin anew would be to lose what came in between.
func parsePosition(b []byte, account xmpp.JID) (*position, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, errors.New("it is empty")
	}
	p := &position{seen: make(map[string]bool)}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, err
	}
	if p.Format != positionFormat || p.Account != account {
		return nil, errors.New("it is not of this program, or not of this account")
	}
	if p.Session != nil && (p.Session.JID.Domain != account.Domain || p.Session.ID == "") {
		return nil, errors.New("its session is not one of this account")
	}
	if p.Time.IsZero() && p.Start == "" {
		p.Start = startNew
	}
	for _, id := range p.IDs {
		p.seen[id] = true
	}
	return p, nil
}

// newState is what the file of a durable listener says at first.
func newState(account xmpp.JID) []byte {
	p := newPosition(account)
	p.Start = startNew
	b, _ := json.Marshal(p) // of nothing that cannot be in JSON
	return append(b, '\n')
}

func newPosition(account xmpp.JID) *position {
	return &position{Format: positionFormat, Account: account.Bare(), IDs: []string{}, seen: make(map[string]bool)}
}

// isNew reports whether it is to be asked yet where the archive ends.
func (p *position) isNew() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Start == startNew
}

// settle notes where the archive ended at the first start: at a message, or what else there
// was. It is in the file when this returns, whatever happens then.
func (p *position) settle(after, start string) error {
	p.mu.Lock()
	p.After, p.Start, p.Time, p.fresh = after, start, time.Now().UTC(), true
	p.Behind = start != startNone
	p.mu.Unlock()
	if err := p.save(p.Session); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return stateError(err)
	}
	return nil
}

// isFresh reports whether this process has asked where the archive ends, and has not read it
// since.
func (p *position) isFresh() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fresh
}

// pass makes final that messages were handed on, or were none to be.
func (p *position) pass(ids []string) {
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
func (p *position) begin(resumed bool) bool {
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
func (p *position) caughtUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Behind, p.fresh = false, false
}

// trust notes whether the ids of the account can be trusted.
func (p *position) trust(ids bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.HasIDs = ids
}

// last returns the id after which the archive is to be read, which repeats a little, or ""
// and the time to read it from, zero for all of it.
func (p *position) last() (after string, start time.Time) {
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
func (p *position) forget() (start time.Time) {
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
func (p *position) has(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[id]
}

// mark notes that a message has been handed on, which pass makes final.
func (p *position) mark(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[id] = true
}

// tail returns the last ids, at most so many, and what they begin behind.
func (p *position) tail(most int) (after string, ids []string) {
	if n := len(p.IDs) - most; n > 0 {
		return p.IDs[n-1], p.IDs[n:]
	}
	return p.After, p.IDs
}

// save notes the session that can be resumed, nil for none, and writes the position if
// it has a file.
func (p *position) save(session *xmpp.Resumption) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Session = session
	if p.file == nil {
		return nil
	}
	kept := struct {
		*position
		After string   `json:"after"`
		IDs   []string `json:"ids"`
	}{position: p}
	var b []byte
	for n := keptIDs; ; n /= 2 {
		kept.After, kept.IDs = p.tail(n)
		var err error
		if b, err = json.Marshal(kept); err != nil {
			return stateError(err)
		}
		if b = append(b, '\n'); len(b) <= onePage || n <= 1 {
			break
		}
	}
	if n := p.size - len(b); n > 0 {
		b = slices.Insert(b, len(b)-1, []byte(strings.Repeat(" ", n))...)
	}
	if len(b) > maxPosition { // nobody could read it again
		return stateError(fmt.Errorf("%s: too many unacknowledged messages: their ids take %d bytes", p.file.Name(), len(b)))
	}
	if _, err := p.file.WriteAt(b, 0); err != nil {
		return stateError(err)
	}
	p.size = len(b)
	return nil
}

// close gives the position back to the next listener.
func (p *position) close() {
	if p.file != nil {
		_ = p.file.Sync() // against a power failure; what is there has been written
		p.file.Close()
	}
}

// durableName reports whether a name can be a part of one of a file.
func durableName(s string) bool {
	return len(s) <= 64 && s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == "" && s[0] != '.' && s[0] != '-'
}
