package cmd

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/files"
	"xmppkit/xmpp"
)

// stateFile is the file for "login", the record of an account's logins, or for its
// "roster"; "" if there is no state directory.
func (env *Env) stateFile(what string, account xmpp.JID) string {
	dir := env.flags.stateDir
	if env.flags.noCache {
		return ""
	}
	// For a service of systemd it is the first in a list (systemd.exec(5)).
	if first, _, _ := strings.Cut(env.Getenv("STATE_DIRECTORY"), ":"); dir == "" && filepath.IsAbs(first) {
		dir = filepath.Join(first, "xmppkit")
	}
	if dir == "" {
		base := env.Getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(base) { // XDG Base Directory Specification: ignore it
			base = filepath.Join(env.Getenv("HOME"), ".local", "state")
		}
		if !filepath.IsAbs(base) { // there is no home
			return ""
		}
		dir = filepath.Join(base, "xmppkit")
	}
	sum := sha256.Sum256([]byte(account.Bare().String()))
	return filepath.Join(dir, what+"-"+hex.EncodeToString(sum[:8])+".json")
}

// remember fills in the record of earlier logins. If the record cannot be read, it assumes
// that the account has logged in with something better than PLAIN: a damaged file allows
// nothing.
func (env *Env) remember(o *xmpp.Options) (before xmpp.Memory, err error) {
	file := env.stateFile("login", o.JID)
	if file == "" {
		return before, nil
	}
	before, err = readMemory(file)
	*o.Memory = before
	if err != nil {
		env.trace("cannot use the record of earlier logins: %v", err)
		o.Memory.NoPlain = true
	}
	return before, err
}

// readMemory reads the record of logins; it is empty if there is no file.
func readMemory(file string) (xmpp.Memory, error) {
	b, err := files.ReadState(file)
	if b == nil || err != nil {
		return xmpp.Memory{}, err
	}
	m, err := parseMemory(b)
	if err != nil {
		return m, fmt.Errorf("%s is damaged: %w", file, err)
	}
	return m, nil
}

// parseMemory parses the record of logins.
func parseMemory(b []byte) (xmpp.Memory, error) {
	var all struct {
		NoPlain   *bool `json:"no_plain"`
		TLSUnique *bool `json:"tls_unique"`
	}
	if json.Unmarshal(b, &all) != nil {
		return xmpp.Memory{}, errors.New("it cannot be parsed")
	}
	if all.NoPlain == nil || all.TLSUnique == nil {
		return xmpp.Memory{}, errors.New("it is incomplete")
	}
	return xmpp.Memory{NoPlain: *all.NoPlain, TLSUnique: *all.TLSUnique}, nil
}

// plainUnknown is the error of a login that could only use PLAIN, if the record of earlier
// logins is unreadable.
func plainUnknown(file string, memory error) error {
	hint := cmp.Or(files.Hint(memory), "if this server never offered anything better than PLAIN: rm "+files.ShellQuote(file))
	if errors.Is(memory, fs.ErrPermission) {
		hint = "use your own directory with --state-dir"
	}
	return &exit.Error{Code: exit.NotAllowed, Class: "auth", Hint: hint,
		Err: fmt.Errorf("login: the server offers nothing better than PLAIN, and whether it did before is unknown: %w", memory)}
}

// store saves the record of the login. The next login also works without it, so a
// failure only appears in the trace.
func (env *Env) store(o xmpp.Options, before xmpp.Memory) {
	file := env.stateFile("login", o.JID)
	if file == "" || *o.Memory == before {
		return
	}
	kept := *o.Memory
	if now, err := readMemory(file); err == nil { // another process may have logged in with something better
		kept.NoPlain = kept.NoPlain || now.NoPlain
	}
	b, err := json.Marshal(kept)
	if err == nil {
		err = files.WriteState(file, b)
	}
	if err != nil {
		env.trace("could not save this login: %v", err)
	}
}

// A rosterFile is the cached roster of an account in the state directory.
type rosterFile struct {
	Format   int            `json:"format"`
	Account  xmpp.JID       `json:"account"`
	Version  string         `json:"version"`
	Contacts []xmpp.Contact `json:"contacts"`
}

const rosterFormat = 1

// cachedRoster returns the cached roster, or nil if the file is missing, broken, of
// another format or for another account.
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
	if json.Unmarshal(b, &f) != nil {
		return nil, errors.New("it is damaged")
	}
	if f.Format != rosterFormat || f.Account != account || f.Version == "" {
		return nil, errors.New("it belongs to another program or another account")
	}
	r := &xmpp.Roster{Account: account, Version: f.Version, Contacts: make(map[xmpp.JID]xmpp.Contact, len(f.Contacts))}
	texts := []string{f.Version}
	for _, c := range f.Contacts {
		switch c.Subscription {
		case "none", "to", "from", "both":
		default:
			return nil, fmt.Errorf("%q is not a subscription", c.Subscription)
		}
		if _, twice := r.Contacts[c.JID]; twice || c.JID.IsZero() {
			return nil, fmt.Errorf("the contact %q is listed twice, or is malformed", c.JID)
		}
		texts = append(append(texts, c.JID.String(), c.Name), c.Groups...)
		r.Contacts[c.JID] = c
	}
	if xmpp.CheckText(strings.Join(texts, " ")) != nil { // no server sent it
		return nil, errors.New("it is damaged: it has a character that XML cannot carry")
	}
	return r, nil
}

// keepRoster caches a roster if it has changed and is not empty. The next command also
// works without it.
func (env *Env) keepRoster(account xmpp.JID, r, known *xmpp.Roster) {
	name := env.stateFile("roster", account)
	if name == "" || r.Version == "" || known != nil && known.Version == r.Version {
		return
	}
	if len(r.Contacts) == 0 {
		_ = os.Remove(name) // an existing file is outdated
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

// cachedContacts returns the contacts of the cached roster, for completion, which does
// not connect.
func (env *Env) cachedContacts(account xmpp.JID) []xmpp.Contact {
	r := env.cachedRoster(account)
	if r == nil {
		return nil
	}
	return r.Sorted()
}
