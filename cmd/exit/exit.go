// Package exit defines the exit codes of the commands, and the error that carries one.
// Package cmd maps errors of XMPP to codes.
package exit

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// The exit codes, from sysexits.h where possible.
const (
	No          = 1   // it worked, and the answer is no
	Usage       = 2   // the command line is wrong
	Data        = 65  // EX_DATAERR: the input data is wrong
	Input       = 66  // EX_NOINPUT: an input file cannot be read
	NoUser      = 67  // EX_NOUSER: the recipient does not exist
	NoHost      = 68  // EX_NOHOST: the host does not exist
	Unavailable = 69  // EX_UNAVAILABLE: refused for good
	Bug         = 70  // EX_SOFTWARE: a bug in this program
	Output      = 74  // EX_IOERR: the results cannot be written
	Temporary   = 75  // EX_TEMPFAIL: try again
	Protocol    = 76  // EX_PROTOCOL: TLS or the server's XMPP is not right
	NotAllowed  = 77  // EX_NOPERM: wrong password, or not allowed
	Config      = 78  // EX_CONFIG: no account, no password
	Timeout     = 124 // as timeout(1)
	Interrupt   = 128 + int(syscall.SIGINT)
	Terminate   = 128 + int(syscall.SIGTERM)
	Hangup      = 128 + int(syscall.SIGHUP)
)

// An Error is an error with its exit code.
type Error struct {
	Code  int
	Class string // the key class of the record error
	Err   error
	Hint  string // what to do instead

	// Lines are printed one by one, instead of Err. With --json and code 1 they are in
	// the results.
	Lines []string
	// Details are printed after it, one by one. With --json the results have them.
	Details []string
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Usagef returns an error about the command line.
func Usagef(format string, args ...any) *Error {
	return &Error{Code: Usage, Class: "usage", Err: fmt.Errorf(format, args...)}
}

// Dataf returns an error about the input data.
func Dataf(format string, args ...any) *Error {
	return &Error{Code: Data, Class: "data", Err: fmt.Errorf(format, args...)}
}

// Inputf returns an error about an input file.
func Inputf(format string, args ...any) *Error {
	return &Error{Code: Input, Class: "input", Err: fmt.Errorf(format, args...)}
}

// Configf returns an error about the configuration.
func Configf(hint, format string, args ...any) *Error {
	return &Error{Code: Config, Class: "config", Err: fmt.Errorf(format, args...), Hint: hint}
}

// Negative is the answer "no". Each line is reported, unless the results are JSON and
// already contain it.
func Negative(lines ...string) *Error {
	return &Error{Code: No, Class: "stanza", Err: errors.New(strings.Join(lines, "; ")), Lines: lines}
}
