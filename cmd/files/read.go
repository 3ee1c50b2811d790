package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"xmppkit/cmd/exit"
	"xmppkit/internal/aside"
)

// MaxInput bounds an input that is read as a whole; servers accept much less.
const MaxInput = 10 << 20

// ReadAll reads everything from the file that open opens. A signal ends the wait, both
// for the other end of a FIFO and for input.
func ReadAll(ctx context.Context, open func() (io.ReadCloser, error)) ([]byte, error) {
	return aside.Run(ctx, 0, func() ([]byte, error) {
		r, err := open()
		if err != nil {
			return nil, &exit.Error{Code: exit.Input, Class: "input", Err: err}
		}
		defer r.Close()
		b, err := io.ReadAll(io.LimitReader(r, MaxInput+1))
		switch {
		case err != nil:
			return nil, &exit.Error{Code: exit.Input, Class: "input", Err: err}
		case len(b) > MaxInput:
			return nil, &exit.Error{Code: exit.Data, Class: "data", Err: fmt.Errorf("it is longer than %d MiB", MaxInput>>20)}
		}
		return b, nil
	})
}

// NotRead is the error of an input that could not be read. The error of a file already
// names the file.
func NotRead(name string, err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok && name != "standard input" {
		return err
	}
	return fmt.Errorf("read %s: %w", name, err)
}
