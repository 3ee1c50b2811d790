package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/stdio"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/deliver"
)

// A verdict is the text for messages with the same fate. SERVER stands for the
// account's server, N for "3 messages".
type verdict struct {
	ok        bool
	ack       string         // in the result
	text      string         // of the error in the result, before the cause
	condition xmpp.Condition // of that error
	left      string         // as in "lines 4-7 are not sent"
	sum       string         // the error of the command
}

// verdicts is the table of everything that a user reads about a message. Without a
// condition, the error is the one that refused the message.
var verdicts = map[deliver.Fate]verdict{
	deliver.Accepted: {ok: true, ack: "server"},
	deliver.Received: {ok: true, ack: "receipt"},
	deliver.Bounced:  {ack: "none"},
	deliver.Returned: {ack: "server"},
	deliver.Overdue:  {ack: "server", text: "accepted by SERVER, but no receipt came", condition: xmpp.UndefinedCondition},

	deliver.Unconfirmed: {ack: "none", text: "not confirmed", condition: xmpp.UndefinedCondition,
		left: "not confirmed", sum: "not confirmed, may or may not have been sent: N"},
	deliver.Refused: {ack: "none",
		left: "refused for now", sum: "refused for now: N, the first: "},
	deliver.Unsent: {ack: "none", text: "not sent", condition: xmpp.RecipientUnavailable,
		left: "not sent", sum: "not sent: N"},
	deliver.MayBounce: {ack: "server", text: "accepted by SERVER, but it may still bounce", condition: xmpp.UndefinedCondition,
		left: "accepted and may still bounce", sum: "accepted by SERVER, but may still bounce: N"},
	deliver.Unreceived: {ack: "server", text: "accepted by SERVER, but no receipt came", condition: xmpp.UndefinedCondition,
		left: "without a receipt", sum: "accepted by SERVER, but without a receipt: N"},
}

// A report reports what becomes of the messages of a delivery, and the result of the
// whole.
type report struct {
	env      *Env
	account  xmpp.JID
	stream   bool            // of many messages, each of which is reported when it fails
	overdue  error           // why send no longer waits for receipts
	progress *stdio.Progress // nil if nobody looks
	bad      badInput
	inputErr error // why the input ended early

	to       xmpp.JID // of the first message
	several  bool     // there is more than one recipient
	settled  int
	failed   int
	missing  int                // of those that failed: the receipt
	failures []*deliver.Message // all that failed; of a stream the first
	code     int                // of all that failed, or exit.No if they differ
}

// take reports bad lines when they are read.
func (r *report) take(c chunk) {
	r.inputErr = c.err
	r.clearProgress()
	r.bad.report(c.bad, c.skipped)
}

// oversized reports a line that is too large for the server, once, for all recipients.
func (r *report) oversized(m *deliver.Message, err error) bool {
	err = exit.Dataf("standard input: %s: %w", linesOf(m), err)
	switch {
	case r.bad.stop:
		r.inputErr = err
		return false
	case r.bad.large != m.Last:
		r.bad.large = m.Last
		r.clearProgress()
		r.bad.report([]error{err}, 0)
	}
	return true
}

// settle reports what became of a message.
func (r *report) settle(m *deliver.Message) error {
	r.settled++
	if !verdicts[m.Fate()].ok {
		r.fail(m)
	}
	return r.print(m, r.overdue)
}

func (r *report) fail(m *deliver.Message) {
	r.failed++
	if m.Fate() == deliver.Overdue {
		r.missing++
	}
	e := r.failure(m)
	if !r.stream || r.failures == nil {
		r.failures = append(r.failures, m)
	}
	if r.stream {
		r.say(e.Error())
	}
	if r.code = cmp.Or(r.code, e.Code); r.code != e.Code {
		r.code = exit.No
	}
}

// print prints the result of a message; cause is why its fate is not final.
func (r *report) print(m *deliver.Message, cause error) error {
	r.to = cmp.Or(r.to, m.To)
	r.several = r.several || m.To != r.to
	v := verdicts[m.Fate()]
	record := sentRecord{Kind: "sent", Time: output.Time(time.Now()), To: m.To.String(), Type: xmpp.Attr(m.Stanza, "type"), ID: m.ID(), OK: v.ok, Ack: v.ack}
	if v.ack != "none" {
		record.AckMS = new(output.Milliseconds(m.Took()))
	}
	if !v.ok {
		record.Error = newStanzaError(r.why(m, cause))
	}
	return r.env.out.Print(record)
}

// why is the error of a message.
func (r *report) why(m *deliver.Message, cause error) *xmpp.StanzaError {
	v := verdicts[m.Fate()]
	if v.condition == "" {
		return m.Err()
	}
	e := &xmpp.StanzaError{Condition: v.condition, Type: "wait", Text: fmt.Sprintf("%s: %s", r.named(v.text), cause)}
	if stream, ok := errors.AsType[*xmpp.StreamError](cause); ok && m.Fate() == deliver.Unconfirmed {
		e.Condition = stream.Condition
	}
	return e
}

