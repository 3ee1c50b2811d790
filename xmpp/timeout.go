package xmpp

import (
	"context"
	"strings"
	"time"
)

// A TimeoutError is the cause of a context that ended because an answer took too long. For
// errors.Is it is context.DeadlineExceeded.
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

// WithTimeout limits ctx to a duration; 0 means no limit.
func WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, TimeoutError(d))
}
