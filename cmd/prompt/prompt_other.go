//go:build !unix

package prompt

import (
	"context"
	"fmt"
	"os"
	"time"

	"xmppkit/internal/aside"

	"golang.org/x/term"
)

// NoCoreDumps does nothing here.
func NoCoreDumps() {}

// Password asks on standard input, if that is a terminal.
func Password(ctx context.Context, text string, limit time.Duration) (string, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, ErrLate)
		defer cancel()
	}
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) || !term.IsTerminal(int(os.Stderr.Fd())) {
		return "", ErrNoTerminal
	}
	before, err := term.GetState(in)
	if err != nil {
		return "", ErrNoTerminal
	}
	defer term.Restore(in, before)
	fmt.Fprint(os.Stderr, text)
	defer fmt.Fprintln(os.Stderr)
	return aside.Run(ctx, 0, func() (string, error) {
		b, err := term.ReadPassword(in)
		return string(b), err
	})
}

// Terminal is standard input.
func Terminal() (*os.File, error) { return os.Stdin, nil }
