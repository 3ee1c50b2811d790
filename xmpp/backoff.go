package xmpp

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Backoff returns how long to wait before each try: twice as long as the last time,
// up to a maximum. A random part of up to a half is added, because many clients may
// have lost the same server at the same time.
type Backoff struct {
	Start, Max time.Duration
	tries      int
}

// Next returns how long to wait before the next try.
func (b *Backoff) Next() time.Duration {
	most := b.Max / 3 * 2
	d := most
	if b.tries < 16 {
		d = min(b.Start<<b.tries, most)
	}
	b.tries++
	return d + rand.N(d/2+1)
}

// Tries returns the number of tries since the last success.
func (b *Backoff) Tries() int { return b.tries }

// Reset starts over, after a success.
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
