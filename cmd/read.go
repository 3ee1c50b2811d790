package cmd

import (
	"context"
	"fmt"
	"io"

	"xmppkit/cmd/exit"
)

// maxInput bounds what is read as one; servers take much less.
const maxInput = 10 << 20

// readAll reads all of what open opens. A signal ends the wait, be it for the
// other end of a FIFO or for input.
func readAll(ctx context.Context, open func() (io.ReadCloser, error)) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		r, err := open()
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer r.Close()
		b, err := io.ReadAll(io.LimitReader(r, maxInput+1))
		done <- result{b, err}
	}()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case got := <-done:
		if got.err != nil {
			return nil, &exit.Error{Code: exit.Input, Class: "input", Err: got.err}
		}
		if len(got.b) > maxInput {
			return nil, &exit.Error{Code: exit.Data, Class: "data", Err: fmt.Errorf("it is longer than %d MiB", maxInput>>20)}
		}
		return got.b, nil
	}
}
