// Package prompt asks a person for a secret on the terminal. It leaves out what the secret
// is for.
package prompt

import "errors"

var (
	// ErrNoTerminal is the error of a process that nobody watches on a terminal.
	ErrNoTerminal = errors.New("no terminal to ask for it")
	// ErrLate is the error of an answer that did not come within the limit.
	ErrLate = errors.New("no answer")
	// ErrQuit is the error of a person who typed the key of SIGQUIT.
	ErrQuit = errors.New("interrupted")
)

// maxAnswer bounds what a person types, in bytes.
const maxAnswer = 1 << 20
