package cmd

import (
	"runtime"

	"github.com/spf13/cobra"

	"xmppkit/output"
)

type versionRecord struct {
	Kind    string `json:"kind"`
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (r versionRecord) WriteText(t *output.Text) {
	t.Printf("xmppkit %s (%s %s/%s)\n", r.Version, r.Go, r.OS, r.Arch)
}

// version is that of these sources, whatever they are built from. A packager adds to
// it by -ldflags "-X xmppkit/cmd.version=0.1.0-1".
var version = "0.1.0"

func (env *Env) printVersion() error {
	return env.print(versionRecord{"version", version, runtime.Version(), runtime.GOOS, runtime.GOARCH})
}

func newVersionCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Version prints the version of xmppkit, of the Go it was built with, and the
platform it was built for. So does the flag --version (-V).

Exit code: 0.`,
		Example: `  xmppkit version`,
		Args:    args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			return env.printVersion()
		},
	}
}
