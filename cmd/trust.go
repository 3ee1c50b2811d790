package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// An untrusted error says who else could have written a file, or can read it, and what to
// do about that.
type untrusted struct{ name, what, hint string }

func (e *untrusted) Error() string { return e.name + " " + e.what }

// hintOf returns what to do about an untrusted file, "" for another error.
func hintOf(err error) string {
	if e, ok := errors.AsType[*untrusted](err); ok {
		return e.hint
	}
	return ""
}

// shellQuote returns a name as a shell takes it.
func shellQuote(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%") == "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// trusted refuses an open file, or a directory, that others than the user and root own or
// can write to.
func trusted(name string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return trustedInfo(name, info, func() bool { return readOnlyFile(f) })
}

// trustedPath is trusted, and demands the same of each directory that the name of the file
// is in, and each link that it is: who can write there can make the name mean another file.
func trustedPath(name string, f *os.File) error {
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
			return trusted(name, f)
		case err != nil:
			return err
		case entry.Mode()&fs.ModeSymlink == 0:
			if !os.SameFile(entry, info) {
				return fmt.Errorf("%s became another file while it was opened", name)
			}
			return trusted(name, f)
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
	return fmt.Errorf("%s is one of too many links", name)
}

// trustedName is trusted for what is not open.
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
