package cmd

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/cmd/stdio"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/deliver"
)

// sentRecord reports what became of one message.
type sentRecord struct {
	Kind  string       `json:"kind"`
	Time  output.Time  `json:"time"`
	To    string       `json:"to"`
	Type  string       `json:"type"`
	ID    string       `json:"id"`
	OK    bool         `json:"ok"`
	Ack   string       `json:"ack"` // none, server or receipt
	AckMS *float64     `json:"ack_ms,omitempty"`
	Error *stanzaError `json:"error,omitempty"`
}

// WriteText writes nothing: in text, silence means success, and failures are errors.
func (sentRecord) WriteText(*output.Text) {}

// stanzaRecord is a stanza that --dry-run does not send.
type stanzaRecord struct {
	Kind string `json:"kind"`
	XML  string `json:"xml"`
}

func (r stanzaRecord) WriteText(t *output.Text) { t.Printf("%s\n", r.XML) }

type sender struct {
	env       *Env
	message   string
	file      string
	toFile    string
	subject   string
	typ       string
	thread    string
	id        string
	url       string
	attention bool
	lines     bool
	batch     flags.Duration
	inputJSON bool
	badLines  string
	receipt   bool
	retry     int
	grace     flags.Duration
	dryRun    bool

	graceOf func(to xmpp.JID) time.Duration
}

func newSendCmd(env *Env) *cobra.Command {
	f := &sender{env: env}
	cmd := &cobra.Command{
		Use: "send [flags] JID...",
		Args: func(cmd *cobra.Command, jids []string) error {
			least := 1
			if f.inputJSON || f.toFile != "" {
				least = 0
			}
			return flags.Args(least, -1, "JID")(cmd, jids)
		},
		RunE: f.run,
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.message, "message", "m", "", "send `TEXT` instead of standard input")
	fs.StringVarP(&f.file, "file", "f", "", "send the text of `FILE` instead of standard input")
	fs.StringVar(&f.toFile, "to-file", "", "also send to the JIDs in `FILE`, one a line; - is standard input")
	fs.StringVarP(&f.subject, "subject", "s", "", "the subject `TEXT`")
	fs.Var(flags.OneOf{Value: &f.typ, Of: messageTypes[:]}, "type", "the `TYPE` of the message: chat, normal or headline (default chat)")
	fs.StringVar(&f.thread, "thread", "", "the `ID` of the conversation")
	fs.StringVar(&f.id, "id", "", "the `ID` of the message, instead of a random one; for one recipient")
	fs.StringVar(&f.url, "url", "", "attach `URL` (XEP-0066)")
	fs.BoolVar(&f.attention, "attention", false, "call for attention (XEP-0224)")
	fs.BoolVar(&f.lines, "lines", false, "each line of standard input is a message, sent as it is read")
	fs.Var(&f.batch, "batch", "with --lines: join all lines within `DURATION` of the first into one message")
	fs.BoolVar(&f.inputJSON, "input-json", false, "each line of standard input is a message as a JSON object, sent as it is read")
	f.badLines = badSkip
	fs.Var(flags.OneOf{Value: &f.badLines, Of: []cobra.Completion{badStop + "\tat the first one", badSkip + "\tand continue", badReplace + "\twhat XML cannot carry with U+FFFD"}},
		"bad-lines", "`ACTION` for a line that cannot be sent: stop, skip, or replace characters that XML cannot carry with U+FFFD")
	fs.BoolVar(&f.receipt, "receipt", false, "wait for a receipt from each recipient (XEP-0184)")
	fs.IntVar(&f.retry, "retry", 0, "after a temporary failure, try again up to `N` times in a row")
	fs.Var(&f.grace, "grace", "wait `DURATION` for bounces after the confirmation (default 500ms if a recipient is at another server)")
	fs.BoolVar(&f.dryRun, "dry-run", false, "print the stanzas, one a line, and do not connect")
	cmd.MarkFlagsMutuallyExclusive("message", "file", "lines")
	cmd.MarkFlagsMutuallyExclusive("message", "file", "input-json")
	cmd.MarkFlagsMutuallyExclusive("id", "lines", "input-json")
	return cmd
}

