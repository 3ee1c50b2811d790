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

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"xmppkit/cmd/config"
	"xmppkit/cmd/exit"
	"xmppkit/cmd/prompt"
	"xmppkit/cmd/stdio"
	"xmppkit/internal/aside"
	"xmppkit/output"
	"xmppkit/xmpp"
)

// Env is what a command may touch of the world.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string

	// Terminal and ErrTerminal say that Out and Err are one: a person reads there.
	Terminal, ErrTerminal bool

	// Width is that of the terminal that Out is, in columns, 0 where it is none.
	Width int

	// ReadPassword asks a person, without echo, until ctx ends or limit passes; 0 is
	// none. It fails where nobody can answer.
	ReadPassword func(ctx context.Context, prompt string, limit time.Duration) (string, error)

	// Dial opens a session.
	Dial func(context.Context, xmpp.Options) (*xmpp.Session, error)

	// OutGone waits until nobody can read Out any more, or ctx ends, and says
	// which. It is nil where that cannot be known.
	OutGone func(ctx context.Context) bool

	flags   flags
	who     config.Who     // the account is, as far as flags and environment say
	spent   time.Duration  // of --timeout, before the connection
	flagSet *pflag.FlagSet // of the command that runs
	inUsed  bool           // the command reads In itself
	started time.Time
	stdout  *stdio.Stdout
	out     *output.Printer // to stdout
	stderr  *stdio.Stderr
}

// System is the environment of a real process.
func System() *Env {
	// Without a taker for SIGPIPE the runtime ends the program at the first write
	// to a pipe without a reader, before the stream can be closed.
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

// takeEnvironment returns the environment, and takes the password out of what the
// programs that are started inherit.
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

// needOutput refuses to begin what nobody could see the result of.
func (env *Env) needOutput() error {
	if _, closed := env.Out.(stdio.Closed); closed {
		return &exit.Error{Code: exit.Output, Class: "output", Err: errors.New("standard output is closed")}
	}
	return nil
}

// print prints one result at once.
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

// traceXML returns what prints the stream, or nil where nobody wants to see it.
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

// open makes what the program writes to.
func (env *Env) open(ctx context.Context) {
	env.started = time.Now()
	env.stdout = stdio.NewStdout(ctx, env.Out)
	env.stderr = stdio.NewStderr(env.Err,
		func() bool { return env.stdout.Context().Err() != nil },
		func() bool { return env.flags.json && env.flags.verbose == 0 })
}

// bound lets results be waited for until --timeout has passed since the program was
// started. A session says later when its time is over.
func (env *Env) bound(ctx context.Context) {
	if env.flags.timeout > 0 {
		d := env.flags.timeout
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, env.started.Add(time.Duration(d)), errTimeout(d))
		context.AfterFunc(ctx, cancel)
	}
	env.stdout.Until(ctx)
}

// A helpWriter writes what cobra prints. By then the flags have been read, if not those
// of the environment.
type helpWriter struct {
	env  *Env
	ctx  context.Context
	once sync.Once
}

func (h *helpWriter) Write(b []byte) (int, error) {
	h.once.Do(func() { h.env.bound(h.ctx) })
	return h.env.stdout.Write(b)
}

// finishes says that the command finishes its work, whether its results are read or
// not, and that its exit code is an answer.
func (env *Env) finishes() { env.stdout.Finish() }

// outcome is the error of a command, if what could not be written is taken into
// account. A reader that goes away has seen enough of what only lists.
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

// newProgress returns nil where nobody would see it, and on a terminal where something
// else appears: results, the steps of the connection, or what a person types.
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

// NotifyContext returns a context that ends with the first signal of those that end a
// command in good order, and what stops waiting for one. A hangup that is ignored, as by
// nohup(1), stays so.
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

// waitFor returns what f returns, or, as soon as ctx ends, an error that says what for.
func waitFor[T any](ctx context.Context, what string, f func() (T, error)) (T, error) {
	v, err := aside.Run(ctx, 0, f)
	if ctx.Err() != nil && err == context.Cause(ctx) {
		err = fmt.Errorf("waiting for %s: %w", what, err)
	}
	return v, err
}
