package receive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"xmppkit/xmpp"
)

// The file of a position is overwritten in place, with one write, each time messages were
// handled. A process that is killed leaves it whole. The new text is padded to the length of the
// previous one, so that nothing of it remains.
const (
	// maxPosition limits its size; most of it is the server's ids.
	maxPosition = 1 << 20
	// onePage is how much one write stores as a whole, even if the process is killed.
	onePage = 4096
)

// ReadPosition reads the position of a durable listener from its file. Nobody else may have
// the file open. Close closes it.
func ReadPosition(f *os.File, account xmpp.JID) (*Position, error) {
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

// parsePosition parses the file of a durable listener. A broken or empty file is an
// error: starting over would lose messages.
func parsePosition(b []byte, account xmpp.JID) (*Position, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, errors.New("it is empty")
	}
	p := &Position{seen: make(map[string]bool)}
	if json.Unmarshal(b, p) != nil {
		return nil, errors.New("it is damaged")
	}
	if p.Format != positionFormat || p.Account != account {
		return nil, errors.New("it belongs to another program or another account")
	}
	if p.Session != nil && (p.Session.JID.Domain != account.Domain || p.Session.ID == "") {
		return nil, errors.New("its session is not one of this account")
	}
	texts := append([]string{p.After}, p.IDs...)
	if p.Session != nil {
		texts = append(texts, p.Session.ID, p.Session.JID.Resource)
	}
	if err := xmpp.CheckText(strings.Join(texts, " ")); err != nil { // no server sent it
		return nil, errors.New("it is damaged: it has a character that XML cannot carry")
	}
	if p.Time.IsZero() && p.Start == "" {
		p.Start = startNew
	}
	for _, id := range p.IDs {
		p.seen[id] = true
	}
	return p, nil
}

// NewFile returns the initial contents of the file of a durable listener.
func NewFile(account xmpp.JID) []byte {
	p := NewPosition(account)
	p.Start = startNew
	b, _ := json.Marshal(p) // of nothing that cannot be in JSON
	return append(b, '\n')
}

// save notes the session to resume, or nil, and writes the position if it has a file.
func (p *Position) save(session *xmpp.Resumption) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Session = session
	if p.file == nil {
		return nil
	}
	kept := struct {
		*Position
		After string   `json:"after"`
		IDs   []string `json:"ids"`
	}{Position: p}
	var b []byte
	for n := keptIDs; ; n /= 2 {
		kept.After, kept.IDs = p.tail(n)
		var err error
		if b, err = json.Marshal(kept); err != nil {
			return &PositionError{err}
		}
		if b = append(b, '\n'); len(b) <= onePage || n <= 1 {
			break
		}
	}
	if n := p.size - len(b); n > 0 {
		b = slices.Insert(b, len(b)-1, []byte(strings.Repeat(" ", n))...)
	}
	if len(b) > maxPosition { // nobody could read it again
		return &PositionError{fmt.Errorf("%s: too many unacked messages: their ids take %d bytes", p.file.Name(), len(b))}
	}
	if _, err := p.file.WriteAt(b, 0); err != nil {
		return &PositionError{err}
	}
	p.size = len(b)
	return nil
}

// Close gives the position back to the next listener.
func (p *Position) Close() {
	if p.file != nil {
		_ = p.file.Sync() // against a power failure; the data has been written
		p.file.Close()
	}
}
