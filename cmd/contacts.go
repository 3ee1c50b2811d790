package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"xmppkit/cmd/files"
	"xmppkit/xmpp"
)

// A rosterFile is the roster of an account as it is kept in the state directory.
type rosterFile struct {
	Format   int            `json:"format"`
	Account  xmpp.JID       `json:"account"`
	Version  string         `json:"version"`
	Contacts []xmpp.Contact `json:"contacts"`
}

const rosterFormat = 1

// cachedRoster returns the roster that was kept, or nil. A file that is missing,
// broken, of another format or about another account is the same as none.
func (env *Env) cachedRoster(account xmpp.JID) *xmpp.Roster {
	name := env.stateFile("roster", account)
	if name == "" {
		return nil
	}
	b, err := files.ReadState(name)
	if err == nil && b == nil {
		return nil
	}
	var r *xmpp.Roster
	if err == nil {
		r, err = parseRoster(b, account.Bare())
	}
	if err != nil {
		env.trace("ignoring %s: %v", name, err)
	}
	return r
}

func parseRoster(b []byte, account xmpp.JID) (*xmpp.Roster, error) {
	var f rosterFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if f.Format != rosterFormat || f.Account != account || f.Version == "" {
		return nil, errors.New("it is not of this program, or not of this account")
	}
	r := &xmpp.Roster{Account: account, Version: f.Version, Contacts: make(map[xmpp.JID]xmpp.Contact, len(f.Contacts))}
	for _, c := range f.Contacts {
		switch c.Subscription {
		case "none", "to", "from", "both":
		default:
			return nil, fmt.Errorf("%q is no subscription", c.Subscription)
		}
		if _, twice := r.Contacts[c.JID]; twice || c.JID.IsZero() {
			return nil, fmt.Errorf("the contact %q is there twice, or is none", c.JID)
		}
		r.Contacts[c.JID] = c
	}
	return r, nil
}

// keepRoster keeps a roster for the next time, if it is not what was known before and
// not empty. Without it the next time works as well.
func (env *Env) keepRoster(account xmpp.JID, r, known *xmpp.Roster) {
	name := env.stateFile("roster", account)
	if name == "" || r.Version == "" || known != nil && known.Version == r.Version {
		return
	}
	if len(r.Contacts) == 0 {
		_ = os.Remove(name) // if there is one, what it says is over
		return
	}
	b, err := json.Marshal(rosterFile{rosterFormat, account.Bare(), r.Version, r.Sorted()})
	if err == nil {
		err = files.WriteState(name, b)
	}
	if err != nil {
		env.trace("could not save the roster: %v", err)
	}
}

// cachedContacts returns the contacts of the roster that was kept, for completion: it
// connects to nothing.
func (env *Env) cachedContacts(account xmpp.JID) []xmpp.Contact {
	r := env.cachedRoster(account)
	if r == nil {
		return nil
	}
	return r.Sorted()
}
