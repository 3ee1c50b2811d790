// Package aside runs work that cannot be interrupted, such as reading a pipe or deriving a
// key, so that a context can still end the wait for it. It does not stop the work: that
// continues until it is done, and its result is dropped.
package aside

import (
	"context"
	"time"
)

// Run returns what f returns, or the cause of ctx once that has ended and grace is over.
func Run[T any](ctx context.Context, grace time.Duration, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(grace):
		var none T
		return none, context.Cause(ctx)
	}
}
