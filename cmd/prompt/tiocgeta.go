//go:build unix && !(aix || linux || solaris)

package prompt

import "golang.org/x/sys/unix"

// The requests that read and set the modes of a terminal; one drops what was typed: half
// a password is not for the shell, which would show it.
const (
	getTermios      = unix.TIOCGETA
	setTermios      = unix.TIOCSETA
	setFlushTermios = unix.TIOCSETAF
)
