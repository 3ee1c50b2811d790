package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"xmppkit/cmd/exit"
	"xmppkit/internal/aside"
)

// maxInput bounds an input that is read as a whole; servers accept much less.
const maxInput = 10 << 20

// readAll reads all of what open opens. A signal ends the wait, be it for the
// other end of a FIFO or for input.
func readAll(ctx context.Context, open func() (io.ReadCloser, error)) ([]byte, error) {
	return aside.Run(ctx, 0, func() ([]byte, error) {
		r, err := open()
		if err != nil {
			return nil, &exit.Error{Code: exit.Input, Class: "input", Err: err}
		}
		defer r.Close()
		b, err := io.ReadAll(io.LimitReader(r, maxInput+1))
		switch {
		case err != nil:
			return nil, &exit.Error{Code: exit.Input, Class: "input", Err: err}
		case len(b) > maxInput:
			return nil, &exit.Error{Code: exit.Data, Class: "data", Err: fmt.Errorf("it is longer than %d MiB", maxInput>>20)}
		}
		return b, nil
	})
}

// notRead is the error of an input that could not be read. That of a file names it already.
func notRead(name string, err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok && name != "standard input" {
		return err
	}
	return fmt.Errorf("read %s: %w", name, err)
}
