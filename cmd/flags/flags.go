// Package flags has the types of flags and arguments that commands share, and their
// errors. It does not define the flags themselves.
package flags

import (
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

// maxQuote is how much of a value an error quotes, in bytes.
const maxQuote = 200

// Wanted replaces an error of strconv with the values that the flag accepts.
func Wanted(err error) error {
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
	return fmt.Errorf("%q: %w", xmpp.Clip(e.GetValue(), maxQuote), want)
}

func Error(cmd *cobra.Command, err error) error {
	u := exit.Usagef("%w", err)
	u.Hint = cmd.CommandPath() + " --help"
	invalid, isInvalid := errors.AsType[*pflag.InvalidValueError](err)
	lacking, isLacking := errors.AsType[*pflag.ValueRequiredError](err)
	unknown, isUnknown := errors.AsType[*pflag.NotExistError](err)
	switch {
	case isInvalid:
		u.Err = fmt.Errorf("--%s: %w", invalid.GetFlag().Name, Wanted(err))
	case isLacking:
		name, _ := pflag.UnquoteUsage(lacking.GetFlag())
		u.Err = fmt.Errorf("flag needs an argument: --%s %s", lacking.GetFlag().Name, name)
	case isUnknown && (strings.HasPrefix(unknown.GetSpecifiedName(), "pas") || unknown.GetSpecifiedName() == "p"):
		// The error may contain the value, which is a secret.
		u.Err = errors.New("no flag takes a password: every user of this machine can read the arguments")
		u.Hint = config.PasswordWays
	case isUnknown && unknown.GetSpecifiedShortnames() == "":
		if like := flagLike(cmd, unknown.GetSpecifiedName()); like != "" {
			u.Hint = "did you mean --" + like + "?"
		}
	}
	return u
}

// flagLike returns the flags with names similar to a mistyped one, or "".
func flagLike(cmd *cobra.Command, name string) string {
	flags := &cobra.Command{SuggestionsMinimumDistance: 2} // which finds similar words
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		flags.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
	})
	return strings.Join(flags.SuggestionsFor(name), " or --")
}

// Exclusive refuses flags that MarkFlagsMutuallyExclusive keeps apart, before cobra
// does, with our own error.
func Exclusive(cmd *cobra.Command) (err error) {
	const groups = "cobra_annotation_mutually_exclusive"
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		for _, group := range f.Annotations[groups] {
			names := slices.DeleteFunc(strings.Fields(group), func(name string) bool { return !cmd.Flags().Changed(name) })
			if len(names) > 1 {
				err = exit.Usagef("--%s and --%s cannot be combined", names[0], names[1])
			}
		}
	})
	return err
}

// Args checks the number of arguments like cobra's validators, but with our errors.
func Args(min, max int, what string) cobra.PositionalArgs {
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

// A OneOf flag has one of several values. Each value may have a description after a
// tab, for completion.
type OneOf struct {
	Value *string
	Of    []cobra.Completion
}

func (o OneOf) Set(s string) error {
	var all []string
	if s == "" && *o.Value == "" {
		return nil // as if it was not given
	}
	for _, c := range o.Of {
		value, _, _ := strings.Cut(c, "\t")
		if s == value {
			*o.Value = s
			return nil
		}
		all = append(all, value)
	}
	last := len(all) - 1
	return fmt.Errorf("want %s or %s", strings.Join(all[:last], ", "), all[last])
}

func (o OneOf) String() string {
	if o.Value == nil {
		return ""
	}
	return *o.Value
}

func (o OneOf) Type() string { return "string" }

// A Duration flag is a Go duration, plain seconds, or days.
type Duration time.Duration

func (d *Duration) Set(s string) error {
	v, err := config.ParseDuration(s)
	if err == nil {
		*d = Duration(v)
	}
	return err
}

func (d *Duration) String() string {
	if *d == 0 {
		return "0" // which help does not show as a default
	}
	// This drops the trailing zero units of time.Duration: 2m, not 2m0s.
	s := time.Duration(*d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}

func (d *Duration) Type() string { return "duration" }

// A Moment flag is a point in time: RFC 3339, the beginning of a date in UTC, or how long ago.
type Moment time.Time

func (m *Moment) Set(s string) error {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		t, err := time.Parse(layout, strings.ToUpper(s))
		if year := t.UTC().Year(); err == nil && year > 1 && year <= 9999 { // others have no form in XEP-0082, or are no bound
			*m = Moment(t)
			return nil
		}
	}
	d, err := config.ParseDuration(s)
	if err != nil || d == 0 && s != "0" {
		return errors.New(`want a time such as "2026-11-20T21:41:28Z", "2026-11-20", "24h" or "7d"`)
	}
	*m = Moment(time.Now().Add(-d))
	return nil
}

// End is the end of what is shown as this point in time: results have milliseconds, or
// whole seconds.
func (m *Moment) End() time.Time {
	switch t := time.Time(*m); {
	case t.IsZero():
		return t
	case t.Nanosecond() == 0 && t.Truncate(24*time.Hour) != t: // not the beginning of a date
		return t.Add(time.Second - time.Microsecond)
	default:
		return t.Truncate(time.Millisecond).Add(time.Millisecond - time.Microsecond)
	}
}

func (m *Moment) String() string { return "" }

func (m *Moment) Type() string { return "time" }

func UnknownCommand(root *cobra.Command, name string) *exit.Error {
	err := exit.Usagef("unknown command %q", name)
	err.Hint = root.CommandPath() + " --help lists the commands"
	if s := root.SuggestionsFor(name); len(s) > 0 {
		err.Hint = "did you mean " + strings.Join(s, " or ") + "?"
	}
	return err
}

// Completions returns the values that begin with the typed text and are safe to show:
// cached values came from others. Cobra would trim the spaces at their ends.
func Completions(all []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var some []cobra.Completion
	for _, c := range all {
		value, _, _ := strings.Cut(c, "\t")
		if strings.HasPrefix(value, toComplete) && output.Clean(value) == value && strings.TrimSpace(value) == value {
			some = append(some, c)
		}
	}
	return some, cobra.ShellCompDirectiveNoFileComp
}