func (f *sender) run(cmd *cobra.Command, args []string) error {
	targets, err := f.env.targets(args)
	if err != nil {
		return f.withText(cmd, args, err)
	}
	if err := f.check(cmd, targets); err != nil {
		return err
	}
	if f.toFile != "" {
		if targets, err = f.fromFile(cmd.Context(), targets); err != nil {
			return err
		}
		if err := f.check(cmd, targets); err != nil {
			return err
		}
	}
	stream := f.lines || f.inputJSON
	r := &report{env: f.env, stream: stream}
	r.bad = badInput{env: f.env, stop: f.badLines == badStop, named: len(targets) > 0}
	var l login
	if !f.dryRun {
		f.env.finishes()
		if f.env.flags.json {
			err = f.env.needOutput()
		}
		if err == nil {
			l, err = f.env.login(cmd.Context(), stay{lasts: stream, stdin: f.readsInput(cmd) || f.toFile == "-"})
		}
		if err != nil {
			return err
		}
		f.noteWords(cmd, args, targets, l.JID)
	}
	f.graceOf = f.graces(cmd, targets, l.JID)
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	source, err := f.source(ctx, cmd, targets, r)
	switch {
	case err != nil:
		return err
	case f.dryRun:
		if stream { // it lasts as long as its input
			f.env.bound(cmd.Context(), f.env.limits(true).whole)
		}
		return f.print(ctx, source, r)
	}
	return f.deliver(cmd.Context(), l, source, r)
}

// deliver sends the messages and reports the outcome of each.
func (f *sender) deliver(ctx context.Context, l login, source <-chan deliver.Chunk, r *report) error {
	r.account, r.overdue = l.JID.Bare(), errTimeout(f.env.flags.timeout)
	o := deliver.Options{
		Login: l.Options, Source: source, Stream: r.stream, Receipt: f.receipt, Retries: f.retry,
		Temporary: mayPass, Oversized: r.oversized, Settled: r.settle, Flush: f.env.out.Flush,
	}
	o.Connect = func(ctx context.Context, o xmpp.Options, do func(context.Context, *xmpp.Session) error) error {
		ctx, cancel := f.env.within(ctx, l.limits)
		defer cancel()
		l.limits.spent = 0 // that was of the first try
		return f.env.attempt(ctx, login{o, l.limits}, do)
	}
	if r.stream {
		o.Timeout = time.Duration(f.env.flags.timeout) // of each wait
		if r.progress = f.env.newProgress(); r.progress != nil {
			o.Progress, o.Every = r.showProgress, stdio.ProgressEvery
		}
		o.Connect = func(ctx context.Context, o xmpp.Options, do func(context.Context, *xmpp.Session) error) error {
			return f.env.attempt(ctx, login{o, l.limits}, do)
		}
		var cancel context.CancelFunc
		ctx, cancel = f.env.within(ctx, l.limits)
		defer cancel()
	}
	d := deliver.New(o)
	err := d.Run(ctx)
	r.clearProgress()
	r.bad.finish()
	if err != nil {
		return of(r.account, r.abandon(ctx, d, err))
	}
	return of(r.account, r.outcome())
}

// mayPass reports whether the same command may succeed later.
func mayPass(err error) bool {
	code := classify(context.Background(), err).Code
	return code == exit.Temporary || code == exit.Timeout
}

// noteWords warns about words among the JIDs that may be names of people, or the text.
func (f *sender) noteWords(cmd *cobra.Command, args []string, targets []target, account xmpp.JID) {
	for _, t := range targets {
		switch command := f.meant(cmd, args); {
		case isWord(account, t.jid) && command != "":
			f.env.noteName(t.jid.Domain, "did you mean "+command+"?")
			return
		default:
			f.env.noteNames(account, t.jid)
		}
	}
}

// withText adds a hint to the error of an argument that is not a JID: it may be the
// text.
func (f *sender) withText(cmd *cobra.Command, args []string, err error) error {
	if e, ok := errors.AsType[*exit.Error](err); ok && e.Hint == "" {
		if command := f.meant(cmd, args); command != "" {
			e.Hint = "did you mean " + command + "?"
		}
	}
	return err
}

