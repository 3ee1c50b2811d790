package xmpp

import (
	"context"
	"strings"
	"time"
)

// A TimeoutError is the cause that ends a context when an answer was waited for that long. It
// is context.DeadlineExceeded for errors.Is.
type TimeoutError time.Duration

func (e TimeoutError) Error() string {
	// Without the zero unit that time.Duration ends in: 2m, not 2m0s.
	s := time.Duration(e).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return "no answer within " + s
}

func (e TimeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// WithTimeout bounds ctx by a duration, 0 being none.
func WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, TimeoutError(d))
}
