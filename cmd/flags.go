package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"xmppkit/cmd/config"
	"xmppkit/cmd/exit"
	"xmppkit/output"
	"xmppkit/xmpp"
)

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

// add adds the global flags.
func (f *flags) add(fs *pflag.FlagSet) {
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

// badValue says which values a flag takes, in place of what strconv says of this one.
func badValue(err error) error {
	e, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	want := errors.Unwrap(e)
	switch e.GetFlag().Value.Type() {
	case "bool":
		want = errors.New("want true or false")
	case "int", "count":
		want = errors.New("want a whole number")
		if errors.Is(e, strconv.ErrRange) {
			want = errors.New("the number is too large")
		}
	}
	return fmt.Errorf("%q: %w", quote(e.GetValue()), want)
}

func flagError(cmd *cobra.Command, err error) error {
	u := exit.Usagef("%w", err)
	u.Hint = cmd.CommandPath() + " --help"
	invalid, isInvalid := errors.AsType[*pflag.InvalidValueError](err)
	lacking, isLacking := errors.AsType[*pflag.ValueRequiredError](err)
	unknown, isUnknown := errors.AsType[*pflag.NotExistError](err)
	switch {
	case isInvalid:
		u.Err = fmt.Errorf("--%s: %w", invalid.GetFlag().Name, badValue(err))
	case isLacking:
		name, _ := pflag.UnquoteUsage(lacking.GetFlag())
		u.Err = fmt.Errorf("flag needs an argument: --%s %s", lacking.GetFlag().Name, name)
	case isUnknown && (strings.HasPrefix(unknown.GetSpecifiedName(), "pas") || unknown.GetSpecifiedName() == "p"):
		// The value may be in the error, and is a secret.
		u.Err = errors.New("there is no flag that takes a password: every user of this machine can read the arguments")
		u.Hint = passwordWays
	case isUnknown && unknown.GetSpecifiedShortnames() == "":
		if like := flagLike(cmd, unknown.GetSpecifiedName()); like != "" {
			u.Hint = "did you mean --" + like + "?"
		}
	}
	return u
}

// flagLike returns the flags that somebody may have meant with a name, or "".
func flagLike(cmd *cobra.Command, name string) string {
	flags := &cobra.Command{SuggestionsMinimumDistance: 2} // which knows words that are alike
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	return strings.Join(flags.SuggestionsFor(name), " or --")
}

// exclusive refuses flags that MarkFlagsMutuallyExclusive keeps apart, as cobra would
// later, with an error of ours.
func exclusive(cmd *cobra.Command) (err error) {
	const groups = "cobra_annotation_mutually_exclusive"
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		for _, group := range f.Annotations[groups] {
			names := slices.DeleteFunc(strings.Fields(group), func(name string) bool { return !cmd.Flags().Changed(name) })
			if len(names) > 1 {
				err = exit.Usagef("--%s and --%s exclude each other", names[0], names[1])
			}
		}
	})
	return err
}

// args checks the number of arguments, as cobra's validators do, with our errors.
func args(min, max int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		_, name, _ := strings.Cut(cmd.CommandPath(), " ")
		var err *exit.Error
		switch {
		case len(args) < min:
			err = exit.Usagef("%s: missing argument: %s", name, what)
		case max >= 0 && len(args) > max:
			err = exit.Usagef("%s: unexpected argument %q", name, args[max])
		default:
			return nil
		}
		err.Hint = "usage: " + cmd.UseLine()
		return err
	}
}

// A oneOf flag has one of several values, each of which may have a description after a
// tab, for who completes it.
type oneOf struct {
	value *string
	of    []cobra.Completion
}

func (o oneOf) Set(s string) error {
	var all []string
	if s == "" && *o.value == "" {
		return nil // as if it was not given
	}
	for _, c := range o.of {
		value, _, _ := strings.Cut(c, "\t")
		if s == value {
			*o.value = s
			return nil
		}
		all = append(all, value)
	}
	last := len(all) - 1
	return fmt.Errorf("want %s or %s", strings.Join(all[:last], ", "), all[last])
}

func (o oneOf) String() string {
	if o.value == nil {
		return ""
	}
	return *o.value
}

func (o oneOf) Type() string { return "string" }

// A duration flag is a Go duration, plain seconds, or days.
type duration time.Duration

func (d *duration) Set(s string) error {
	v, err := config.ParseDuration(s)
	if err == nil {
		*d = duration(v)
	}
	return err
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

func unknownCommand(root *cobra.Command, name string) *exit.Error {
	err := exit.Usagef("unknown command %q", name)
	err.Hint = root.CommandPath() + " --help lists the commands"
	if s := root.SuggestionsFor(name); len(s) > 0 {
		err.Hint = "did you mean " + strings.Join(s, " or ") + "?"
	}
	return err
}

// completions returns those that begin with what there is, and can be shown: what is
// cached came from others. Cobra would trim the spaces at their ends.
func completions(all []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var some []cobra.Completion
	for _, c := range all {
		value, _, _ := strings.Cut(c, "\t")
		if strings.HasPrefix(value, toComplete) && output.Clean(value) == value && strings.TrimSpace(value) == value {
			some = append(some, c)
		}
	}
	return some, cobra.ShellCompDirectiveNoFileComp
}

// errTimeout is the cause that ends a context when --timeout has passed.
type errTimeout = xmpp.TimeoutError

// withTimeout bounds ctx by a duration, 0 being none.
func withTimeout(ctx context.Context, d duration) (context.Context, context.CancelFunc) {
	return xmpp.WithTimeout(ctx, time.Duration(d))
}

// passwordWays is the hint of an error for which there is no password.
const passwordWays = "set XMPP_PASSWORD, or give --password-file or --password-command, or password in the configuration file, " +
	"or the systemd credential xmppkit.password; on a terminal it is asked for"
