//go:build linux || darwin || freebsd || dragonfly

package files

import (
	"os"

	"golang.org/x/sys/unix"
)

// readOnlyBit is ST_RDONLY, or MNT_RDONLY, which are the same.
const readOnlyBit = 1

// readOnlyFile reports whether an open file is on a file system that is mounted read-only.
func readOnlyFile(f *os.File) bool {
	var s unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &s) == nil && s.Flags&readOnlyBit != 0
}

// readOnlyName is readOnlyFile for what is not open.
func readOnlyName(name string) bool {
	var s unix.Statfs_t
	return unix.Statfs(name, &s) == nil && s.Flags&readOnlyBit != 0
}
