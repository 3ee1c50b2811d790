package xmpp

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Backoff says how long to wait before each try: twice as long as before the one
// before, up to a maximum. Chance adds up to a half, as many may have lost the same
// server at the same time.
type Backoff struct {
	Start, Max time.Duration
	tries      int
}

// Next returns how long to wait now.
func (b *Backoff) Next() time.Duration {
	most := b.Max / 3 * 2
	d := most
	if b.tries < 16 {
		d = min(b.Start<<b.tries, most)
	}
	b.tries++
	return d + rand.N(d/2+1)
}

// Tries returns how many there were since the last success.
func (b *Backoff) Tries() int { return b.tries }

// Reset begins anew, after a success.
func (b *Backoff) Reset() { b.tries = 0 }

// Sleep waits, or returns why ctx has ended.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
