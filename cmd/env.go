package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"xmppkit/cmd/config"
	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/cmd/prompt"
	"xmppkit/cmd/stdio"
	"xmppkit/internal/aside"
	"xmppkit/output"
	"xmppkit/xmpp"
)

// Env is the outside world as a command may use it.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string

	// Terminal and ErrTerminal say that Out and Err are terminals, where a person
	// reads.
	Terminal, ErrTerminal bool

	// Width is the width of the terminal in columns; 0 if Out is not a terminal.
	Width int

	// ReadPassword asks a person, without echo, until ctx ends or limit passes; 0 means
	// no limit. It fails if there is nobody to ask.
	ReadPassword func(ctx context.Context, prompt string, limit time.Duration) (string, error)

	// Dial opens a session.
	Dial func(context.Context, xmpp.Options) (*xmpp.Session, error)

	// OutGone waits until nobody can read Out any more, or ctx ends, and says which. It
	// is nil if that cannot be detected.
	OutGone func(ctx context.Context) bool

	flags   globals
	who     config.Who     // the account, as flags and environment name it
	flagSet *pflag.FlagSet // of the command that runs
	started time.Time
	stdout  *stdio.Stdout
	out     *output.Printer // to stdout
	stderr  *stdio.Stderr
}

// System is the environment of a real process.
func System() *Env {
	// Unless the program handles SIGPIPE, the runtime ends it at the first write to a
	// pipe without a reader, before the stream can be closed.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	// The goroutines of a session take turns. On several processors the runtime
	// would wake a thread for each turn, which costs more than the turn.
	runtime.GOMAXPROCS(1)
	width, _, _ := term.GetSize(int(os.Stdout.Fd()))
	return &Env{
		In: os.Stdin, Out: stdio.Open(), Err: os.Stderr, Getenv: takeEnvironment(),
		Terminal:     term.IsTerminal(int(os.Stdout.Fd())),
		Width:        width,
		ErrTerminal:  term.IsTerminal(int(os.Stderr.Fd())),
		ReadPassword: prompt.Password,
		Dial:         xmpp.Dial,
		OutGone:      stdio.Gone,
	}
}

// takeEnvironment returns the environment, and removes the password from what child
// processes inherit.
func takeEnvironment() func(string) string {
	password := os.Getenv("XMPP_PASSWORD")
	os.Unsetenv("XMPP_PASSWORD")
	return func(key string) string {
		if key == "XMPP_PASSWORD" {
			return password
		}
		return os.Getenv(key)
	}
}

// discard is the hint if standard output is closed.
const discard = "to discard the results: >/dev/null"

// needOutput refuses to start if standard output is closed.
func (env *Env) needOutput() error {
	if _, closed := env.Out.(stdio.Closed); closed {
		return &exit.Error{Code: exit.Output, Class: "output", Err: stdio.ErrClosed, Hint: discard}
	}
	return nil
}

// print prints one result and flushes it.
func (env *Env) print(r output.Record) error {
	if err := env.out.Print(r); err != nil {
		return err
	}
	return env.out.Flush()
}

// trace prints a step of the connection, for --verbose.
func (env *Env) trace(format string, args ...any) {
	if env.flags.verbose > 0 && !env.flags.quiet {
		fmt.Fprintf(env.stderr, "xmppkit: * %s\n", output.Clean(fmt.Sprintf(format, args...)))
	}
}

// traceXML returns the function that prints the stream, or nil without -vv.
func (env *Env) traceXML() func(out bool, xml string) {
	if env.flags.verbose < 2 || env.flags.quiet {
		return nil
	}
	return func(out bool, xml string) {
		direction := "<"
		if out {
			direction = ">"
		}
		fmt.Fprintf(env.stderr, "xmppkit: %s %s\n", direction, output.OneLine([]byte(xml)))
	}
}

// open opens the outputs.
func (env *Env) open(ctx context.Context) {
	env.started = time.Now()
	env.stdout = stdio.NewStdout(ctx, env.Out)
	env.stderr = stdio.NewStderr(env.Err,
		func() bool { return env.stdout.Context().Err() != nil },
		func() bool { return env.flags.json && env.flags.verbose == 0 })
}

