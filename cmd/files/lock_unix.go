//go:build unix

package files

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Lock locks a file for as long as it is open, and does not wait.
func Lock(f *os.File) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrLocked
	}
	return err
}
