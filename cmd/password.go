package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"xmppkit/cmd/child"
	"xmppkit/cmd/config"
	"xmppkit/cmd/exit"
	"xmppkit/cmd/files"
	"xmppkit/cmd/prompt"
	"xmppkit/xmpp"
)

// password obtains the password of an account. The first source wins: the flags, the
// environment, the sections of the configuration file, systemd, a person. Waiting for
// it counts towards --timeout, except for a person.
func (env *Env) password(ctx context.Context, account xmpp.JID, ch config.Choice, stdin bool) (secret xmpp.Secret, typed bool, err error) {
	prompt.NoCoreDumps()
	way := env.passwordSource(ch)
	value := way.value
	bounded, cancel := withTimeout(ctx, env.flags.timeout)
	defer cancel()
	switch way.key {
	case "password":
	case "password_file":
		value, err = env.passwordFile(bounded, value, stdin)
	case "password_command":
		value, err = env.passwordCommand(bounded, value)
	case "credential":
		value, err = credential(ctx, value)
	default:
		value, err = env.askPassword(ctx, account, ch)
	}
	if err != nil && way.key != "" && way.key != "credential" && !strings.HasPrefix(way.source, "--") {
		err = fmt.Errorf("%s: %w", way.from(), err)
	}
	switch {
	case err == nil && value == "":
		err = exit.Configf(config.PasswordWays, "the password of %s is empty", account)
	case err == nil && strings.ContainsAny(value, "\r\n"):
		err = exit.Configf("a password is a single line", "%s has a line break", way.what())
	}
	return xmpp.Secret(value), way.key == "", err
}

// A passwordWay is a way to give a password.
type passwordWay struct {
	key, value string // nil for a person
	source     string // the flag, variable or key, "" for a person
	file       string // that has the key
}

// from names the variable, or the file and its key.
func (w passwordWay) from() string {
	if w.file != "" {
		return w.file + ": " + w.key
	}
	return w.source
}

// name describes the password in an error.
func (w passwordWay) what() string {
	switch {
	case w.key == "password_command":
		return "what " + w.source + " prints"
	case w.key == "password_file" || w.key == "credential":
		return "the first line of " + w.value
	case w.file != "":
		return "password in " + w.file
	}
	return w.source
}

// passwordSource returns how the password of an account is given. A password in the
// environment is only for the account of XMPP_JID or XMPP_ACCOUNT.
func (env *Env) passwordSource(ch config.Choice) passwordWay {
	f := &env.flags
	ways := []passwordWay{
		{key: "password_file", value: f.passwordFile, source: "--password-file"},
		{key: "password_command", value: f.passwordCommand, source: "--password-command"},
	}
	if ch.Foreign == "" {
		for _, key := range config.PasswordKeys {
			variable := "XMPP_" + strings.ToUpper(key)
			ways = append(ways, passwordWay{key: key, value: env.Getenv(variable), source: variable})
		}
	}
	for _, s := range ch.Sections {
		for _, key := range config.PasswordKeys {
			ways = append(ways, passwordWay{key: key, value: s.Get(key), source: key, file: ch.File})
		}
	}
	if dir := env.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && ch.Foreign == "" {
		file := filepath.Join(dir, "xmppkit.password")
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			ways = append(ways, passwordWay{key: "credential", value: file, source: "systemd credential xmppkit.password"})
		}
	}
	for _, way := range ways {
		if way.value != "" {
			return way
		}
	}
	return passwordWay{}
}

func (env *Env) passwordFile(ctx context.Context, file string, stdin bool) (string, error) {
	file, err := env.belowHome("--password-file", file)
	if err != nil {
		return "", err
	}
	if file == "-" || files.IsStdin(file) {
		if stdin {
			return "", exit.Usagef("--password-file %s: standard input is already the message", file)
		}
		return waitFor(ctx, "the password", func() (string, error) { return firstLine(env.In) })
	}
	return waitFor(ctx, "the password from "+file, func() (string, error) {
		f, err := files.Open(file)
		if err != nil {
			return "", exit.Inputf("password file: %w", err)
		}
		defer f.Close()
		if err := files.Private(file, f); err != nil {
			return "", exit.Configf(files.Hint(err), "password file %w", err)
		}
		return firstLine(f)
	})
}

