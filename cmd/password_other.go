//go:build !unix

package cmd

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
)

func noCoreDumps() {}

func readPassword(ctx context.Context, prompt string, limit time.Duration) (string, error) {
	ctx, cancel := withTimeout(ctx, duration(limit))
	defer cancel()
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) || !term.IsTerminal(int(os.Stderr.Fd())) {
		return "", errNoTerminal
	}
	before, err := term.GetState(in)
	if err != nil {
		return "", errNoTerminal
	}
	defer term.Restore(in, before)
	fmt.Fprint(os.Stderr, prompt)
	defer fmt.Fprintln(os.Stderr)
	return waitFor(ctx, "the password", func() (string, error) {
		b, err := term.ReadPassword(in)
		return string(b), err
	})
}

func openTerminal() (*os.File, error) { return os.Stdin, nil }
