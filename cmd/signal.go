package cmd

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// A signalError is the cause of a context that a signal has ended.
type signalError struct{ syscall.Signal }

func (e signalError) Error() string        { return e.String() + " signal received" }
func (e signalError) Is(target error) bool { return target == context.Canceled }

// NotifyContext returns a context that ends with the first signal of those that end a
// command in good order, and what stops waiting for one. A hangup that is ignored, as by
// nohup(1), stays so.
func NotifyContext(parent context.Context) (ctx context.Context, stop func()) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, cancel := context.WithCancelCause(parent)
	received := make(chan os.Signal, 1)
	signal.Notify(received, signals...)
	go func() {
		select {
		case s := <-received:
			cancel(signalError{s.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(received)
		cancel(context.Canceled)
	}
}
