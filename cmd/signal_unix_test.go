//go:build unix

package cmd

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"xmppkit/xmpp"
)

// A signal ends a command with 128 and its number, and without a word; it ends listen
// with 0.
func TestSignals(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		for command, want := range map[string]int{"ping": want, "listen": 0} {
			for _, format := range []string{"--json", "--json=false"} {
				ctx, stop := NotifyContext(context.Background())
				w := &world{dial: func(ctx context.Context, _ xmpp.Options) (*xmpp.Session, error) {
					if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
						t.Fatal(err)
					}
					<-ctx.Done()
					return nil, fmt.Errorf("login: %w", context.Cause(ctx))
				}}
				w.run(ctx, command, format, "--no-cache")
				stop()
				if w.code != want || w.out != "" || w.err != "" {
					t.Errorf("%s, %s: %d, want %d, %q", sig, command, w.code, want, w.err)
				}
			}
		}
	}
}
