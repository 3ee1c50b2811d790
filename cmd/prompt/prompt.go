// Package prompt asks a person for a secret on the terminal. It does not know what the
// secret is for.
package prompt

import "errors"

var (
	// ErrNoTerminal says that the process has no terminal to ask on.
	ErrNoTerminal = errors.New("no terminal to ask for it")
	// ErrLate is the error of an answer that did not come within the limit.
	ErrLate = errors.New("no answer")
	// ErrQuit is the error of a person who typed the key of SIGQUIT.
	ErrQuit = errors.New("interrupted")
)

// maxAnswer limits the length of an answer, in bytes.
const maxAnswer = 1 << 20
