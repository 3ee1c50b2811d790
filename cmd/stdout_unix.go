//go:build unix

package cmd

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stdout is standard output, unless it was closed when the program was started:
// the runtime has then opened the null device for reading and writing in its
// place, and every result would be lost in silence.
func stdout() io.Writer {
	var st, null unix.Stat_t
	mode, err := unix.FcntlInt(1, unix.F_GETFL, 0)
	if err == nil && mode&unix.O_ACCMODE == unix.O_RDWR &&
		unix.Fstat(1, &st) == nil && unix.Stat(os.DevNull, &null) == nil && st.Rdev == null.Rdev && st.Mode == null.Mode {
		return closedWriter{}
	}
	return os.Stdout
}

// outGone watches standard output where it is a pipe or a socket: those tell when
// the last reader goes. A second of delay at most.
func outGone(ctx context.Context) bool {
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
