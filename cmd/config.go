package cmd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/config"
	"xmppkit/cmd/exit"
	"xmppkit/cmd/files"
	"xmppkit/cmd/flags"
	"xmppkit/output"
)

// configure chooses the account, and takes from the environment and the configuration
// file what no flag has set.
func (env *Env) configure(ctx context.Context, stdin bool) (config.Choice, error) {
	_, ch, err := env.configured(ctx, stdin)
	return ch, err
}

// configured is configure, and also returns the configuration file.
func (env *Env) configured(ctx context.Context, stdin bool) (c config.File, ch config.Choice, err error) {
	for name, value := range map[string]string{"jid": env.who.JID, "account": env.who.Account} {
		if value == "" && env.flagSet.Changed(name) { // a variable that a script has not set
			return c, ch, exit.Configf("", "no account: --%s is empty", name)
		}
	}
	if c, err = env.readConfig(ctx, stdin); err != nil {
		return c, ch, err
	}
	if ch, err = c.Choose(env.who); err != nil {
		return c, ch, err
	}
	env.flags.jid = ch.JID
	if ch.Foreign != "" {
		env.traceForeign(ch)
	} else if err := env.applyVariables(accountEnvironment[:]); err != nil {
		return c, ch, err
	}
	for i, s := range ch.Sections {
		if ch.Sections[i], err = s.ResolvePaths(c.Name, env.Getenv("HOME")); err != nil {
			return c, ch, err
		}
		if err := env.fill(c.Name, ch.Sections[i]); err != nil {
			return c, ch, err
		}
	}
	return c, ch, nil
}

// noAccount is the error if nothing names an account.
func (env *Env) noAccount() error {
	return exit.Configf("set XMPP_JID, pass --jid, or set jid in "+env.configName(), "no account configured")
}

// traceForeign reports variables that are ignored because they belong to another
// account.
func (env *Env) traceForeign(ch config.Choice) {
	var names []string
	for _, name := range []string{"XMPP_PASSWORD", "XMPP_PASSWORD_FILE", "XMPP_PASSWORD_COMMAND", "CREDENTIALS_DIRECTORY"} {
		if env.Getenv(name) != "" {
			names = append(names, name)
		}
	}
	for _, e := range accountEnvironment {
		if env.Getenv(e[1]) != "" {
			names = append(names, e[1])
		}
	}
	if names == nil {
		names = []string{"the environment"}
	}
	env.trace("ignored for %s, because %s is %s: %s", ch.JID, ch.Foreign, env.Getenv(ch.Foreign), strings.Join(names, ", "))
}

// fill sets the flags that are not set yet, except the account and its password.
func (env *Env) fill(file string, s config.Section) error {
	env.flags.resource = cmp.Or(env.flags.resource, s.Get("resource"))
	for key, values := range s {
		f := env.flagSet.Lookup(strings.ReplaceAll(key, "_", "-"))
		if f == nil || f.Changed || key == "jid" || strings.HasPrefix(key, "password") {
			continue
		}
		for _, v := range values {
			if err := env.flagSet.Set(f.Name, v); err != nil {
				return exit.Configf("", "%s: %w", key, flags.Wanted(err))
			}
			_ = env.flagSet.SetAnnotation(f.Name, sourceNote, []string{file + ": " + key}) // it is there: it was set
		}
	}
	return nil
}

// configFile is the named configuration file, or else the default one.
func (env *Env) configFile() string {
	if env.flags.config != "" {
		return env.flags.config
	}
	return filepath.Join(env.configHome(), "xmppkit", "config.toml")
}

// configName is configFile for a hint; without a home directory there is no default.
func (env *Env) configName() string {
	if file := env.configFile(); env.flags.config != "" || filepath.IsAbs(file) {
		return file
	}
	return "a file for --config"
}

// configHome is the directory of configuration files, by the XDG Base Directory
// Specification.
func (env *Env) configHome() string {
	if dir := env.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) { // else the specification ignores it
		return dir
	}
	return filepath.Join(env.Getenv("HOME"), ".config")
}

// readConfig reads the configuration file: the named one, or config.toml, or else that
// of sendxmpp or go-sendxmpp. Waiting for a pipe counts towards --timeout.
func (env *Env) readConfig(ctx context.Context, stdin bool) (config.File, error) {
	ctx, cancel := withTimeout(ctx, env.flags.timeout)
	defer cancel()
	if env.flags.config != "" {
		return env.readConfigFile(ctx, stdin, env.flags.config)
	}
	for _, file := range []string{
		env.configFile(),
		filepath.Join(env.configHome(), "go-sendxmpp", "config"),
		filepath.Join(env.configHome(), "go-sendxmpp", "sendxmpprc"),
		filepath.Join(env.Getenv("HOME"), ".sendxmpprc"),
	} {
		if !filepath.IsAbs(file) { // without a home directory, nothing is read from the current one
			continue
		}
		_, err := os.Lstat(file)
		switch {
		case err == nil: // if a file cannot be read, another account must not be used instead
			return env.readConfigFile(ctx, stdin, file)
		case !errors.Is(err, fs.ErrNotExist): // the home of another user
			env.trace("no configuration: %v", err)
		}
	}
	return config.File{Name: env.configFile()}, nil
}

