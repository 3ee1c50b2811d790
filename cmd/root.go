// Package cmd is the command line of xmppkit: one file per command.
//
// A command parses and checks its arguments, opens a session with withSession and
// prints records. It never touches standard output itself, and it does not report
// its errors: Main does, once.
package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/output"
)

// Main runs the program with its arguments and returns the exit code.
func Main(ctx context.Context, env *Env, args []string) (code int) {
	env.open(ctx)
	defer func() {
		if r := recover(); r != nil {
			code = env.report(ctx, &exit.Error{Code: exit.Bug, Class: "bug", Err: fmt.Errorf("panic: %v", r),
				Hint: "this is a mistake in xmppkit; please report it"})
		}
	}()
	root := newRootCmd(env)
	root.SetArgs(args)
	// What is wrong with the arguments is said before they are parsed to the end.
	env.flags.json = slices.Contains(args, "--json") || env.Getenv("XMPP_JSON") == "1"
	help := &output.Writer{W: &helpWriter{env: env, ctx: ctx}}
	root.SetOut(help)
	err := root.ExecuteContext(ctx)
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
			env.addCompletions(root, args) // before any error: nobody wants to read one while typing
			return nil
		}
		if err := env.applyEnvironment(cmd); err != nil {
			return err
		}
		return exclusive(cmd)
	}
	showVersion := root.Flags().BoolP("version", "V", false, "print the version")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0:
			return unknownCommand(root, args[0])
		case *showVersion:
			return env.printVersion()
		}
		return cmd.Help()
	}
	root.SuggestionsMinimumDistance = 2
	root.SetIn(env.In)
	root.SetErr(env.stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(env.printHelp)
	help := newHelpCmd(env, root)
	root.SetHelpCommand(help)
	env.addFlags(root.PersistentFlags())
	group(root, "Messages", newSendCmd(env), newListenCmd(env))
	group(root, "Who and what", newPingCmd(env), newPresenceCmd(env), newRosterCmd(env), newDiscoCmd(env))
	group(root, "Manage", newAccountCmd(env))
	group(root, "More", newDemoCmd(env), newVersionCmd(env), newCompletionCmd(), help)
	addTopics(root, help)
	return root
}

// group adds commands, which help shows together.
func group(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, cmd := range commands {
		cmd.GroupID = title
	}
	root.AddCommand(commands...)
}

func unknownCommand(root *cobra.Command, name string) *exit.Error {
	err := exit.Usagef("unknown command %q", name)
	err.Hint = root.CommandPath() + " --help lists the commands"
	if s := root.SuggestionsFor(name); len(s) > 0 {
		err.Hint = "did you mean " + strings.Join(s, " or ") + "?"
	}
	return err
}
