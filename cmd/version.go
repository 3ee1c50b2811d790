package cmd

import (
	"runtime"
	"runtime/debug"

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

func newVersionCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Version prints the version of xmppkit, of the Go it was built with, and the
platform it was built for.

Exit code: 0.`,
		Example: `  xmppkit version`,
		Args:    args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			return env.print(versionRecord{"version", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH})
		},
	}
}

// version is that of the module, or "devel" where it was built from a checkout.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