// meant returns the command that the user probably meant if the text was given as an
// argument, or "".
func (f *sender) meant(cmd *cobra.Command, args []string) string {
	if !f.readsInput(cmd) || f.file == "-" || f.lines || f.inputJSON {
		return ""
	}
	var jids, words []string
	for _, arg := range args {
		if t, err := parseTarget(arg); err == nil && t.jid.Local != "" {
			jids = append(jids, shellQuoted(arg))
		} else {
			words = append(words, arg)
		}
	}
	if len(jids) == 0 || len(words) == 0 {
		return ""
	}
	return cmd.CommandPath() + " -m " + shellQuoted(strings.Join(words, " ")) + " " + strings.Join(jids, " ")
}

// readsInput reports whether standard input is to be sent.
func (f *sender) readsInput(cmd *cobra.Command) bool {
	return !cmd.Flags().Changed("message") && (f.file == "" || f.file == "-")
}

// graces returns how long to wait for bounces of a message after its confirmation.
// Bounces of your server arrive before the confirmation.
func (f *sender) graces(cmd *cobra.Command, targets []target, own xmpp.JID) func(xmpp.JID) time.Duration {
	grace := func(to xmpp.JID) time.Duration {
		if to.Domain != own.Domain {
			return xmpp.RemoteGrace
		}
		return 0
	}
	most := time.Duration(f.grace)
	if !cmd.Flags().Changed("grace") {
		if f.inputJSON {
			return grace
		}
		for _, t := range targets {
			most = max(most, grace(t.jid))
		}
	}
	return func(xmpp.JID) time.Duration { return most }
}

// source returns the messages: those of a stream as they arrive, otherwise all.
func (f *sender) source(ctx context.Context, cmd *cobra.Command, targets []target, r *report) (<-chan deliver.Chunk, error) {
	if r.stream {
		return f.input(ctx, targets, r), nil
	}
	messages, err := f.messages(cmd, targets)
	if err != nil {
		return nil, err
	}
	all := make(chan deliver.Chunk, 1)
	all <- deliver.Chunk{Messages: messages}
	close(all)
	return all, nil
}

// check refuses invalid flags.
func (f *sender) check(cmd *cobra.Command, targets []target) error {
	for _, t := range targets {
		if err := checkType(t.fields.Get("type")); err != nil {
			return exit.Usagef("%s: type %w", t.jid, err)
		}
	}
	switch {
	case cmd.Flags().Changed("id") && strings.TrimSpace(f.id) == "":
		return exit.Usagef("--id: empty")
	case cmd.Flags().Changed("id") && len(targets) > 1:
		return exit.Usagef("--id: %d recipients cannot share one id", len(targets))
	case cmd.Flags().Changed("to-file") && f.toFile == "":
		return exit.Usagef("--to-file: empty")
	case f.toFile == "-" && f.readsInput(cmd):
		err := exit.Usagef("--to-file -: standard input is already the message")
		err.Hint = "give the text with --message or --file"
		return err
	case cmd.Flags().Changed("batch") && !f.lines:
		return exit.Usagef("--batch needs --lines")
	case cmd.Flags().Changed("bad-lines") && !f.lines && !f.inputJSON:
		return exit.Usagef("--bad-lines needs --lines or --input-json")
	case cmd.Flags().Changed("batch") && f.batch == 0:
		return exit.Usagef("--batch: want a duration above 0")
	case f.retry < 0:
		return exit.Usagef("--retry: want at least 0")
	}
	if f.url != "" {
		if u, err := url.Parse(f.url); err != nil || u.Scheme == "" {
			return exit.Usagef("--url: %q is not an absolute URL", f.url)
		}
	}
	for _, text := range [...][2]string{{"message", f.message}, {"subject", f.subject}, {"thread", f.thread}, {"id", f.id}, {"url", f.url}} {
		if err := xmpp.CheckText(text[1]); err != nil {
			return exit.Dataf("--%s: %w", text[0], err)
		}
	}
	return nil
}

// print prints the stanzas that would be sent.
func (f *sender) print(ctx context.Context, source <-chan deliver.Chunk, r *report) error {
	defer r.bad.finish()
	for {
		var c deliver.Chunk
		var more bool
		select {
		case c, more = <-source:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for _, m := range c.Messages {
			b, err := xmpp.XML(m.Stanza)
			if err != nil {
				return err
			}
			if err := f.env.print(stanzaRecord{"stanza", output.OneLine(b)}); err != nil {
				return err
			}
		}
		if c.Taken != nil {
			c.Taken()
		}
		if !more || c.Last {
			return r.outcome()
		}
	}
}
