package cmd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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

// maxState bounds a state file; one that is larger is not ours.
const maxState = 64 << 20

// readState reads a state file. One that is missing, no file, or unreadable is the same
// as none.
func readState(name string) []byte {
	f, info, err := openFile(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	if !info.Mode().IsRegular() || info.Size() > maxState {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(f, maxState))
	if err != nil {
		return nil
	}
	return b
}

// remember fills in what is known of earlier logins. A file that is missing or
// broken is the same as none.
func (env *Env) remember(o *xmpp.Options) (before xmpp.Memory) {
	if file := env.stateFile("login", o.JID); file != "" {
		var m xmpp.Memory
		if json.Unmarshal(readState(file), &m) == nil {
			*o.Memory = m
		}
	}
	return *o.Memory
}

// store keeps what the login taught. Without it the next one works as well, so a
// failure is no more than a step of the connection.
func (env *Env) store(o xmpp.Options, before xmpp.Memory) {
	file := env.stateFile("login", o.JID)
	if file == "" || *o.Memory == before {
		return
	}
	b, err := json.Marshal(o.Memory)
	if err == nil {
		err = writeFile(file, b)
	}
	if err != nil {
		env.trace("could not save this login: %v", err)
	}
}

// writeFile replaces a file as a whole, so that a reader never sees half of it.
func writeFile(file string, b []byte) error { return putFile(file, b, os.Rename) }

// createFile makes a file that is there as a whole or not at all. One that is there by then
// stays what it is.
func createFile(file string, b []byte) error {
	err := putFile(file, b, os.Link)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil { // a file system without links
		err = putFile(file, b, os.Rename)
	}
	return err
}

func putFile(file string, b []byte, place func(from, to string) error) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(file)+".*") // 0600, and new
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // where it has not become the file
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = place(f.Name(), file)
	}
	if err != nil {
		return err
	}
	if d, err := os.Open(dir); err == nil { // that the name is there after a crash, too
		_ = d.Sync()
		d.Close()
	}
	return nil
}