func (r *report) named(text string) string {
	return strings.ReplaceAll(text, "SERVER", r.account.Domain)
}

func (r *report) showProgress(inFlight int) {
	sent := r.settled - r.failed
	r.progress.Show("%d sent, %.0f/s, %d unconfirmed", sent, r.progress.Rate(sent), inFlight)
}

func (r *report) clearProgress() {
	if r.progress != nil {
		r.progress.Clear()
	}
}

// say prints a failure immediately, unless the results contain it.
func (r *report) say(text string) {
	r.clearProgress()
	if !r.env.flags.json {
		r.env.printError(errorRecord{lines: []string{fmt.Sprintf("%s: %s", r.account, text)}})
	}
}

// outcome is the error of the command once all messages are settled.
func (r *report) outcome() error {
	switch {
	case r.inputErr != nil:
		return r.inputErr
	case r.failed == 0:
		return r.bad.outcome()
	}
	slices.SortFunc(r.failures, deliver.InOrder)
	first := r.failure(r.failures[0])
	lines := []string{fmt.Sprintf("%d of %d messages failed", r.failed, r.settled)}
	if !r.stream { // else each has been reported
		lines = nil
		for _, m := range r.failures {
			lines = append(lines, r.failure(m).Error())
		}
		if r.failed > 1 && r.failed == r.settled {
			lines = append(lines, fmt.Sprintf("%d of %d messages failed", r.failed, r.settled))
		}
	}
	for i := range lines {
		lines[i] = fmt.Sprintf("%s: %s", r.account, lines[i])
	}
	sum := &exit.Error{Code: r.code, Class: first.Class, Hint: first.Hint, Lines: lines}
	bad, wrong := errors.AsType[*exit.Error](r.bad.outcome())
	switch {
	case r.settled == 1 && !r.stream:
		return first
	case r.missing > 0: // the time was over, no matter what became of the others
		sum.Code, sum.Class, sum.Hint = exit.Timeout, "timeout", "raise --timeout"
		sum.Err = fmt.Errorf("no receipt for %d of %d messages", r.missing, r.settled)
	case wrong:
		bad.Lines = append(lines, fmt.Sprintf("%s: %s", r.account, bad.Err))
		return bad
	case r.failed < r.settled, r.code == exit.No:
		return exit.Negative(lines...)
	default:
		sum.Err = fmt.Errorf("%d of %d messages failed, the first: %w", r.failed, r.settled, first.Err)
	}
	return sum
}

// failure is the error of a message that failed.
func (r *report) failure(m *deliver.Message) *exit.Error {
	var e *exit.Error
	if m.Fate() == deliver.Overdue {
		e = &exit.Error{Code: exit.Timeout, Class: "timeout", Err: fmt.Errorf("message %s to %s: %w", m.ID(), m.To, r.why(m, r.overdue)), Hint: "raise --timeout"}
	} else {
		e = bounceError(r.account, m)
	}
	if m.Last > 0 {
		e.Err = fmt.Errorf("%s: %w", linesOf(m), e.Err)
	}
	return e
}

// bounceError is the error of a message that was bounced.
func bounceError(account xmpp.JID, m *deliver.Message) *exit.Error {
	reason := m.Err()
	err := fmt.Errorf("message to %s refused: %w", m.To, reason)
	e := &exit.Error{Code: stanzaCode(reason), Class: "stanza", Err: err}
	// RFC 6121, section 8.5.1: what a server answers for an account that it does
	// not have.
	if reason.Condition == xmpp.ServiceUnavailable && m.To.Local != "" && m.To.Resource == "" {
		e.Code = exit.NoUser
	}
	switch {
	case e.Code == exit.NoUser:
		e.Hint = "no such account, or it accepts no messages while offline"
	case reason.Condition == xmpp.RemoteServerNotFound:
		e.Hint = fmt.Sprintf("%s cannot reach %s: %s", account.Domain, m.To.Domain, unreachable)
	case e.Code == exit.Temporary:
		e.Hint = "try again"
	case m.To.Profile() != nil:
		e.Hint = fmt.Sprintf("check the JID: %v", m.To.Profile())
	}
	return e
}

// A leftover is the unsettled messages with the same fate when a delivery is broken
// off.
type leftover struct {
	verdict
	fate     deliver.Fate
	messages []*deliver.Message
}

