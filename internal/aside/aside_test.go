package aside

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errStop = errors.New("stop")

// The wait ends with the work, or with the context and the grace. The work goes on, and
// its goroutine ends with it.
func TestRun(t *testing.T) {
	failed := errors.New("failed")
	for name, test := range map[string]struct {
		work, stop, grace time.Duration
		result            error
		err               error
		took              time.Duration
	}{
		"done":              {time.Second, time.Minute, 0, nil, nil, time.Second},
		"failed":            {time.Second, time.Minute, 0, failed, failed, time.Second},
		"stopped":           {time.Minute, time.Second, 0, nil, errStop, time.Second},
		"stopped, graceful": {time.Minute, time.Second, time.Second, nil, errStop, 2 * time.Second},
		"done in the grace": {3 * time.Second, time.Second, time.Minute, nil, nil, 3 * time.Second},
		"stopped before":    {time.Minute, 0, 0, nil, errStop, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(t.Context())
				if test.stop == 0 {
					stop(errStop)
				} else {
					defer time.AfterFunc(test.stop, func() { stop(errStop) }).Stop()
				}
				started := time.Now()
				n, err := Run(ctx, test.grace, func() (int, error) {
					time.Sleep(test.work)
					return 1, test.result
				})
				if took := time.Since(started); err != test.err || took != test.took {
					t.Errorf("%v after %s, want %v after %s", err, took, test.err, test.took)
				}
				if want := test.err != errStop; (n == 1) != want {
					t.Errorf("got %d", n)
				}
				time.Sleep(test.work) // a goroutine that is left fails the test
			})
		})
	}
}
