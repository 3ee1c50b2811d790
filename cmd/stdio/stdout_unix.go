//go:build unix

package stdio

import (
	"context"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Open returns standard output, unless it was closed when the program was started. The
// runtime then opens the null device in its place, and every result would be lost silently.
// If a caller opens it that way and does not share it, this looks the same.
func Open() io.Writer {
	var st, null unix.Stat_t
	mode, err := unix.FcntlInt(1, unix.F_GETFL, 0)
	if err == nil && mode&(unix.O_ACCMODE|unix.O_APPEND|unix.O_NONBLOCK) == unix.O_RDWR &&
		unix.Fstat(1, &st) == nil && unix.Stat(os.DevNull, &null) == nil && st.Dev == null.Dev && st.Ino == null.Ino &&
		!shared(1, 0) && !shared(1, 2) {
		return Closed{}
	}
	return os.Stdout
}

// Gone waits until nobody can read standard output any more, or ctx ends, and says which. It
// watches pipes and sockets, which report when the last reader goes. It notices this within
// a second.
func Gone(ctx context.Context) bool {
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: 1}}
		n, err := unix.Poll(fds, int(time.Second/time.Millisecond))
		if err != nil && err != unix.EINTR {
			return false
		}
		if n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
			return true
		}
		if n > 0 { // nothing to wait for here
			return false
		}
	}
	return false
}

// reopen opens a regular file again, to read and, if possible, to truncate it. It
// reports whether writes to f append. Only Linux has the file name that this needs. It
// holds a shared lock with all other writers of this kind until the end; locked is false
// if somebody holds an exclusive one.
func reopen(f *os.File) (file *os.File, appends, locked bool) {
	name := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		if file, err = os.Open(name); err != nil {
			return nil, false, false
		}
		return file, isAppending(f), false
	}
	return file, isAppending(f), unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil
}

func isAppending(f *os.File) bool {
	mode, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && mode&unix.O_APPEND != 0
}

// lockAlone turns the shared lock of a reopened file into an exclusive one.
func lockAlone(file *os.File) bool {
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
