package cmd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/output"
	"xmppkit/xmpp"
)

const (
	nsOOB       = "jabber:x:oob"         // XEP-0066
	nsAttention = "urn:xmpp:attention:0" // XEP-0224

	// remoteGrace is how long a bounce from another server is waited for.
	remoteGrace = 500 * time.Millisecond
)

// sentRecord says what became of one message.
type sentRecord struct {
	Kind  string       `json:"kind"`
	Time  output.Time  `json:"time"`
	To    string       `json:"to"`
	Type  string       `json:"type"`
	ID    string       `json:"id"`
	OK    bool         `json:"ok"`
	Ack   string       `json:"ack"` // none or server
	AckMS *float64     `json:"ack_ms,omitempty"`
	Error *stanzaError `json:"error,omitempty"`
}

// WriteText writes nothing: in text, silence is success, and failures are errors.
func (sentRecord) WriteText(*output.Text) {}

// stanzaRecord is a stanza that --dry-run does not send.
type stanzaRecord struct {
	Kind string `json:"kind"`
	XML  string `json:"xml"`
}

func (r stanzaRecord) WriteText(t *output.Text) { t.Printf("%s\n", r.XML) }

// An outgoing message and what became of it.
type outgoing struct {
	to     xmpp.JID
	stanza *xmpp.Element
	err    *xmpp.StanzaError // the bounce
}

func (m *outgoing) id() string { return xmpp.Attr(m.stanza, "id") }

type sender struct {
	env       *Env
	message   string
	file      string
	subject   string
	typ       string
	thread    string
	id        string
	url       string
	attention bool
	grace     duration
	dryRun    bool
}

func newSendCmd(env *Env) *cobra.Command {
	f := &sender{env: env}
	cmd := &cobra.Command{
		Use:   "send [flags] JID...",
		Short: "Send a message and confirm that the server took it",
		Long: `Send sends one message to each JID: the text of --message, of --file, or of
standard input up to its end, without a last line break. The time of --timeout
begins when that has been read.

It exits with 0 only if the own server has confirmed that it processed every
message and none was bounced. That a message was accepted does not say that it
was read. It never becomes available, so it takes nobody's offline messages.

Exit codes: 0 all were taken; 1 some were bounced; if all were bounced 67 no such
account, 68 no such server, 69 or 77 refused; 75 the connection was lost before
the confirmation; 124 the time was over before it.`,
		Example: `  xmppkit send -m 'backup done' juliet@example.org
  df -h | xmppkit send --subject 'disk space' romeo@example.org juliet@example.org`,
		Args: args(1, -1, "JID"),
		RunE: f.run,
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.message, "message", "m", "", "the `TEXT` to send, instead of standard input")
	fs.StringVarP(&f.file, "file", "f", "", "the `FILE` to send the text of, instead of standard input")
	fs.StringVarP(&f.subject, "subject", "s", "", "the `TEXT` of the subject")
	fs.StringVar(&f.typ, "type", "", "the `TYPE` of message: chat, normal or headline (default chat)")
	fs.StringVar(&f.thread, "thread", "", "the `ID` of the conversation it belongs to")
	fs.StringVar(&f.id, "id", "", "the `ID` of the stanza, instead of a random one")
	fs.StringVar(&f.url, "url", "", "a `URL` to attach (XEP-0066)")
	fs.BoolVar(&f.attention, "attention", false, "ask for attention (XEP-0224)")
	fs.Var(&f.grace, "grace", "`DURATION` to wait for bounces after the confirmation (default 500ms if a recipient is at another server)")
	fs.BoolVar(&f.dryRun, "dry-run", false, "print the stanzas, one a line, and connect to nothing")
	return cmd
}

func (f *sender) run(cmd *cobra.Command, args []string) error {
	targets, err := parseTargets(args)
	if err != nil {
		return err
	}
	if err := f.check(cmd, targets); err != nil {
		return err
	}
	f.env.inUsed = !cmd.Flags().Changed("message") && (f.file == "" || f.file == "-")
	var o xmpp.Options
	if !f.dryRun {
		if f.env.flags.json {
			err = f.env.needOutput()
		}
		if err == nil {
			o, err = f.env.account(cmd.Context())
		}
		if err != nil {
			return err
		}
		o.Take = isBounce
	}
	messages, err := f.messages(cmd, targets)
	if err != nil {
		return err
	}
	if f.dryRun {
		return f.print(messages)
	}
	grace := time.Duration(f.grace)
	if !cmd.Flags().Changed("grace") {
		for _, m := range messages {
			if m.to.Domain != o.JID.Domain {
				grace = remoteGrace
			}
		}
	}
	return f.env.withSession(cmd.Context(), o, func(ctx context.Context, s *xmpp.Session) error {
		return f.send(ctx, s, messages, grace)
	})
}