// bound limits the wait for a reader of the results to --timeout, counted from the
// start of the program. A session later sets its own limit.
func (env *Env) bound(ctx context.Context, d time.Duration) {
	if d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, env.started.Add(d), errTimeout(d))
		context.AfterFunc(ctx, cancel)
	}
	env.stdout.Until(ctx)
}

// A helpWriter writes what cobra prints. By then the flags have been parsed, but not
// yet the environment.
type helpWriter struct {
	env  *Env
	ctx  context.Context
	once sync.Once
}

func (h *helpWriter) Write(b []byte) (int, error) {
	h.once.Do(func() { h.env.bound(h.ctx, time.Duration(h.env.flags.timeout)) })
	return h.env.stdout.Write(b)
}

// finishes marks a command that finishes its work even if nobody reads its results,
// because its exit code is an answer.
func (env *Env) finishes() { env.stdout.Finish() }

// outcome is the error of a command, including failures to write results. For a command
// that only lists, a reader that goes away is no failure.
func (env *Env) outcome(err error) error {
	write, unwritten := errors.AsType[*output.WriteError](err)
	lost := env.stdout.Lost()
	e, decided := errors.AsType[*exit.Error](err)
	switch {
	case errors.Is(err, errReaderGone), unwritten && errors.Is(write, syscall.EPIPE):
		return nil
	case lost == nil:
		return err
	case err == nil, decided && e.Code == exit.No && !errors.Is(lost, syscall.EPIPE):
		return &output.WriteError{Err: lost}
	}
	return err
}

// errReaderGone is the cause of a context that ended because nobody reads the results.
var errReaderGone = errors.New("the reader of standard output is gone")

// whileRead ends ctx by errReaderGone when nobody can read standard output any more.
func (env *Env) whileRead(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancelCause(ctx)
	if env.OutGone != nil {
		go func() {
			if env.OutGone(ctx) {
				stop(errReaderGone)
			}
		}()
	}
	return ctx, func() { stop(nil) }
}

// newProgress returns nil if nobody would see it, or if something else appears on the
// same terminal: results, the steps of the connection, or what a person types.
func (env *Env) newProgress() *stdio.Progress {
	in, isFile := env.In.(*os.File)
	typed := isFile && term.IsTerminal(int(in.Fd()))
	if !env.ErrTerminal || env.Terminal && env.flags.json || typed || env.flags.quiet || env.flags.verbose > 0 {
		return nil
	}
	return stdio.NewProgress(env.stderr)
}

// A signalError is the cause of a context that a signal has ended.
type signalError struct{ syscall.Signal }

func (e signalError) Error() string { return e.String() + " signal received" }

func (e signalError) Is(target error) bool { return target == context.Canceled }

