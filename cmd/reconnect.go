package cmd

import (
	"context"
	"math/rand/v2"
	"time"
)

// A backoff says how long to wait before each try: twice as long as before the one
// before, up to a maximum. Chance adds up to a half, as many may have lost the same
// server at the same time.
type backoff struct {
	start, max time.Duration
	tries      int
}

// next returns how long to wait now.
func (b *backoff) next() time.Duration {
	most := b.max / 3 * 2
	d := most
	if b.tries < 16 {
		d = min(b.start<<b.tries, most)
	}
	b.tries++
	return d + rand.N(d/2+1)
}

// reset begins anew, after a success.
func (b *backoff) reset() { b.tries = 0 }

// sleep waits, or returns why ctx has ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
