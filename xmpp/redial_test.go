package xmpp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// What comes of attempts that end one after another, of which the time is what they take: how
// many there are, what is reported when, and where the last one went.
func TestRedial(t *testing.T) {
	lost := fmt.Errorf("%w: cut", ErrLost)
	final := errors.New("final")
	moved := &StreamError{Condition: SeeOtherHost, Host: "b:1"}
	for name, test := range map[string]struct {
		ends    []error
		works   []int // the attempts that do
		err     error
		servers []string
		told    []string
	}{
		"first":          {[]error{nil}, nil, nil, []string{"a:1"}, nil},
		"final":          {[]error{final}, nil, final, []string{"a:1"}, nil},
		"again":          {[]error{lost, lost, nil}, nil, nil, []string{"a:1", "a:1", "a:1"}, nil},
		"redirect":       {[]error{moved, lost, final}, nil, final, []string{"a:1", "b:1", "a:1"}, nil},
		"lasting":        {[]error{lost, lost, lost, lost, nil}, []int{4}, nil, slices.Repeat([]string{"a:1"}, 5), []string{"32.5s away", "50s back"}},
		"works between":  {[]error{lost, lost, lost, lost, lost}, []int{0, 2}, context.Canceled, slices.Repeat([]string{"a:1"}, 5), []string{"32.5s away"}},
		"over in a wait": {[]error{lost, lost, lost, lost, lost, lost, lost}, nil, context.Canceled, slices.Repeat([]string{"a:1"}, 5), []string{"32.5s away"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			started := time.Now()
			var servers, told []string
			tell := func(what string) { told = append(told, fmt.Sprint(time.Since(started), " ", what)) }
			r := &Redial{Login: Options{Server: "a:1"}, Patience: 30 * time.Second}
			r.Again = func(err error) (time.Duration, bool) { return 10 * time.Second, err != final }
			r.Away = func(err error) {
				if err != r.Trouble() {
					t.Errorf("%s: away by %v, trouble %v", name, err, r.Trouble())
				}
				tell("away")
			}
			r.Back = func() { tell("back") }
			ctx, cancel := context.WithTimeoutCause(t.Context(), 62*time.Second, context.Canceled)
			defer cancel()
			err := r.Run(ctx, func(_ context.Context, o Options) error {
				n := len(servers)
				servers = append(servers, o.Server)
				if slices.Contains(test.works, n) {
					r.Works()
				}
				time.Sleep(2500 * time.Millisecond)
				return test.ends[n]
			})
			if !errors.Is(err, test.err) || !slices.Equal(servers, test.servers) || !slices.Equal(told, test.told) {
				t.Errorf("%s: %v, %v, %v", name, err, servers, told)
			}
		})
	}
}

// The end of the context interrupts a write, and breaks the connection: it is not the
// connection that was lost.
func TestRedialInterrupted(t *testing.T) {
	over := errors.New("the time is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &Redial{Again: func(error) (time.Duration, bool) { return 0, true }}
	err := r.Run(ctx, func(context.Context, Options) error {
		cancel(over)
		return fmt.Errorf("%w: use of closed network connection", ErrLost)
	})
	if err != over {
		t.Errorf("%v, want %v", err, over)
	}
}