// NotifyContext returns a context that ends with the first signal that asks the program
// to stop, and a function that stops waiting for signals. A hangup that is ignored, as
// under nohup(1), stays ignored.
func NotifyContext(parent context.Context) (ctx context.Context, stop func()) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, cancel := context.WithCancelCause(parent)
	received := make(chan os.Signal, 1)
	signal.Notify(received, signals...)
	go func() {
		select {
		case s := <-received:
			cancel(signalError{s.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(received)
		cancel(context.Canceled)
	}
}

// waitFor returns the result of f or, as soon as ctx ends, an error that says what it
// waited for.
func waitFor[T any](ctx context.Context, what string, f func() (T, error)) (T, error) {
	v, err := aside.Run(ctx, 0, f)
	if ctx.Err() != nil && err == context.Cause(ctx) {
		err = fmt.Errorf("waiting for %s: %w", what, err)
	}
	return v, err
}

// globals are the global flags.
type globals struct {
	account         string
	jid             string
	passwordFile    string
	passwordCommand string
	server          string
	tls             string
	caFile          string
	pins            []string
	allowPlain      bool
	timeout         flags.Duration
	timeoutGiven    bool // set by the flag: then it limits the whole run even of commands that run until stopped
	json            bool
	quiet           bool
	verbose         int
	config          string
	stateDir        string
	noCache         bool

	resource string // only in a configuration file
}

// environment maps global flags to their variables. accountEnvironment does so for
// flags that belong to the account of XMPP_JID. The password belongs to it too: see
// passwordSource.
var (
	environment = [...][2]string{
		{"config", "XMPP_CONFIG"}, {"timeout", "XMPP_TIMEOUT"}, {"json", "XMPP_JSON"}, {"state-dir", "XMPP_STATE_DIR"},
	}
	accountEnvironment = [...][2]string{
		{"server", "XMPP_SERVER"}, {"tls", "XMPP_TLS"}, {"ca-file", "XMPP_CA_FILE"}, {"tls-pin", "XMPP_TLS_PIN"}, {"allow-plain", "XMPP_ALLOW_PLAIN"},
	}
)

// add adds the global flags.
func (f *globals) add(fs *pflag.FlagSet) {
	f.timeout = flags.Duration(30 * time.Second)
	f.tls = string(xmpp.TLSAuto)
	fs.SortFlags = false
	fs.StringVarP(&f.jid, "jid", "j", "", "the `JID` to use: user@domain[/resource] [XMPP_JID]")
	fs.StringVarP(&f.account, "account", "a", "", "the `NAME` of an account in the configuration file [XMPP_ACCOUNT]")
	fs.StringVar(&f.passwordFile, "password-file", "", "the password is the first line of `FILE`; - is standard input [XMPP_PASSWORD_FILE]")
	fs.StringVar(&f.passwordCommand, "password-command", "", "the password is the first line that `COMMAND` prints; a shell runs it [XMPP_PASSWORD_COMMAND]")
	fs.StringVar(&f.server, "server", "", "connect to `HOST[:PORT]`; the certificate must still name the domain of the JID [XMPP_SERVER]")
	fs.Var(flags.OneOf{Value: &f.tls, Of: []cobra.Completion{"auto\tas DNS or the port says", "direct\tTLS from the first byte", "starttls\tSTARTTLS on a plain connection"}}, "tls", "the `MODE` of TLS: auto, direct or starttls; auto asks DNS or, with --server, uses direct on ports 5223 and 443 [XMPP_TLS]")
	fs.StringVar(&f.caFile, "ca-file", "", "trust the PEM certificates in `FILE` instead of the system's [XMPP_CA_FILE]")
	fs.StringArrayVar(&f.pins, "tls-pin", nil, "trust only the certificate with the key `sha256:HEX`; repeatable [XMPP_TLS_PIN]")
	fs.BoolVar(&f.allowPlain, "allow-plain", false, "allow SASL PLAIN, inside TLS, if the server offers nothing better [XMPP_ALLOW_PLAIN]")
	fs.Var(&f.timeout, "timeout", "give up after `DURATION`; 0 means no limit [XMPP_TIMEOUT]")
	fs.BoolVar(&f.json, "json", false, "print results and errors as JSON, one object a line [XMPP_JSON]")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print only results and errors")
	fs.CountVarP(&f.verbose, "verbose", "v", "print the steps of the connection on standard error; -vv also prints the XML, without secrets")
	fs.StringVar(&f.config, "config", "", "read the configuration from `FILE` (default $XDG_CONFIG_HOME/xmppkit/config.toml) [XMPP_CONFIG]")
	fs.StringVar(&f.stateDir, "state-dir", "", "keep logins and rosters in `DIR` (default xmppkit in $STATE_DIRECTORY or $XDG_STATE_HOME) [XMPP_STATE_DIR]")
	fs.BoolVar(&f.noCache, "no-cache", false, "do not read or write the state directory")
}

// errTimeout is the cause of a context that ended because --timeout has passed.
type errTimeout = xmpp.TimeoutError

// withTimeout limits ctx to a duration; 0 means no limit.
func withTimeout(ctx context.Context, d flags.Duration) (context.Context, context.CancelFunc) {
	return xmpp.WithTimeout(ctx, time.Duration(d))
}
