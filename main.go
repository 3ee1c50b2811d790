// Xmppkit is a command-line toolkit for XMPP. Each command opens a short session,
// and its exit code tells what happened.
package main

import (
	"context"
	"os"

	"xmppkit/cmd"
)

//go:generate sh -c "go run . completion bash >completions/xmppkit.bash"
//go:generate sh -c "go run . completion zsh >completions/_xmppkit"
//go:generate sh -c "go run . completion fish >completions/xmppkit.fish"
//go:generate sh -c "go run . completion powershell >completions/xmppkit.ps1"

func main() {
	ctx, stop := cmd.NotifyContext(context.Background())
	context.AfterFunc(ctx, stop) // the first signal cancels, the second kills
	os.Exit(cmd.Main(ctx, cmd.System(), os.Args[1:]))
}