// passwordCommand runs a command in its own process group, which ends with ctx. The
// command gets the terminal, if there is one. It never gets standard input, which may
// hold the message.
func (env *Env) passwordCommand(ctx context.Context, command string) (string, error) {
	const linger = 300 * time.Millisecond
	var out firstBytes
	sh, err := exec.LookPath("sh")
	if err != nil {
		return "", exit.Configf("", "password command: %w", err)
	}
	tty, err := prompt.Terminal()
	if err == nil {
		defer tty.Close()
	}
	c := &child.Child{
		Path: sh, Args: []string{"sh", "-c", command}, Stdout: &out, Stderr: env.Err,
		Group: true, Terminal: tty, Grace: func() time.Duration { return linger }, Linger: linger,
	}
	err = c.Run(ctx)
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("password command: %w", context.Cause(ctx))
	case child.Code(err) == exit.Interrupt: // a person ended it from the terminal
		return "", &exit.Error{Code: exit.Interrupt, Err: errors.New("interrupted")}
	case err != nil:
		return "", exit.Configf("", "password command: %w", err)
	}
	return firstLine(bytes.NewReader(out))
}

// credential reads a credential of systemd. By systemd.exec(5) only the service can
// read it. An access control list may ensure that, so the file mode would mislead.
func credential(ctx context.Context, file string) (string, error) {
	return waitFor(ctx, "the password from "+file, func() (string, error) {
		f, err := files.Open(file)
		if err != nil {
			return "", exit.Inputf("systemd credential: %w", err)
		}
		defer f.Close()
		return firstLine(f)
	})
}

// askPassword asks a person.
func (env *Env) askPassword(ctx context.Context, account xmpp.JID, ch config.Choice) (string, error) {
	limit := time.Duration(env.flags.timeout)
	p, err := env.ReadPassword(ctx, fmt.Sprintf("Password of %s: ", account), limit)
	switch {
	case err == nil:
		return p, nil
	case errors.Is(err, io.EOF): // Control-D
		return "", exit.Configf(config.PasswordWays, "no password for %s: none was typed", account)
	case errors.Is(err, prompt.ErrQuit):
		return "", &exit.Error{Code: exit.Interrupt, Err: err}
	case errors.Is(err, prompt.ErrLate):
		return "", fmt.Errorf("waiting for the password: %w", errTimeout(limit))
	case ctx.Err() != nil:
		return "", fmt.Errorf("waiting for the password: %w", context.Cause(ctx))
	case !errors.Is(err, prompt.ErrNoTerminal):
		return "", exit.Inputf("read the password: %w", err)
	case env.Getenv("XMPP_TRY") != "": // of a handler
		return "", exit.Configf("set password_file or password_command in "+env.configName(),
			"no password for %s: listen passes none to its CMD; use a configuration file there", account)
	case ch.Foreign != "" && env.passwordSource(config.Choice{}).key != "":
		return "", exit.Configf(config.PasswordWays, "no password for %s: the one in the environment is for %s, %s", account, ch.Foreign, env.Getenv(ch.Foreign))
	}
	return "", exit.Configf(config.PasswordWays, "no password for %s", account)
}

// firstLine returns the first line of r, without its final LF or CRLF and otherwise
// unchanged.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, files.MaxSmall)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", exit.Inputf("read the password: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// firstBytes keeps the beginning of what is written to it.
type firstBytes []byte

func (b *firstBytes) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), files.MaxSmall-len(*b))]...)
	return len(p), nil
}