// check refuses what is wrong on the command line itself.
func (f *sender) check(cmd *cobra.Command, targets []target) error {
	var uriTypes []string
	for _, t := range targets {
		uriTypes = append(uriTypes, t.fields.Get("type"))
	}
	for _, typ := range append([]string{f.typ}, uriTypes...) {
		switch typ {
		case "", "chat", "normal", "headline":
		default:
			return usageError("--type: %q is none of chat, normal, headline", typ)
		}
	}
	if cmd.Flags().Changed("message") && cmd.Flags().Changed("file") {
		return usageError("--message and --file exclude each other")
	}
	if cmd.Flags().Changed("id") && strings.TrimSpace(f.id) == "" {
		return usageError("--id: empty")
	}
	if f.url != "" {
		if u, err := url.Parse(f.url); err != nil || u.Scheme == "" {
			return usageError("--url: %q is not an absolute URL", f.url)
		}
	}
	for _, text := range [...][2]string{{"message", f.message}, {"subject", f.subject}, {"thread", f.thread}, {"id", f.id}, {"url", f.url}} {
		if err := xmpp.CheckText(text[1]); err != nil {
			return dataError("--%s: %w", text[0], err)
		}
	}
	return nil
}

// messages makes the stanzas. Standard input is read only where a message needs it.
func (f *sender) messages(cmd *cobra.Command, targets []target) ([]*outgoing, error) {
	var body string
	given := cmd.Flags().Changed("message") || cmd.Flags().Changed("file")
	read := given
	for _, t := range targets {
		if !given && !t.fields.Has("body") {
			read = true
		}
	}
	if read {
		var err error
		if body, err = f.body(cmd); err != nil {
			return nil, err
		}
	}
	var messages []*outgoing
	for _, t := range targets {
		text := body
		if !given && t.fields.Has("body") {
			text = t.fields.Get("body")
		}
		m, err := f.stanza(t, text)
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, nil
}

func (f *sender) body(cmd *cobra.Command) (string, error) {
	var b []byte
	var err error
	name := "standard input"
	switch {
	case cmd.Flags().Changed("message"):
		return f.message, nil
	case cmd.Flags().Changed("file") && f.file != "-":
		name = f.file
		b, err = readAll(cmd.Context(), func() (io.ReadCloser, error) { return os.Open(f.file) })
	default:
		b, err = readAll(cmd.Context(), func() (io.ReadCloser, error) { return io.NopCloser(f.env.In), nil })
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	body := string(bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r")))
	if err := xmpp.CheckText(body); err != nil {
		return "", dataError("%s: %w", name, err)
	}
	return body, nil
}

func (f *sender) stanza(t target, body string) (*outgoing, error) {
	subject := cmp.Or(f.subject, t.fields.Get("subject"))
	thread := cmp.Or(f.thread, t.fields.Get("thread"))
	for _, text := range []string{body, subject, thread, t.fields.Get("id")} {
		if err := xmpp.CheckText(text); err != nil {
			return nil, dataError("message to %s: %w", t.jid, err)
		}
	}
	if body == "" && subject == "" && f.url == "" && !f.attention {
		return nil, dataError("the message to %s is empty: it has no body, subject, url or attention", t.jid)
	}
	id := cmp.Or(f.id, t.fields.Get("id"), xmpp.NewID())
	m := xmpp.NewElement(xmpp.NSClient, "message", "to", t.jid.String(), "type", cmp.Or(f.typ, t.fields.Get("type"), "chat"), "id", id)
	add := func(name, text string) {
		if text != "" {
			xmpp.Add(m, xmpp.NewText(xmpp.NSClient, name, text))
		}
	}
	add("subject", subject)
	add("body", body)
	add("thread", thread)
	if f.url != "" {
		xmpp.Add(m, xmpp.Add(xmpp.NewElement(nsOOB, "x"), xmpp.NewText(nsOOB, "url", f.url)))
	}
	if f.attention {
		xmpp.Add(m, xmpp.NewElement(nsAttention, "attention"))
	}
	return &outgoing{to: t.jid, stanza: m}, nil
}

func (f *sender) print(messages []*outgoing) error {
	for _, m := range messages {
		b, err := xmpp.XML(m.stanza)
		if err != nil {
			return err
		}
		if err := f.env.print(stanzaRecord{"stanza", oneLine(b)}); err != nil {
			return err
		}
	}
	return nil
}

// oneLine writes whatever a terminal could take amiss, line breaks among it, as
// character references, so that the XML stays what it was.
func oneLine(xml []byte) string {
	var b strings.Builder
	for _, r := range string(xml) {
		if c := string(r); r < ' ' || r > '~' && output.Clean(c) != c {
			fmt.Fprintf(&b, "&#x%X;", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// send sends the messages with a ping behind them, whose answer proves that the own
// server has processed them and that its bounces are here (RFC 6120, section 10.1).
func (f *sender) send(ctx context.Context, s *xmpp.Session, messages []*outgoing, grace time.Duration) error {
	stanzas := make([]*xmpp.Element, len(messages))
	for i, m := range messages {
		stanzas[i] = m.stanza
	}
	rtt, err := s.Ping(ctx, s.Server(), stanzas...)
	if _, ok := errors.AsType[*xmpp.StanzaError](err); ok {
		err = nil // an answer like any other
	}
	if errors.Is(err, xmpp.ErrTooLarge) {
		return err // nothing was written
	}
	if err != nil {
		f.collectBounces(ctx, s, messages, 0)
		return f.unconfirmed(s, messages, err)
	}
	f.env.trace("confirmed by %s after %v ms", s.Server(), milliseconds(rtt))
	cut := f.collectBounces(ctx, s, messages, grace)
	if err := f.confirmed(s, messages, rtt); err != nil || cut == nil {
		return err
	}
	return fmt.Errorf("taken by %s, but not all bounces can be known: %w", s.Server(), cut)
}

// collectBounces reads what has arrived, and waits for more if there is a grace. It
// returns what cut that short.
func (f *sender) collectBounces(ctx context.Context, s *xmpp.Session, messages []*outgoing, grace time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, grace, errGraceOver)
	defer cancel()
	left := 0
	for _, m := range messages {
		if m.err == nil {
			left++
		}
	}
	for e, err := range s.Stanzas(ctx) {
		if err == errGraceOver || err != nil && grace == 0 {
			break
		}
		if err != nil {
			return err
		}
		from, _ := s.From(e) // the session delivers nothing without one
		for _, m := range messages {
			if m.err == nil && xmpp.Attr(e, "id") == m.id() && bounces(from, m.to, s.JID()) {
				m.err = xmpp.ErrorOf(e)
				left--
				break
			}
		}
		if left == 0 {
			break
		}
	}
	return nil
}

var errGraceOver = errors.New("the time for bounces is over")

func isBounce(e *xmpp.Element) bool {
	return xmpp.Is(e, xmpp.NSClient, "message") && xmpp.Attr(e, "type") == "error"
}

// bounces reports whether an entity may bounce a message: the recipient, its account
// or server, or the own server, in its own or the account's name.
func bounces(from, to, own xmpp.JID) bool {
	switch from {
	case to, to.Bare(), xmpp.JID{Domain: to.Domain}, xmpp.JID{Domain: own.Domain}, own.Bare():
		return true
	}
	return false
}

func (f *sender) record(m *outgoing) sentRecord {
	r := sentRecord{Kind: "sent", Time: output.Time(time.Now()), To: m.to.String(), Type: xmpp.Attr(m.stanza, "type"), ID: m.id(), Ack: "none"}
	if m.err != nil {
		r.Error = newStanzaError(m.err)
	}
	return r
}

// confirmed prints the results of messages that the server has processed.
func (f *sender) confirmed(s *xmpp.Session, messages []*outgoing, rtt time.Duration) error {
	var failed []*outgoing
	for _, m := range messages {
		r := f.record(m)
		r.OK, r.Ack, r.AckMS = m.err == nil, "server", new(milliseconds(rtt))
		if m.err != nil {
			failed = append(failed, m)
		}
		if err := f.env.out.Print(r); err != nil {
			return err
		}
	}
	if err := f.env.out.Flush(); err != nil || len(failed) == 0 {
		return err
	}
	if len(failed) == len(messages) {
		return bounceError(s, failed[0])
	}
	var lines []string
	for _, m := range failed {
		lines = append(lines, fmt.Sprintf("%s: %s", s.JID().Bare(), bounceError(s, m)))
	}
	return noError(lines...)
}

// unconfirmed prints the results of messages of which nothing is known but that
// they were, or may have been, written.
func (f *sender) unconfirmed(s *xmpp.Session, messages []*outgoing, cause error) error {
	for _, m := range messages {
		if m.err == nil {
			m.err = &xmpp.StanzaError{Condition: xmpp.UndefinedCondition, Type: "wait", Text: "not confirmed: " + cause.Error()}
			if e, ok := errors.AsType[*xmpp.StreamError](cause); ok {
				m.err.Condition = e.Condition
			}
		}
		if err := f.env.out.Print(f.record(m)); err != nil {
			return err
		}
	}
	if err := f.env.out.Flush(); err != nil {
		return err
	}
	ids := messages[0].id()
	if n := len(messages) - 1; n > 0 {
		ids += fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("not confirmed, it may or may not have been sent: message %s: %w", ids, cause)
}

// bounceError is the error of a message that was bounced.
func bounceError(s *xmpp.Session, m *outgoing) error {
	err := fmt.Errorf("message to %s refused: %w", m.to, m.err)
	e := &exitError{code: stanzaCode(m.err), class: "stanza", err: err}
	// RFC 6121, section 8.5.1: what a server answers for an account that it does
	// not have.
	if m.err.Condition == xmpp.ServiceUnavailable && m.to.Local != "" && m.to.Resource == "" {
		e.code = exitNoUser
	}
	switch e.code {
	case exitNoUser:
		e.hint = "there is no such account, or it takes no messages while it is offline"
	case exitNoHost:
		e.hint = fmt.Sprintf("%s does not find %s", s.Server(), m.to.Domain)
	case exitTemporary:
		e.hint = "try again"
	}
	return e
}
