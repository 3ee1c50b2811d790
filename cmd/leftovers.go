package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"xmppkit/xmpp"
)

// A leftover is messages of which it is not known, when a delivery is broken off, that
// they arrived.
type leftover struct {
	state    string // as in "lines 4-7 are not sent"
	record   string // the error in their results, before the cause
	message  string // the error of the command, for their number
	messages []*outgoing
}

const (
	notConfirmed  = "not confirmed"
	notSent       = "not sent"
	refusedForNow = "refused for now"
)

// leftovers takes all that is left out of the delivery. The first of them is the most
// that can be said of the whole.
func (d *delivery) leftovers() []leftover {
	unconfirmed := leftover{notConfirmed, notConfirmed, "not confirmed, may or may not have been sent: %s", d.unconfirmed()}
	unsent := leftover{notSent, notSent, "not sent: %s", nil}
	refused := leftover{refusedForNow, "", "refused for now: %s", nil}
	for _, m := range d.pending {
		switch {
		case m.doubtful:
			unconfirmed.messages = append(unconfirmed.messages, m)
		case m.refusal != nil:
			refused.messages = append(refused.messages, m)
		default:
			unsent.messages = append(unsent.messages, m)
		}
	}
	if len(refused.messages) > 0 {
		first := strings.ReplaceAll(refused.messages[0].refusal.Error(), "%", "%%")
		refused.message = "refused for now: %s, the first: " + first
	}
	slices.SortFunc(unconfirmed.messages, inOrder)
	accepted := fmt.Sprintf("accepted by %s, but ", d.account.Domain)
	settling := leftover{"accepted and may still bounce", accepted + "it may still bounce", accepted + "may still bounce: %s", slices.Clone(d.settling)}
	if d.receipt {
		settling.state, settling.record, settling.message = "without a receipt", d.noReceipt(), accepted+"without a receipt: %s"
	}
	return slices.DeleteFunc([]leftover{unconfirmed, refused, unsent, settling}, func(l leftover) bool { return len(l.messages) == 0 })
}

func (d *delivery) noReceipt() string {
	return fmt.Sprintf("accepted by %s, but no receipt has come", d.account.Domain)
}

// why is the error of one of the messages.
func (l leftover) why(m *outgoing, cause error) *xmpp.StanzaError {
	if l.state == refusedForNow {
		return m.refusal
	}
	e := &xmpp.StanzaError{Condition: xmpp.UndefinedCondition, Type: "wait", Text: fmt.Sprintf("%s: %s", l.record, cause)}
	stream, ok := errors.AsType[*xmpp.StreamError](cause)
	switch {
	case l.state == notSent:
		e.Condition = xmpp.RecipientUnavailable
	case l.state == notConfirmed && ok:
		e.Condition = stream.Condition
	}
	return e
}

// broken is the error of a delivery that was broken off.
func (d *delivery) broken(ctx context.Context, cause error, left []leftover) error {
	e := classify(ctx, cause)
	if len(left) > 0 {
		e.Err = fmt.Errorf(left[0].message+": %w", number(len(left[0].messages), "message"), cause)
		if only := left[0].messages[0]; left[0].state == notConfirmed && len(left) == 1 && len(left[0].messages) == 1 {
			e.Err = fmt.Errorf("not confirmed, may or may not have been sent: message %s: %w", only.id(), cause)
		}
	}
	if !d.stream && d.count == 1 && !signalled(ctx) {
		return e // it says all there is
	}
	for _, m := range d.failures {
		if !d.stream { // else it has been reported
			e.Details = append(e.Details, d.failure(m).Error())
		}
	}
	for _, l := range left {
		e.Details = append(e.Details, l.details(d.stream, d.several)...)
	}
	return e
}

// details name the messages: those of a stream by their lines, as there may be many.
func (l leftover) details(stream, several bool) (all []string) {
	if !stream {
		for _, m := range l.messages {
			all = append(all, fmt.Sprintf("%s: message %s to %s", l.state, m.id(), m.to))
		}
		return all
	}
	var recipients []xmpp.JID
	of := make(map[xmpp.JID][]*outgoing)
	for _, m := range l.messages {
		if of[m.to] == nil {
			recipients = append(recipients, m.to)
		}
		of[m.to] = append(of[m.to], m)
	}
	if len(recipients) > maxNamed {
		return []string{fmt.Sprintf("%s %s (to %d recipients)", ranges(l.messages), l.state, len(recipients))}
	}
	for _, to := range recipients {
		detail := ranges(of[to]) + " " + l.state
		if several {
			detail += fmt.Sprintf(" (to %s)", to)
		}
		all = append(all, detail)
	}
	return all
}

// maxNamed bounds what is named one by one.
const maxNamed = 20

// ranges names the lines of messages in order, as in "lines 1-3, 7 are".
func ranges(messages []*outgoing) string {
	type span struct{ first, last int }
	var spans []span
	for _, m := range messages {
		if n := len(spans); n > 0 && m.first <= spans[n-1].last+1 {
			spans[n-1].last = max(spans[n-1].last, m.line)
			continue
		}
		spans = append(spans, span{m.first, m.line})
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
