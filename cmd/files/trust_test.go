//go:build unix

package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobodyID is a user and a group that none of the tests is.
const nobodyID = 54321

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
}

func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	check := func(want string) {
		t.Helper()
		f, err := Open(file)
		mustDo(t, err)
		defer f.Close()
		if err := Private(file, f); strings.TrimPrefix(fmt.Sprint(err), file+" ") != want || (err != nil) != (Hint(err) != "") {
			t.Errorf("%v, want %s; hint %q", err, want, Hint(err))
		}
	}
	mustDo(t, os.WriteFile(file, nil, 0o600))
	for mode, want := range map[os.FileMode]string{0o777: "is in a directory that everybody can write to", 0o777 | os.ModeSticky: "<nil>", 0o700: "<nil>"} {
		mustDo(t, os.Chmod(dir, mode))
		check(want)
	}
	mustDo(t, os.Chmod(dir, 0o700))
	for mode, want := range map[os.FileMode]string{
		0o600: "<nil>", 0o400: "<nil>", 0o700: "<nil>",
		0o640: "is open to others (mode 0640)", 0o604: "is open to others (mode 0604)", 0o620: "is open to others (mode 0620)",
	} {
		mustDo(t, os.Chmod(file, mode))
		check(want)
	}
	mustDo(t, os.Chmod(file, 0o600))
	if os.Geteuid() == 0 {
		mustDo(t, os.Chown(file, nobodyID, nobodyID))
		check("belongs to another user (uid 54321)")
	}
	file = os.DevNull
	check("<nil>")
}

