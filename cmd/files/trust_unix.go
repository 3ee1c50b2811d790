//go:build unix

package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
)

// openFlags keep a named pipe without a writer from blocking.
const openFlags = syscall.O_NONBLOCK

// trustedInfo is Trusted for the metadata of a file. A read-only mount, such as a secret of
// a container, is trusted whatever its owner and mode, because whoever mounted it chose its
// contents.
func trustedInfo(name string, info os.FileInfo, readOnly func() bool) error {
	mode, perm := info.Mode(), info.Mode().Perm()
	stat := info.Sys().(*syscall.Stat_t)
	writable := perm&0o002 != 0 || perm&0o020 != 0 && !privateGroup(int(stat.Gid))
	if mode&fs.ModeSymlink != 0 || mode.IsDir() && mode&fs.ModeSticky != 0 {
		writable = false // nobody can change a link, or other users' files in a sticky directory
	}
	switch {
	case mode&fs.ModeCharDevice != 0: // root made it
		return nil
	case foreign(stat):
		if readOnly() {
			return nil
		}
		return belongs(name, stat)
	case writable && !readOnly():
		return &Untrusted{name, "can be written by others", asOwner(stat, "chmod go-w "+ShellQuote(name))}
	}
	return nil
}

func foreign(stat *syscall.Stat_t) bool { return stat.Uid != 0 && int(stat.Uid) != os.Geteuid() }

// asOwner is a hint to change what a file is, which only its owner and root can.
func asOwner(stat *syscall.Stat_t, hint string) string {
	if int(stat.Uid) == os.Geteuid() || os.Geteuid() == 0 {
		return hint
	}
	return "as root: " + hint
}

func belongs(name string, stat *syscall.Stat_t) error {
	hint := fmt.Sprintf("use your own copy, or take ownership, as root: chown %d %s", os.Geteuid(), ShellQuote(name))
	if os.Geteuid() == 0 {
		hint = "use your own copy, or take ownership: chown root " + ShellQuote(name)
	}
	return &Untrusted{name, fmt.Sprintf("belongs to another user (uid %d)", stat.Uid), hint}
}

// privateGroup reports whether a group of the user or of root has no other members.
func privateGroup(gid int) bool {
	groups, _ := os.Getgroups()
	if gid != 0 && gid != os.Getegid() && !slices.Contains(groups, gid) {
		return false
	}
	var db accountsDatabase
	for file, text := range map[string]*string{"/etc/passwd": &db.passwd, "/etc/group": &db.group, "/etc/nsswitch.conf": &db.nsswitch} {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a container may have none
			return false
		}
		*text = string(b)
	}
	if runtime.GOOS != "linux" { // the files may have only some of all users
		db.nsswitch = "group: others"
	}
	return db.private(strconv.Itoa(gid), strconv.Itoa(os.Geteuid()))
}

// Private returns an error if anyone but the user and root can read a secret or could
// have put it there. Pipes and terminals store nothing, so they pass.
func Private(file string, f *os.File) error {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || readOnlyFile(f) {
		return err
	}
	stat, perm := info.Sys().(*syscall.Stat_t), info.Mode().Perm()
	// A secret that root gives to a service is readable by the service's group.
	given := stat.Uid == 0 && os.Geteuid() != 0 && perm&0o037 == 0 && privateGroup(int(stat.Gid))
	switch {
	case foreign(stat):
		return belongs(file, stat)
	case perm&0o077 != 0 && !given:
		hint := "chmod 600 " + ShellQuote(file)
		if stat.Uid == 0 && os.Geteuid() != 0 { // else who reads it now could not
			hint = fmt.Sprintf("chown %d %s && %s", os.Geteuid(), ShellQuote(file), hint)
		}
		return &Untrusted{file, fmt.Sprintf("is open to others (mode %04o)", perm), asOwner(stat, hint)}
	}
	parent := filepath.Dir(file)
	dir, err := os.Stat(parent)
	if err == nil && dir.Mode().Perm()&0o002 != 0 && dir.Mode()&fs.ModeSticky == 0 && !readOnlyName(parent) {
		stat := dir.Sys().(*syscall.Stat_t)
		return &Untrusted{file, "is in a directory that everybody can write to", asOwner(stat, "chmod o-w "+ShellQuote(parent))}
	}
	return err
}
