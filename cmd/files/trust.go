// Package files opens files that decide what is run and who gets a password, and only if
// nobody but the user or root could have written them. It also replaces files atomically. It
// does not interpret their contents.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// An Untrusted error says who else could write or read a file, and what to do about it.
type Untrusted struct{ Name, What, Hint string }

func (e *Untrusted) Error() string { return e.Name + " " + e.What }

// Hint returns what to do about an untrusted file, "" for another error.
func Hint(err error) string {
	if e, ok := errors.AsType[*Untrusted](err); ok {
		return e.Hint
	}
	return ""
}

// ShellQuote quotes a name for a shell.
func ShellQuote(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%") == "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// Trusted refuses an open file or directory that anyone but the user and root owns or can
// write to.
func Trusted(name string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return trustedInfo(name, info, func() bool { return readOnlyFile(f) })
}

// TrustedPath is Trusted, and checks each directory and link in the path as well: whoever
// can write there can replace the file.
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

// trustedName is Trusted for a file that is not open.
func trustedName(name string, stat func(string) (os.FileInfo, error)) error {
	info, err := stat(name)
	if err != nil {
		return err
	}
	return trustedInfo(name, info, func() bool { return readOnlyName(name) })
}

// An accountsDatabase holds the users and groups in the files of /etc.
type accountsDatabase struct{ passwd, group, nsswitch string }

// private reports whether a group has no members but a user and root. Many systems give each
// user such a group, with write access to the user's files.
func (db *accountsDatabase) private(gid, uid string) bool {
	me := map[string]bool{"root": true}
	for line := range strings.Lines(db.passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) > 3 && f[2] == uid {
			me[f[0]] = true
		}
		// Some distributions put system accounts into the group of root.
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
	// For users elsewhere, such as in LDAP, the number of the group decides.
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

// ErrLocked is the error of Lock if somebody else has locked the file.
var ErrLocked = errors.New("it is locked")