// Whoever could have written a file, or made its name mean another one.
func TestTrustedPath(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	mustDo(t, os.Chmod(base, 0o755))
	own, shared, sticky, foreign := filepath.Join(base, "own"), filepath.Join(base, "shared"), filepath.Join(base, "sticky"), filepath.Join(base, "foreign")
	for _, dir := range []string{own, shared, sticky, foreign} {
		mustDo(t, os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	}
	mustDo(t, os.Chmod(shared, 0o777), os.Chmod(sticky, 0o777|fs.ModeSticky), os.Chown(foreign, nobodyID, nobodyID))
	mustDo(t, os.Symlink("../own/f", filepath.Join(shared, "link")), os.Symlink("../own/f", filepath.Join(sticky, "link")),
		os.Symlink("../own/f", filepath.Join(sticky, "given")), os.Lchown(filepath.Join(sticky, "given"), nobodyID, nobodyID),
		os.Symlink("../shared/link", filepath.Join(own, "over")), os.Symlink(own, filepath.Join(base, "way")),
		os.Symlink("../foreign/f", filepath.Join(own, "away")), os.Symlink("loop", filepath.Join(own, "loop")),
		os.Symlink("../base/../sticky/link", filepath.Join(own, "two")), os.Mkdir(filepath.Join(base, "base"), 0o755))
	for name, want := range map[string]string{
		"own/f": "", "way/f": "", "way/../own/f": "", "sticky/f": "", "sticky/link": "", "own/two": "",
		"sticky/given": "sticky/given belongs to another user", "shared/f": "shared can be written by others", "shared/link": "shared can be written by others",
		"own/over": "shared can be written by others", "foreign/f": "foreign belongs to another user", "own/away": "foreign belongs to another user",
	} {
		name = base + "/" + name
		f, err := Open(name)
		mustDo(t, err)
		err = TrustedPath(name, f)
		f.Close()
		if (err != nil) != (want != "") || err != nil && (!strings.Contains(err.Error(), want) || Hint(err) == "") {
			t.Errorf("%s: %v, want %q; hint %q", name, err, want, Hint(err))
		}
	}
	for _, test := range []struct {
		mode     fs.FileMode
		uid, gid int
		want     string
	}{
		{0o600, 0, 0, ""}, {0o644, 0, nobodyID, ""}, {0o664, 0, 0, ""}, {0o664, 0, nobodyID, "can be written by others"}, {0o646, 0, 0, "can be written by others"},
		{0o600, nobodyID, 0, "belongs to another user"}, {0o444, nobodyID, 0, "belongs to another user"},
	} {
		file := filepath.Join(own, "f")
		mustDo(t, os.Chown(file, test.uid, test.gid), os.Chmod(file, test.mode))
		f, err := Open(file)
		mustDo(t, err)
		if err = TrustedPath(file, f); (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
		f.Close()
	}
	r, w, err := os.Pipe()
	mustDo(t, err)
	defer r.Close()
	defer w.Close()
	if err := TrustedPath(fmt.Sprintf("/dev/fd/%d", r.Fd()), r); err != nil {
		t.Error(err)
	}
}

// A state file is the user's, in a directory of the user's; that may be reached by a link.
func TestOpenState(t *testing.T) {
	needRoot(t)
	base := t.TempDir()
	dir, file := filepath.Join(base, "dir"), filepath.Join(base, "dir", "file")
	mustDo(t, os.Mkdir(dir, 0o755), os.WriteFile(file, nil, 0o600), os.Symlink("dir", filepath.Join(base, "link")),
		os.Symlink("file", filepath.Join(dir, "inside")), syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	check := func(file, want string) {
		t.Helper()
		f, err := OpenState(filepath.Join(base, file), os.O_RDWR)
		if err == nil {
			f.Close()
		}
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
		if err := WriteState(filepath.Join(base, file+".new"), nil); (err != nil) != (strings.HasPrefix(want, "dir ") || strings.HasPrefix(want, "link ")) {
			t.Errorf("write beside %s: %v, want %q", file, err, want)
		}
	}
	check("dir/file", "")
	check("link/file", "")
	check("dir/inside", "inside is not a regular file")
	check("dir/pipe", "pipe is not a regular file")
	for _, test := range []struct {
		mode     fs.FileMode
		uid, gid int
		want     string
	}{
		{0o700, 0, nobodyID, ""}, {0o775, 0, 0, ""}, {0o777 | fs.ModeSticky, 0, 0, ""},
		{0o777, 0, 0, "dir can be written by others"}, {0o770, 0, nobodyID, "dir can be written by others"}, {0o700, nobodyID, 0, "dir belongs to another user"},
		{0o777 | fs.ModeSticky, nobodyID, 0, "dir belongs to another user"},
	} {
		mustDo(t, os.Chown(dir, test.uid, test.gid), os.Chmod(dir, test.mode))
		check("dir/file", test.want)
		check("link/file", strings.Replace(test.want, "dir ", "link ", 1))
	}
}

func TestPrivateGroup(t *testing.T) {
	db := func(passwd, group, nss string) *accountsDatabase {
		return &accountsDatabase{"root:x:0:0::/root:/bin/sh\nhalt:x:7:0::/:/bin/halt\n" + passwd, "root:x:0:\n" + group, nss}
	}
	const romeo, files = "romeo:x:1000:1000::/:/bin/sh\n", "passwd: files systemd # ldap\ngroup: files [SUCCESS=merge] systemd\nhosts: dns\n"
	for _, test := range []struct {
		name     string
		db       *accountsDatabase
		gid, uid string
		want     bool
	}{
		{"his own", db(romeo, "romeo:x:1000:\n", files), "1000", "1000", true},
		{"his own, with him", db(romeo, "romeo:x:1000:romeo,root\n", files), "1000", "1000", true},
		{"another number", db("romeo:x:1000:2000::/:/bin/sh\n", "romeo:x:2000:\n", "group: files systemd\n"), "2000", "1000", true},
		{"with another", db(romeo, "romeo:x:1000:romeo,tybalt\n", files), "1000", "1000", false},
		{"another's first", db(romeo+"tybalt:x:1001:1000::/:/bin/sh\n", "romeo:x:1000:\n", files), "1000", "1000", false},
		{"in two lines", db(romeo, "romeo:x:1000:\nx:x:1000:tybalt\n", files), "1000", "1000", false},
		{"of a volume", db("", "", ""), "2000", "1000", true},
		{"of root", db(romeo, "", files), "0", "1000", true},
		{"of root, with another", &accountsDatabase{group: "root:x:0:tybalt"}, "0", "1000", false},
		{"of all in LDAP", db("", "", "group: files ldap\n"), "2000", "1000", false},
		{"his own in LDAP", db("", "", "passwd: files sss\n"), "1000", "1000", true},
	} {
		if got := test.db.private(test.gid, test.uid); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if privateGroup(nobodyID) {
		t.Error("a group that the user is not in")
	}
}
