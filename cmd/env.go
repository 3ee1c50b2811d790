package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"xmppkit/cmd/exit"
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

	// ReadPassword asks a person, without echo, until ctx ends. It fails where
	// nobody can answer.
	ReadPassword func(ctx context.Context, prompt string) (string, error)

	// Dial opens a session.
	Dial func(context.Context, xmpp.Options) (*xmpp.Session, error)

	// OutGone waits until nobody can read Out any more, or ctx ends, and says
	// which. It is nil where that cannot be known.
	OutGone func(ctx context.Context) bool

	flags   flags
	who     who            // the account is, as far as flags and environment say
	spent   time.Duration  // of --timeout, before the connection
	flagSet *pflag.FlagSet // of the command that runs
	inUsed  bool           // the command reads In itself
	started time.Time
	stdout  *stoppableWriter
	out     *output.Printer // to stdout
	talk    *talker         // to Err
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
		In: os.Stdin, Out: stdout(), Err: os.Stderr, Getenv: takeEnvironment(),
		Terminal:     term.IsTerminal(int(os.Stdout.Fd())),
		Width:        width,
		ErrTerminal:  term.IsTerminal(int(os.Stderr.Fd())),
		ReadPassword: readPassword,
		Dial:         xmpp.Dial,
		OutGone:      outGone,
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

// flags are the global flags.
type flags struct {
	account         string
	jid             string
	passwordFile    string
	passwordCommand string
	server          string
	tls             string
	caFile          string
	pins            []string
	allowPlain      bool
	timeout         duration
	timeoutGiven    bool     // by the flag: it bounds the whole also of what lasts by its nature
	login           duration // bounds the login and each wait where timeout bounds nothing
	json            bool
	quiet           bool
	verbose         int
	config          string
	stateDir        string
	noCache         bool

	resource string // only in a configuration file
}

// environment maps global flags to the variables that stand in for them.
// accountEnvironment does so for what belongs to the account of XMPP_JID; so does the
// password: see passwordSource.
var (
	environment = [...][2]string{
		{"config", "XMPP_CONFIG"}, {"timeout", "XMPP_TIMEOUT"}, {"json", "XMPP_JSON"}, {"state-dir", "XMPP_STATE_DIR"},
	}
	accountEnvironment = [...][2]string{
		{"server", "XMPP_SERVER"}, {"tls", "XMPP_TLS"}, {"ca-file", "XMPP_CA_FILE"}, {"tls-pin", "XMPP_TLS_PIN"}, {"allow-plain", "XMPP_ALLOW_PLAIN"},
	}
)

func (env *Env) addFlags(fs *pflag.FlagSet) {
	f := &env.flags
	f.timeout = duration(30 * time.Second)
	fs.SortFlags = false
	fs.StringVarP(&f.jid, "jid", "j", "", "the `JID` to use: user@domain[/resource] [XMPP_JID]")
	fs.StringVarP(&f.account, "account", "a", "", "the `NAME` of an account in the configuration file [XMPP_ACCOUNT]")
	fs.StringVar(&f.passwordFile, "password-file", "", "the password is the first line of `FILE`; - is standard input [XMPP_PASSWORD_FILE]")
	fs.StringVar(&f.passwordCommand, "password-command", "", "the password is the first line that `COMMAND` prints; a shell runs it [XMPP_PASSWORD_COMMAND]")
	fs.StringVar(&f.server, "server", "", "connect to `HOST[:PORT]`; the certificate must still name the domain of the JID [XMPP_SERVER]")
	fs.StringVar(&f.tls, "tls", "auto", "the `MODE` of TLS: auto, direct or starttls; auto asks DNS or, with --server, uses direct on the ports 5223 and 443 [XMPP_TLS]")
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

// applyEnvironment sets from the environment what no flag has set.
func (env *Env) applyEnvironment(cmd *cobra.Command) error {
	env.flagSet = cmd.Flags()
	f := &env.flags
	f.timeoutGiven = env.flagSet.Changed("timeout")
	env.who = who{f.account, f.jid, env.Getenv("XMPP_ACCOUNT"), env.Getenv("XMPP_JID")}
	f.jid = cmp.Or(f.jid, env.who.envJID) // until configure knows better
	if err := env.applyVariables(environment[:]); err != nil {
		return err
	}
	env.bound(cmd.Context())
	if env.flags.json {
		env.wholeLines()
	}
	env.out = output.NewPrinter(env.stdout, env.flags.json, env.Terminal)
	return nil
}

// applyVariables sets the flags that are not set yet.
func (env *Env) applyVariables(variables [][2]string) error {
	for _, e := range variables {
		f := env.flagSet.Lookup(e[0])
		value := env.Getenv(e[1])
		if f == nil || f.Changed || value == "" {
			continue
		}
		for _, v := range strings.FieldsFunc(value, func(r rune) bool { return e[0] == "tls-pin" && (r == ',' || r == ' ') }) {
			if err := env.flagSet.Set(e[0], v); err != nil {
				return exit.Usagef("%s: %w", e[1], err)
			}
		}
	}
	return nil
}

// needOutput refuses to begin what nobody could see the result of.
func (env *Env) needOutput() error {
	if _, closed := env.Out.(closedWriter); closed {
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
		fmt.Fprintf(env.talk, "xmppkit: * %s\n", output.Clean(fmt.Sprintf(format, args...)))
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
		fmt.Fprintf(env.talk, "xmppkit: %s %s\n", direction, oneLine([]byte(xml)))
	}
}

// A duration flag is a Go duration, plain seconds, or days.
type duration time.Duration

func (d *duration) Set(s string) error {
	v, err := time.ParseDuration(s)
	number, days := strings.CutSuffix(s, "d")
	n, e := strconv.ParseFloat(number, 64)
	if days {
		n *= 24 * 60 * 60
	}
	if e == nil && n < 1e9 && n > -1e9 && !strings.ContainsAny(number, "xX") {
		v, err = time.Duration(n*float64(time.Second)), nil
	}
	if err != nil || v < 0 {
		return errors.New(`want a duration such as "30s", "2m", "7d" or plain seconds`)
	}
	digits, _, _ := strings.Cut(strings.ToLower(s), "e")
	if v == 0 && strings.ContainsAny(digits, "123456789") { // 0 is another thing: no limit
		return errors.New("less than a nanosecond")
	}
	*d = duration(v)
	return nil
}

func (d *duration) String() string {
	if *d == 0 {
		return "0" // which help does not call a default
	}
	// Without the zero units that time.Duration ends in: 2m, not 2m0s.
	s := time.Duration(*d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}

func (d *duration) Type() string { return "duration" }
