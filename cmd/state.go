package cmd

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
)

// stateFile is where something about an account is kept: "login", the memory of its
// logins, or "roster"; "" for nowhere.
func (env *Env) stateFile(what string, account xmpp.JID) string {
	dir := env.flags.stateDir
	if env.flags.noCache {
		return ""
	}
	// Of a service of systemd it is the first of a list (systemd.exec(5)).
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

// openStateDir opens the directory of a state file. It may be reached by a link, as that of
// a service of systemd or of a volume of Kubernetes is; inside it no link is followed.
func openStateDir(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		if info, e := os.Stat(dir); e == nil && !info.IsDir() { // OpenRoot says so only in English
			err = &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
		}
		return nil, err
	}
	d, err := root.Open(".")
	if err == nil {
		err = trusted(dir, d)
		d.Close()
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// openState opens a state file, if that and its directory are the user's or root's.
func openState(file string, flag int) (*os.File, error) {
	root, err := openStateDir(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name := filepath.Base(file)
	entry, err := root.Lstat(name)
	switch {
	case err != nil:
		return nil, inState(file, err)
	case !entry.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", file)
	}
	f, err := root.OpenFile(name, flag|openFlags, 0)
	if err != nil {
		return nil, inState(file, err)
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(entry, info) {
		err = fmt.Errorf("%s became another file while it was opened", file)
	}
	if err == nil {
		err = trusted(file, f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// inState gives an error of os.Root, which has the name in the directory, that of the file.
func inState(file string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "open", Path: file, Err: e.Err}
	}
	return err
}

// maxState bounds a state file; one that is larger is not ours.
const maxState = 64 << 20

// readState reads a state file; nil if there is none.
func readState(file string) ([]byte, error) {
	f, err := openState(file, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err == nil && len(b) > maxState {
		err = fmt.Errorf("%s is longer than %d MiB", file, maxState>>20)
	}
	if err != nil {
		return nil, err
	}
	return append([]byte{}, b...), nil // not nil
}

// remember fills in what is known of earlier logins. Where that cannot be read, the account
// has logged in by something better than PLAIN: a file that is damaged allows nothing.
func (env *Env) remember(o *xmpp.Options) (before xmpp.Memory, err error) {
	file := env.stateFile("login", o.JID)
	if file == "" {
		return before, nil
	}
	before, err = readMemory(file)
	*o.Memory = before
	if err != nil {
		env.trace("what is known of earlier logins cannot be used: %v", err)
		o.Memory.NoPlain = true
	}
	return before, err
}

// readMemory reads what is kept of logins: nothing if there is no file.
func readMemory(file string) (xmpp.Memory, error) {
	b, err := readState(file)
	if b == nil || err != nil {
		return xmpp.Memory{}, err
	}
	m, err := parseMemory(b)
	if err != nil {
		return m, fmt.Errorf("%s is damaged: %w", file, err)
	}
	return m, nil
}

// parseMemory parses what is kept of logins, all of it.
func parseMemory(b []byte) (xmpp.Memory, error) {
	var all struct {
		NoPlain   *bool `json:"no_plain"`
		TLSUnique *bool `json:"tls_unique"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return xmpp.Memory{}, err
	}
	if all.NoPlain == nil || all.TLSUnique == nil {
		return xmpp.Memory{}, errors.New("it is not whole")
	}
	return xmpp.Memory{NoPlain: *all.NoPlain, TLSUnique: *all.TLSUnique}, nil
}

// plainUnknown is the error of a login for which only PLAIN was left, where it is not known
// whether the account has done better before.
func plainUnknown(file string, memory error) error {
	hint := cmp.Or(hintOf(memory), "if this server never had anything better than PLAIN: rm "+shellQuote(file))
	if errors.Is(memory, fs.ErrPermission) {
		hint = "name a directory of your own with --state-dir"
	}
	return &exit.Error{Code: exit.NotAllowed, Class: "auth", Hint: hint,
		Err: fmt.Errorf("login: the server offers nothing better than PLAIN, and it is not known whether it did before: %w", memory)}
}

// store keeps what the login taught. Without it the next one works as well, so a
// failure is no more than a step of the connection.
func (env *Env) store(o xmpp.Options, before xmpp.Memory) {
	file := env.stateFile("login", o.JID)
	if file == "" || *o.Memory == before {
		return
	}
	kept := *o.Memory
	if now, err := readMemory(file); err == nil { // another login may have been better meanwhile
		kept.NoPlain = kept.NoPlain || now.NoPlain
	}
	b, err := json.Marshal(kept)
	if err == nil {
		err = writeFile(file, b)
	}
	if err != nil {
		env.trace("could not save this login: %v", err)
	}
}

// writeFile replaces a state file as a whole, so that a reader never sees half of it.
func writeFile(file string, b []byte) error { return putFile(file, b, (*os.Root).Rename) }

// createFile makes a state file that is there as a whole or not at all. One that is there
// by then stays what it is.
func createFile(file string, b []byte) error {
	err := putFile(file, b, (*os.Root).Link)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil { // a file system without links
		err = putFile(file, b, (*os.Root).Rename)
	}
	return err
}

func putFile(file string, b []byte, place func(dir *os.Root, from, to string) error) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	dir, err := openStateDir(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := filepath.Base(file)
	temporary := name + "." + xmpp.NewID()
	f, err := dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return inState(file, err)
	}
	defer dir.Remove(temporary) // where it has not become the file
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = place(dir, temporary, name)
	}
	if err != nil {
		return err
	}
	if d, err := dir.Open("."); err == nil { // that the name is there after a crash, too
		_ = d.Sync()
		d.Close()
	}
	return nil
}
