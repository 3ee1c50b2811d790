package files

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// openStateDir opens the directory of a state file. The path to it may contain links, as
// with services of systemd and volumes of Kubernetes. Inside it no link is followed.
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
		err = Trusted(dir, d)
		d.Close()
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// OpenState opens a state file, if the file and its directory belong to the user or
// root.
func OpenState(file string, flag int) (*os.File, error) {
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
		return nil, fmt.Errorf("%s is not a regular file", file)
	}
	f, err := root.OpenFile(name, flag|openFlags, 0)
	if err != nil {
		return nil, inState(file, err)
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(entry, info) {
		err = fmt.Errorf("%s was replaced while it was being opened", file)
	}
	if err == nil {
		err = Trusted(file, f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// inState replaces the relative name in an error of os.Root by the full one.
func inState(file string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "open", Path: file, Err: e.Err}
	}
	return err
}

// MaxState is the size limit of a state file; a larger one is not ours.
const MaxState = 64 << 20

// ReadState reads a state file; nil if there is none.
func ReadState(file string) ([]byte, error) {
	f, err := OpenState(file, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxState+1))
	if err == nil && len(b) > MaxState {
		err = fmt.Errorf("%s is longer than %d MiB", file, MaxState>>20)
	}
	if err != nil {
		return nil, err
	}
	return append([]byte{}, b...), nil // not nil
}

// WriteState replaces a state file atomically: a reader never sees half of it.
func WriteState(file string, b []byte) error { return putFile(file, b, (*os.Root).Rename) }

// CreateState creates a state file atomically. An existing file stays unchanged.
func CreateState(file string, b []byte) error {
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
	temporary := name + "." + rand.Text()
	f, err := dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return inState(file, err)
	}
	defer dir.Remove(temporary) // if it has not become the file
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
