package cmd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/cmd/stdio"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

// unboundLast is how many messages history prints without a bound.
const unboundLast = 20

// A historian runs history.
type historian struct {
	env          *Env
	room         string
	last         int
	since, until flags.Moment
	after        string
	before       string
	all          bool
	match        string
	retry        int

	pattern  *regexp.Regexp
	history  xep.History
	account  xmpp.JID
	limits   limits
	isRoom   bool // the archive is known to be that of a room
	tries    int  // since the last progress
	passed   int  // messages, until then
	backoff  xmpp.Backoff
	progress *stdio.Progress // nil if nobody would see it
	shown    time.Time
	read     int // messages
}

func newHistoryCmd(env *Env) *cobra.Command {
	h := &historian{env: env, backoff: xmpp.Backoff{Start: time.Second, Max: time.Minute}}
	cmd := &cobra.Command{
		Use:  "history [flags] [JID]",
		Args: flags.Args(0, 1, "JID"),
		RunE: h.run,
	}
	fs := cmd.Flags()
	fs.StringVar(&h.room, "room", "", "read the archive of `ROOM` instead of that of your account")
	fs.IntVar(&h.last, "last", 0, "print the last `N` messages; 20 if nothing else says which")
	fs.Var(&h.since, "since", "print messages from `TIME` on: 2026-11-20T21:41:28Z, a date, or a duration back such as 24h or 7d")
	fs.Var(&h.until, "until", "print messages up to `TIME`")
	fs.StringVar(&h.after, "after", "", "print messages after the one whose stanza_id is `ID`")
	fs.StringVar(&h.before, "before", "", "print messages before the one whose stanza_id is `ID`")
	fs.BoolVar(&h.all, "all", false, "print all messages")
	fs.StringVar(&h.match, "match", "", "print only messages whose body matches the regular expression `RE`")
	fs.IntVar(&h.retry, "retry", 0, "after a temporary failure, try again up to `N` times in a row, and continue")
	for _, bound := range []string{"last", "since", "until", "after", "before"} {
		cmd.MarkFlagsMutuallyExclusive("all", bound)
	}
	return cmd
}

func (h *historian) run(cmd *cobra.Command, args []string) error {
	if err := h.check(cmd); err != nil {
		return err
	}
	if err := h.target(args); err != nil {
		return err
	}
	if err := h.env.needOutput(); err != nil {
		return err
	}
	login, err := h.env.login(cmd.Context(), stay{lasts: true})
	if err != nil {
		return err
	}
	h.env.noteNames(login.JID, h.history.Query.With)
	of := h.history.Query.Of
	if of.IsZero() {
		of = login.JID.Bare()
	}
	// Live messages are for other sessions. The server waits if a page is read slowly.
	login.Take = func(e *xmpp.Element) bool { return xep.IsArchiveResult(login.JID, of, e) }
	login.Pause = true
	h.history.Wait, h.limits, h.account = login.limits.each, login.limits, login.JID.Bare()
	h.history.Select, h.history.Skipped, h.history.Forgotten, h.history.Flush = h.choose, h.skipped, h.forgotten, h.flush
	if !h.env.Terminal && h.env.ErrTerminal && !h.env.flags.quiet && h.env.flags.verbose == 0 {
		h.progress = stdio.NewProgress(h.env.stderr)
	}
	return h.readAll(cmd.Context(), login.Options)
}

// readAll reads the archive, in as many sessions as it takes.
func (h *historian) readAll(ctx context.Context, o xmpp.Options) error {
	ctx, cancel := h.limits.bound(ctx)
	defer cancel()
	ctx, stop := h.env.whileRead(ctx)
	defer stop()
	h.env.stdout.Until(ctx)
	redial := xmpp.Redial{Login: o, Again: h.again}
	err := redial.Run(ctx, func(ctx context.Context, o xmpp.Options) error {
		return h.env.attempt(ctx, login{o, h.limits}, h.session)
	})
	h.clearProgress()
	if e := h.env.out.Flush(); e != nil && err == nil {
		err = e
	}
	return of(o.JID, h.explain(ctx, err))
}

// again reports whether to try again, and after what wait.
func (h *historian) again(err error) (wait time.Duration, ok bool) {
	if passed := h.history.Passed(); passed > h.passed {
		h.passed, h.tries = passed, 0
		h.backoff.Reset()
	}
	if h.tries == h.retry || !mayPass(err) && xmpp.RedirectOf(err) == "" {
		return 0, false
	}
	h.tries++
	h.limits = h.limits.again()
	wait = h.backoff.Next()
	h.clearProgress()
	h.env.trace("try %d of %d in %s: %s", h.tries, h.retry, wait.Round(time.Millisecond), err)
	return wait, true
}