// abandon reports how far each remaining message came, and returns the error.
func (r *report) abandon(ctx context.Context, d *deliver.Delivery, cause error) error {
	if ctx.Err() != nil {
		cause = context.Cause(ctx) // a signal, also while waiting for the next try
	}
	_, unwritten := errors.AsType[*output.WriteError](cause)
	if unwritten || !r.stream && errors.Is(cause, xmpp.ErrTooLarge) {
		return cause // nobody reads, or nothing was sent
	}
	messages := d.GiveUp()
	if err := r.env.out.Flush(); err != nil {
		return err
	}
	if d.Done() && !signalled(ctx) {
		return r.outcome() // how the session ended no longer matters
	}
	left := leftovers(messages)
	for _, l := range left {
		for _, m := range l.messages {
			_ = r.print(m, cause) // Flush says it again
		}
	}
	if err := r.env.out.Flush(); err != nil {
		return err
	}
	return r.broken(ctx, cause, left)
}

// signalled reports whether a signal has ended ctx, and not the time.
func signalled(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}

// leftovers groups messages by fate. The first group decides the result of the whole.
func leftovers(messages []*deliver.Message) (left []leftover) {
	for _, fate := range []deliver.Fate{deliver.Unconfirmed, deliver.Refused, deliver.Unsent, deliver.MayBounce, deliver.Unreceived} {
		l := leftover{verdict: verdicts[fate], fate: fate}
		for _, m := range messages {
			if m.Fate() == fate {
				l.messages = append(l.messages, m)
			}
		}
		if len(l.messages) > 0 {
			left = append(left, l)
		}
	}
	return left
}

// broken is the error of a delivery that was broken off.
func (r *report) broken(ctx context.Context, cause error, left []leftover) error {
	e := classify(ctx, cause)
	rest := 0
	for i, l := range left {
		rest += len(l.messages)
		if i == 0 {
			e.Err = fmt.Errorf("%s: %w", r.sum(l), cause)
		}
	}
	if rest == 1 && left[0].fate == deliver.Unconfirmed {
		e.Err = fmt.Errorf("not confirmed, may or may not have been sent: message %s: %w", left[0].messages[0].ID(), cause)
	}
	if !r.stream && r.settled+rest == 1 && !signalled(ctx) {
		return e // it says all there is
	}
	for _, m := range r.failures {
		if !r.stream { // else it has been reported
			e.Details = append(e.Details, r.failure(m).Error())
		}
	}
	for _, l := range left {
		e.Details = append(e.Details, l.details(r.stream, r.several)...)
	}
	return e
}

// sum is the text for all of them.
func (r *report) sum(l leftover) string {
	text := r.named(strings.Replace(l.verdict.sum, "N", number(len(l.messages), "message"), 1))
	if l.fate == deliver.Refused {
		text += l.messages[0].Err().Error()
	}
	return text
}

// details name the messages: those of a stream by their lines, as there may be many.
func (l leftover) details(stream, several bool) (all []string) {
	if !stream {
		for _, m := range l.messages {
			all = append(all, fmt.Sprintf("%s: message %s to %s", l.left, m.ID(), m.To))
		}
		return all
	}
	var recipients []xmpp.JID
	of := make(map[xmpp.JID][]*deliver.Message)
	for _, m := range l.messages {
		if of[m.To] == nil {
			recipients = append(recipients, m.To)
		}
		of[m.To] = append(of[m.To], m)
	}
	if len(recipients) > maxNamed {
		return []string{fmt.Sprintf("%s %s (to %d recipients)", ranges(l.messages), l.left, len(recipients))}
	}
	for _, to := range recipients {
		detail := ranges(of[to]) + " " + l.left
		if several {
			detail += fmt.Sprintf(" (to %s)", to)
		}
		all = append(all, detail)
	}
	return all
}

// maxNamed is how many messages are named one by one.
const maxNamed = 20

// linesOf names the input lines of a message.
func linesOf(m *deliver.Message) string {
	if m.First < m.Last {
		return fmt.Sprintf("lines %d-%d", m.First, m.Last)
	}
	return fmt.Sprintf("line %d", m.Last)
}

// ranges names the lines of messages in order, as in "lines 1-3, 7 are".
func ranges(messages []*deliver.Message) string {
	type span struct{ first, last int }
	var spans []span
	for _, m := range messages {
		if n := len(spans); n > 0 && m.First <= spans[n-1].last+1 {
			spans[n-1].last = max(spans[n-1].last, m.Last)
			continue
		}
		spans = append(spans, span{m.First, m.Last})
	}
	var parts []string
	for i, s := range spans {
		part := fmt.Sprint(s.first)
		if s.last > s.first {
			part = fmt.Sprintf("%d-%d", s.first, s.last)
		}
		if i == maxNamed {
			parts = append(parts, fmt.Sprintf("and others up to %d", spans[len(spans)-1].last))
			break
		}
		parts = append(parts, part)
	}
	if len(spans) == 1 && spans[0].first == spans[0].last {
		return "line " + parts[0] + " is"
	}
	return "lines " + strings.Join(parts, ", ") + " are"
}
