// Package cmd is the command line of xmppkit: one file per command.
//
// A command parses and checks its arguments, opens a session with withSession and
// prints records. It never writes to standard output itself. It returns its errors, and
// Main reports them, once.
package cmd

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/cmd/help"
	"xmppkit/output"
)

// Main runs the program with its arguments and returns the exit code.
func Main(ctx context.Context, env *Env, args []string) (code int) {
	env.open(ctx)
	defer func() {
		if r := recover(); r != nil {
			code = env.report(ctx, &exit.Error{Code: exit.Bug, Class: "bug", Err: fmt.Errorf("panic: %v", r),
				Hint: "this is a bug in xmppkit; please report it"})
		}
	}()
	root := newRootCmd(env)
	root.SetArgs(args)
	// Errors in the arguments can be reported before parsing is complete.
	env.flags.json = slices.Contains(args, "--json") || env.Getenv("XMPP_JSON") == "1"
	help := &output.Writer{W: &helpWriter{env: env, ctx: ctx}}
	root.SetOut(help)
	ran, err := root.ExecuteContextC(ctx)
	if err != nil && ran.Name() == cobra.ShellCompRequestCmd { // its one error is cobra's
		err = exit.Usagef("%s: missing argument: the word to complete", ran.CalledAs())
	}
	if help.Err != nil {
		err = help.Err
	}
	return env.report(ctx, env.outcome(err))
}

func newRootCmd(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:               "xmppkit COMMAND [flags] [ARG...]",
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Name() == cobra.ShellCompRequestCmd {
			env.addCompletions(root, args) // before any error: errors would disturb a person who is typing
			return nil
		}
		if err := env.applyEnvironment(cmd); err != nil {
			return err
		}
		return flags.Exclusive(cmd)
	}
	showVersion := root.Flags().BoolP("version", "V", false, "print the version")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0:
			return flags.UnknownCommand(root, args[0])
		case *showVersion:
			return env.printVersion()
		}
		return cmd.Help()
	}
	root.SuggestionsMinimumDistance = 2
	root.SetIn(env.In)
	root.SetErr(env.stderr)
	root.SetFlagErrorFunc(flags.Error)
	root.SetHelpFunc(env.printHelp)
	helpCmd := newHelpCmd(env, root)
	root.SetHelpCommand(helpCmd)
	env.flags.add(root.PersistentFlags())
	root.MarkFlagsMutuallyExclusive("password-file", "password-command")
	group(root, "Messages", newSendCmd(env), newListenCmd(env), newHistoryCmd(env))
	group(root, "Who and what", newPingCmd(env), newPresenceCmd(env), newRosterCmd(env), newDiscoCmd(env))
	group(root, "Manage", newAccountCmd(env))
	group(root, "More", newDemoCmd(env), newVersionCmd(env), newCompletionCmd(), helpCmd)
	help.AddTopics(root, helpCmd)
	return root
}

// group adds commands that help shows together.
func group(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
	}
	root.AddCommand(commands...)
}

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

// release is the version of these sources.
const release = "0.1.0"

// version is what a packager sets with -ldflags "-X xmppkit/cmd.version=0.1.0-1".
var version = release

// programVersion is the packager's version, unless it is empty: git describe prints
// nothing in a tarball.
func programVersion() string { return cmp.Or(version, release) }

func (env *Env) printVersion() error {
	return env.print(versionRecord{"version", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH})
}

func newVersionCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:  "version [flags]",
		Args: flags.Args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			return env.printVersion()
		},
	}
}
