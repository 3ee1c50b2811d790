package cmd

import (
	"cmp"
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

// release is the version of these sources, whatever they are built from.
const release = "0.1.0"

// version is what a packager makes of it by -ldflags "-X xmppkit/cmd.version=0.1.0-1".
var version = release

// programVersion is the version of a packager, unless their script found none: git
// describe prints nothing in a tarball.
func programVersion() string { return cmp.Or(version, release) }

func (env *Env) printVersion() error {
	return env.print(versionRecord{"version", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH})
}

func newVersionCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:  "version [flags]",
		Args: args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			return env.printVersion()
		},
	}
}