func (env *Env) readConfigFile(ctx context.Context, stdin bool, file string) (config.File, error) {
	if files.IsStdin(file) && stdin {
		return config.File{}, exit.Usagef("--config %s: standard input is already the message", file)
	}
	c, err := waitFor(ctx, file, func() (config.File, error) { return env.loadConfig(file) })
	if err == nil {
		env.trace("configuration from %s", file)
	}
	return c, err
}

// loadConfig reads and parses a configuration file. The file can name a command to run
// and the server that gets the password, so it must belong to the user.
func (env *Env) loadConfig(file string) (config.File, error) {
	var in io.Reader = env.In
	var f *os.File
	if !files.IsStdin(file) {
		var err error
		if f, err = files.Open(file); err != nil {
			return config.File{}, exit.Inputf("configuration: %w", err)
		}
		defer f.Close()
		if err := files.TrustedPath(file, f); err != nil {
			return config.File{}, exit.Configf(files.Hint(err), "configuration: %w", err)
		}
		in = f
	}
	text, err := files.ReadSmall(file, in)
	if err != nil {
		return config.File{}, exit.Inputf("configuration: %w", err)
	}
	c, err := config.Parse(file, text)
	if err != nil {
		return config.File{}, exit.Configf("", "%w", err)
	}
	if f != nil && c.HoldsPassword() {
		err = files.Private(file, f)
	}
	if e, ok := errors.AsType[*files.Untrusted](err); ok {
		return config.File{}, exit.Configf(e.Hint, "%s holds a password and %s", file, e.What)
	}
	if err != nil {
		return config.File{}, exit.Inputf("configuration: %w", err)
	}
	return c, nil
}

// applyEnvironment sets flags from the environment if the command line has not set
// them.
func (env *Env) applyEnvironment(cmd *cobra.Command) error {
	env.flagSet = cmd.Flags()
	f := &env.flags
	f.timeoutGiven = env.flagSet.Changed("timeout")
	env.who = config.Who{Account: f.account, JID: f.jid, EnvAccount: env.Getenv("XMPP_ACCOUNT"), EnvJID: env.Getenv("XMPP_JID")}
	f.jid = cmp.Or(f.jid, env.who.EnvJID) // until configure knows better
	if err := env.applyVariables(environment[:]); err != nil {
		return err
	}
	var err error
	if f.config, err = env.belowHome(env.sourceOf("config"), f.config); err != nil {
		return err
	}
	if f.stateDir, err = env.belowHome(env.sourceOf("state-dir"), f.stateDir); err != nil {
		return err
	}
	env.bound(cmd.Context(), time.Duration(f.timeout))
	if env.flags.json {
		env.wholeLines()
	}
	env.out = output.NewPrinter(env.stdout, env.flags.json, env.Terminal)
	return nil
}

func (env *Env) belowHome(flag, path string) (string, error) {
	return config.BelowHome(flag, path, env.Getenv("HOME"))
}

// applyVariables sets the flags that are not set yet.
func (env *Env) applyVariables(variables [][2]string) error {
	for _, e := range variables {
		f := env.flagSet.Lookup(e[0])
		value := env.Getenv(e[1])
		if f == nil || f.Changed || value == "" {
			continue
		}
		values := strings.FieldsFunc(value, func(r rune) bool { return e[0] == "tls-pin" && (r == ',' || r == ' ') })
		if len(values) == 0 { // pins without a pin, which must not be as if nothing was pinned
			values = []string{value}
		}
		for _, v := range values {
			if err := env.flagSet.Set(e[0], v); err != nil {
				return exit.Usagef("%s: %w", e[1], flags.Wanted(err))
			}
			_ = env.flagSet.SetAnnotation(e[0], sourceNote, []string{e[1]}) // it is there: it was set
		}
	}
	return nil
}

// sourceNote is the annotation of a flag that names its source, if that is not the
// command line.
const sourceNote = "source"

// sourceOf names the source of a flag's value: the flag itself, a variable, or a file
// and its key.
func (env *Env) sourceOf(flag string) string {
	if f := env.flagSet.Lookup(flag); f != nil && len(f.Annotations[sourceNote]) > 0 {
		return f.Annotations[sourceNote][0]
	}
	return "--" + flag
}