// session reads in one session.
func (h *historian) session(ctx context.Context, s *xmpp.Session) error {
	if room := h.history.Query.Of; !room.IsZero() && !h.isRoom {
		wait, cancel := xmpp.WithTimeout(ctx, h.limits.each)
		defer cancel()
		if err := checkRoomArchive(wait, s, room); err != nil {
			return err
		}
		h.isRoom = true
	}
	return h.history.Read(ctx, s)
}

// check refuses wrong flags.
func (h *historian) check(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	switch {
	case given("last") && h.last < 1:
		return exit.Usagef("--last: want at least 1")
	case h.retry < 0:
		return exit.Usagef("--retry: want at least 0")
	case given("after") && h.after == "", given("before") && h.before == "":
		return exit.Usagef("--after, --before: want the stanza_id of a message")
	case given("since") && given("until") && time.Time(h.since).After(time.Time(h.until)):
		return exit.Usagef("--since is later than --until")
	case given("room") && h.room == "":
		return exit.Usagef("--room: want the address of a room")
	}
	for _, text := range [...][2]string{{"after", h.after}, {"before", h.before}} {
		if err := xmpp.CheckText(text[1]); err != nil {
			return exit.Dataf("--%s: %w", text[0], err)
		}
	}
	if !h.all && !given("last") && !given("since") && !given("until") && !given("after") && !given("before") {
		h.last = unboundLast
	}
	var err error
	h.pattern, err = compileMatch(h.match)
	return err
}

// target decides which archive to read, and which part of it.
func (h *historian) target(jids []string) error {
	h.history.Last, h.history.After, h.history.Before = h.last, h.after, h.before
	q := &h.history.Query
	q.Start, q.End = time.Time(h.since), h.until.End()
	switch {
	case len(jids) > 0 && h.room != "":
		return exit.Usagef("--room and a JID cannot be combined")
	case h.room != "":
		return h.chooseRoom("--room: ", h.room)
	case len(jids) > 0:
		if a, err := xmpp.ParseAddress(jids[0]); err == nil && a.Action == "join" {
			return h.chooseRoom("", jids[0])
		}
		t, err := h.env.target(jids[0])
		q.With = t.jid.Bare() // ejabberd 23.01 takes a resource for a filter, Prosody 0.12 does not
		return err
	}
	return nil
}

func (h *historian) chooseRoom(source, s string) error {
	a, err := xmpp.ParseAddress(s)
	switch {
	case err != nil:
		return exit.Usagef("%s%w", source, err)
	case a.Action != "" && a.Action != "join":
		return exit.Usagef("%s%q: the action %q is not supported: only ?join is", source, s, a.Action)
	case a.JID.Local == "" || a.JID.Resource != "":
		return exit.Usagef("%s%q: want ROOM@SERVICE", source, s)
	}
	h.env.noteProfile(a.JID)
	h.history.Query.Of = a.JID
	return nil
}

// choose returns a function that prints a message, or nil if it is not wanted.
func (h *historian) choose(own xmpp.JID, a xep.Archived) (func() error, error) {
	h.read++
	h.showProgress()
	from, _ := xmpp.Sender(a.Message, own)
	r := newMessageRecord(newAddressed(own, a.Message, from), own, a.Message)
	r.StanzaID, r.Delayed = a.ID, true
	if room := h.history.Query.Of; !room.IsZero() {
		r.Room, r.Nick, r.Self = room.String(), from.Resource, false
	} else {
		to := xmpp.AddressIn(a.Message, "to").Bare()
		r.outgoing = r.Self && !to.Alike(own.Bare())
	}
	if !r.is(map[string]bool{"message": true}) {
		return nil, nil
	}
	if ok, err := h.matches(r); err != nil || !ok {
		return nil, err
	}
	return func() error { return h.env.out.Print(r) }, nil
}

// matches reports whether --match selects a message.
func (h *historian) matches(r *messageRecord) (bool, error) {
	if h.match == "" {
		return true, nil
	}
	if r.Body == nil {
		return false, nil
	}
	ok, err := matches(h.env.stdout.Context(), h.pattern, *r.Body)
	if err == errSlowMatch {
		h.warn("skipped message %s: %v", quote(r.StanzaID), err)
		return false, nil
	}
	return ok, err
}

