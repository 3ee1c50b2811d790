// Package files opens the files of a user that decide something, such as what is run and who
// gets a password: only where nobody else could have written them. It replaces files as a
// whole. It leaves out what is in them.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// An Untrusted error says who else could have written a file, or can read it, and what to
// do about that.
type Untrusted struct{ Name, What, Hint string }

func (e *Untrusted) Error() string { return e.Name + " " + e.What }

// Hint returns what to do about an untrusted file, "" for another error.
func Hint(err error) string {
	if e, ok := errors.AsType[*Untrusted](err); ok {
		return e.Hint
	}
	return ""
}

// ShellQuote returns a name as a shell takes it.
func ShellQuote(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%") == "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// Trusted refuses an open file, or a directory, that others than the user and root own or
// can write to.
func Trusted(name string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return trustedInfo(name, info, func() bool { return readOnlyFile(f) })
}

// TrustedPath is trusted, and demands the same of each directory that the name of the file
// is in, and each link that it is: who can write there can make the name mean another file.
func TrustedPath(name string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const links = 40 // as on Linux
	for range links {
		dir, err := filepath.EvalSymlinks(filepath.Dir(name))
		if err != nil {
			return err
		}
		if err := trustedName(dir, os.Stat); err != nil {
			return err
		}
		entry, err := os.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // what /dev/fd leads to need not have a name
			return Trusted(name, f)
		case err != nil:
			return err
		case entry.Mode()&fs.ModeSymlink == 0:
			if !os.SameFile(entry, info) {
				return fmt.Errorf("%s was replaced while it was being opened", name)
			}
			return Trusted(name, f)
		}
		if err := trustedName(name, os.Lstat); err != nil {
			return err
		}
		target, err := os.Readlink(name)
		if err != nil {
			return err
		}
		if name = target; !filepath.IsAbs(target) {
			name = dir + string(filepath.Separator) + target
		}
	}
	return fmt.Errorf("%s: too many links", name)
}

// trustedName is Trusted for what is not open.
func trustedName(name string, stat func(string) (os.FileInfo, error)) error {
	info, err := stat(name)
	if err != nil {
		return err
	}
	return trustedInfo(name, info, func() bool { return readOnlyName(name) })
}

// An accountsDatabase is what the files in /etc say of users and groups.
type accountsDatabase struct{ passwd, group, nsswitch string }

// private reports whether nobody but a user, and root, is in a group. Many systems give each
// user such a group, and let it write to what is theirs.
func (db *accountsDatabase) private(gid, uid string) bool {
	me := map[string]bool{"root": true}
	for line := range strings.Lines(db.passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) > 3 && f[2] == uid {
			me[f[0]] = true
		}
		// Some distributions have accounts of their own in the group of root.
		if len(f) > 3 && f[3] == gid && gid != "0" && f[2] != uid && f[2] != "0" {
			return false
		}
	}
	for line := range strings.Lines(db.group) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 || f[2] != gid {
			continue
		}
		for name := range strings.SplitSeq(f[3], ",") {
			if name != "" && !me[name] {
				return false
			}
		}
	}
	// Of other users, in LDAP for instance, the number of the group tells.
	return gid == uid || db.complete()
}

// complete reports whether the files have all users and groups.
func (db *accountsDatabase) complete() bool {
	for line := range strings.Lines(db.nsswitch) {
		line, _, _ = strings.Cut(line, "#")
		name, sources, _ := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); name != "passwd" && name != "group" {
			continue
		}
		for source := range strings.FieldsSeq(sources) {
			switch source {
			case "files", "compat", "systemd", "altfiles", "db":
			default:
				if !strings.ContainsAny(source, "[=]") { // what to do then
					return false
				}
			}
		}
	}
	return true
}

// ErrLocked is the error of Lock where somebody else has locked the file.
var ErrLocked = errors.New("it is locked")