// skipped reports a message that cannot be read, or that exceeds a limit.
func (h *historian) skipped(own xmpp.JID, id string, left *xmpp.Element, why error) {
	h.read++
	h.clearProgress()
	if left != nil {
		h.env.warnSkipped(own, left, why)
		return
	}
	what := "a message"
	if id != "" {
		what = "message " + quote(id)
	}
	h.warn("%s: skipped %s of the archive: it cannot be read", h.account, what)
}

// forgotten reports that messages may be missing.
func (h *historian) forgotten(id string, before time.Time) {
	h.warn("%s: the archive no longer has message %s: history continues at %s, and messages may be missing", h.account, quote(id), before.UTC().Format(time.RFC3339))
}

func (h *historian) warn(format string, args ...any) {
	h.clearProgress()
	h.env.warn(format, args...)
}

func (h *historian) flush() error { return h.env.out.Flush() }

// progressAfter is how long history works before it shows progress.
const progressAfter = time.Second

func (h *historian) showProgress() {
	if h.progress == nil {
		return
	}
	switch now := time.Now(); {
	case h.shown.IsZero():
		h.shown = now.Add(progressAfter - stdio.ProgressEvery)
	case now.Sub(h.shown) > stdio.ProgressEvery:
		h.shown = now
		h.progress.Show("%d messages read, %.0f/s", h.read, h.progress.Rate(h.read))
	}
}

func (h *historian) clearProgress() {
	if h.progress != nil {
		h.progress.Clear()
	}
}

// explain says what an error of the engine means, and what to do.
func (h *historian) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	is := func(code int, class, hint string) error {
		return &exit.Error{Code: code, Class: class, Err: err, Hint: hint}
	}
	_, inArchive := errors.AsType[*xep.ArchiveError](err)
	refused, isRefused := errors.AsType[*xmpp.StanzaError](err)
	switch {
	case errors.Is(err, xep.ErrNotArchived):
		return is(exit.NoUser, "stanza", "give the stanza_id of a message in this archive; with JID, of a message in that conversation")
	case errors.Is(err, xep.ErrHistory):
		return is(exit.Protocol, "stanza", "use --since instead of --last")
	case errors.Is(err, xep.ErrEndless):
		return is(exit.Protocol, "stanza", "the archive of the server is broken: tell its administrator")
	case inArchive && isRefused && refused.Condition == xmpp.ItemNotFound && h.history.Query.Of.IsZero(),
		inArchive && isRefused && noArchive(refused):
		return is(exit.Unavailable, "stanza", "the server has no archive there, or cannot find it")
	}
	e := classify(ctx, err)
	if at := h.history.At(); at != "" && (e.Code == exit.Temporary || e.Code == exit.Timeout) {
		e.Hint = "continue with --after " + shellQuoted(output.Clean(xmpp.Clip(at, 200))) + ", or try again with --retry"
		return e
	}
	return err
}

// noArchive reports whether a refusal means that there is no archive.
func noArchive(e *xmpp.StanzaError) bool {
	return e.Type != "wait" && (e.Condition == xmpp.ServiceUnavailable || e.Condition == xmpp.FeatureNotImplemented)
}

// checkRoomArchive fails unless an address is a room with an archive. Asked for the archive of
// another account, ejabberd 23.01 answers with yours.
func checkRoomArchive(ctx context.Context, s *xmpp.Session, room xmpp.JID) error {
	answer, err := s.IQ(ctx, xmpp.NewIQ("get", room, xmpp.NewElement(xep.NSDiscoInfo, "query")))
	fails := func(code int, hint, format string, args ...any) error {
		return &exit.Error{Code: code, Class: "stanza", Err: fmt.Errorf("%s: "+format, append([]any{room}, args...)...), Hint: hint}
	}
	refused, isRefused := errors.AsType[*xmpp.StanzaError](err)
	switch {
	case isRefused && refused.Condition == xmpp.ItemNotFound:
		return fails(exit.NoUser, "check the address", "no such room: %w", err)
	case isRefused && (noArchive(refused) || refused.Condition == "subscription-required"): // Prosody, ejabberd
		return fails(exit.Unavailable, "check the address", "it is not a room: %w", err)
	case err != nil:
		return fmt.Errorf("%s: %w", room, err)
	}
	info := xep.DiscoInfoOf(xmpp.Child(answer, xep.NSDiscoInfo, "query"))
	switch {
	case !slices.ContainsFunc(info.Identities, func(i xep.Identity) bool { return i.Category == "conference" }):
		return fails(exit.Unavailable, "check the address", "it is not a room")
	case !info.Has(xep.NSArchive):
		return fails(exit.Unavailable, "its owner can enable one, if the server has it", "the room has no archive")
	}
	return nil
}
