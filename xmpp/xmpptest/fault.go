package xmpptest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/internal/wire"
)

// A Fault is one way to misbehave, written NAME, NAME@PHASE, NAME=VALUE or
// NAME@PHASE=VALUE; Faults lists them all. The phases, each the moment before the
// server does what the phase is named after:
//
//	accept         the connection is there, nothing was read
//	header         features of the first stream (its header is written)
//	proceed        the answer to <starttls/>
//	handshake      the TLS handshake
//	secure-header  features of the first stream inside TLS
//	challenge      the first SASL challenge
//	success        SASL success
//	restart        features of the stream after login
//	bind           the answer to the bind request, or to <resume/> (XEP-0198)
//	session        the first stanza after bind is handled
//	confirm        a ping to the server or the account itself is answered
//	ack            a request for an acknowledgement (XEP-0198) is answered
//
// On a direct TLS connection the first stream is also the first inside TLS.
type Fault string

func phases() []string {
	return []string{"accept", "header", "proceed", "handshake", "secure-header", "challenge", "success",
		"restart", "bind", "session", "confirm", "ack"}
}

// A kind describes the faults with one name.
type kind struct {
	name  string
	phase string // when it applies: a default, "PHASE" if one must be given, "" if it has no phase
	value string // its value, "" if it has none; choices are separated by |
	doc   string
}

// kinds returns the faults of all features, and those of streams, logins, binding and
// routing.
func kinds() []kind {
	all := []kind{
		{"silence", "PHASE", "", "keeps reading but writes nothing more; at confirm and ack: leaves those unanswered, and continues"},
		{"close", "PHASE", "", "closes the TCP connection, without a closing tag or a TLS alert"},
		{"reset", "PHASE", "", "resets the TCP connection"},
		{"drip", "PHASE", "", "writes a space each second and nothing else"},
		{"slow", "PHASE", "MS", "continues after that many milliseconds"},
		{"stream-error", "session", "CONDITION[:TEXT]", "ends the stream with an error; the text of see-other-host is the host"},
		{"malformed", "session", "TEXT", "writes TEXT as it is"},
		{"inject", "session", "TEXT", "the same, for text that is well-formed"},
		{"endless-stanza", "session", "", "writes a message with a body of 100 MB, without an end"},
		{"bad-header", "header", "wrong-ns|version-0.9|no-version|from-evil|no-id|http|smtp", "answers with that protocol instead of a stream header"},
		{"first", "", "N", "all other faults apply to the first N connections only"},

		{"no-starttls", "", "", "does not offer STARTTLS and refuses it"},
		{"plaintext-auth", "", "", "offers its mechanisms outside of TLS"},
		{"inject-proceed", "", "", "writes a message after <proceed/>, in the same segment"},
		{"wrong-cert", "", "", "its certificate is for another domain"},
		{"self-signed", "", "", "its certificate is self-signed"},
		{"expired-cert", "", "", "its certificate has expired"},
		{"untrusted-ca", "", "", "its certificate is from another authority than CA"},

		{"only-plain", "", "", "offers PLAIN only"},
		{"strip-plus", "", "", "hides its channel binding, as an attacker would, but detects that the client supports it"},
		{"strip-types", "", "", "offers -PLUS but not the types of XEP-0440"},
		{"sasl-failure", "", "CONDITION", "every login fails with that condition"},
		{"wrong-signature", "", "", "the signature in <success/> is wrong"},
		{"no-signature", "", "", "<success/> carries no signature"},
		{"early-success", "", "", "<success/> instead of the first challenge"},
		{"final-challenge", "", "", "the signature comes in a challenge before an empty <success/>; allowed, but rare"},
		{"short-nonce", "", "", "the server adds nothing to the client's nonce"},
		{"low-iterations", "", "", "one iteration"},
		{"high-iterations", "", "", "2147483648 iterations"},
		{"message-in-sasl", "", "", "a message between the challenge and <success/>"},

		{"bind-other", "", "", "binds an address of another domain"},
		{"bind-error", "", "CONDITION", "answers each bind request with that condition"},
		{"bind-conflict", "", "", "answers a bind request that names a resource with conflict"},

		{"forged-reply", "", "", "before the answer to an IQ, others send results with its id, each with an item of mallory"},
		{"echo", "", "", "sends each IQ back before handling it"},
		{"bounce-late", "", "MS", "error bounces come that many milliseconds late"},
		{"bounce-wrong-id", "", "", "error bounces have another id"},
		{"bounce-from", "", "JID", "error bounces come from that address"},
		{"bounce-third-party", "", "", "a bounce for each message, from somebody who was not a recipient"},

		{"byte-by-byte", "", "", "each byte is a write of its own"},
		{"one-segment", "", "", "waits 20 ms before each write for more to put into it"},
	}
	for _, f := range features() {
		all = append(all, f.faults...)
	}
	return all
}

// Faults returns a line for each kind of fault: its form, a tab, what it does.
func Faults() []string {
	var lines []string
	for _, k := range kinds() {
		line := k.name
		switch k.phase {
		case "":
		case "PHASE":
			line += "@PHASE"
		default:
			line += "[@PHASE]"
		}
		if k.value != "" {
			line += "=" + k.value
		}
		lines = append(lines, line+"\t"+k.doc)
	}
	return lines
}

// ParseFault checks that s is a fault as Faults lists them.
func ParseFault(s string) (Fault, error) {
	_, err := Fault(s).split()
	return Fault(s), err
}

// A fault is a Fault in its parts.
type fault struct{ name, phase, value string }

func (f Fault) split() (fault, error) {
	where, value, hasValue := strings.Cut(string(f), "=")
	name, phase, hasPhase := strings.Cut(where, "@")
	all := kinds()
	i := slices.IndexFunc(all, func(k kind) bool { return k.name == name })
	if i < 0 {
		return fault{}, fmt.Errorf("unknown fault %q", name)
	}
	k := all[i]
	switch {
	case hasPhase && k.phase == "":
		return fault{}, fmt.Errorf("fault %s takes no phase", name)
	case hasPhase && !slices.Contains(phases(), phase), !hasPhase && k.phase == "PHASE":
		return fault{}, fmt.Errorf("fault %s needs a phase: one of %s", name, strings.Join(phases(), ", "))
	case hasValue != (k.value != "") || hasValue && !validValue(k.value, value):
		return fault{}, fmt.Errorf("fault %s is written %s", name, strings.TrimSuffix(name+"="+k.value, "="))
	case !hasPhase:
		phase = k.phase
	}
	return fault{name, phase, value}, nil
}

func validValue(want, value string) bool {
	switch {
	case want == "N" || want == "MS":
		n, err := strconv.Atoi(value)
		return err == nil && n >= 0
	case want == "WIDTHxDEPTH":
		_, _, ok := treeSize(value)
		return ok
	case strings.Contains(want, "|"):
		return slices.Contains(strings.Split(want, "|"), value)
	}
	return value != ""
}

type faults []fault

func splitFaults(in []Fault) (faults, error) {
	var out faults
	for _, f := range in {
		parts, err := f.split()
		if err != nil {
			return nil, err
		}
		out = append(out, parts)
	}
	return out, nil
}

func (fs faults) has(name string) bool {
	_, ok := fs.value(name)
	return ok
}

func (fs faults) value(name string) (string, bool) {
	for _, f := range fs {
		if f.name == name {
			return f.value, true
		}
	}
	return "", false
}

func (fs faults) number(name string) (int, bool) {
	v, ok := fs.value(name)
	n, _ := strconv.Atoi(v)
	return n, ok
}

// at returns the value of a fault that applies in that phase.
func (fs faults) at(name, phase string) (string, bool) {
	for _, f := range fs {
		if f.name == name && f.phase == phase {
			return f.value, true
		}
	}
	return "", false
}

// errGone ends a connection without any further write.
var errGone = errors.New("connection gone")

// at is called when the server reaches a phase, and applies the faults of that phase.
// It must not be called with the server locked, because it may block for ever.
func (c *conn) at(phase string) error {
	for _, f := range c.faults {
		if f.phase != phase {
			continue
		}
		if err := c.strike(f); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) strike(f fault) error {
	switch f.name {
	case "silence":
		c.flush()
		io.Copy(io.Discard, c.raw)
		return errGone
	case "close":
		c.out.drain()
		c.abrupt = true
		return errGone
	case "reset":
		c.out.drain()
		if t, ok := c.raw.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		c.raw.Close()
		return errGone
	case "drip":
		return c.drip()
	case "slow":
		c.flush()
		ms, _ := strconv.Atoi(f.value)
		time.Sleep(time.Duration(ms) * time.Millisecond)
	case "stream-error":
		condition, text, _ := strings.Cut(f.value, ":")
		return streamError{condition, text}
	case "malformed", "inject":
		c.interject(f.value)
	case "endless-stanza":
		return c.flood()
	}
	return nil
}

func (c *conn) drip() error {
	for {
		c.put(c, []byte(" "))
		c.flush()
		c.raw.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := io.Copy(io.Discard, c.raw); !errors.Is(err, os.ErrDeadlineExceeded) {
			return errGone
		}
	}
}

func (c *conn) flood() error {
	c.put(c, []byte("<message from='"+c.s.Domain+"'><body>"))
	chunk := []byte(strings.Repeat("a", 100_000))
	for range 1000 {
		c.put(c, chunk)
		c.flush()
	}
	c.out.drain()
	return errGone
}

// inject writes a message at a point of the stream where none is allowed.
func (c *conn) inject() {
	c.put(c, []byte("<message from='"+c.s.Domain+"'><body>injected</body></message>"))
}

// forge sends results from other addresses to the client before the real answer to its
// request e. A client that does not compare addresses accepts them. Each has an item
// that the real answer does not have.
func (c *conn) forge(e *xmpp.Element) {
	own := c.user.jid.String()
	for _, from := range []string{"mallory@" + c.s.Domain + "/x", c.s.Domain + ".evil", own + ".evil", own + "/forged"} {
		r := xmpp.NewElement(xmpp.NSClient, "iq", "type", "result", "id", xmpp.Attr(e, "id"), "from", from)
		for p := range xmpp.Elements(e) {
			ns := xmpp.Namespace(p)
			forged := xmpp.NewElement(ns, "item", "jid", "mallory@evil.example", "name", "mallory", "subscription", "both")
			if ns == xmpp.NSBind {
				forged = xmpp.NewText(ns, "jid", "mallory@evil.example/x")
			}
			xmpp.Add(r, xmpp.Add(xmpp.NewElement(ns, p.Tag), forged))
		}
		c.respond(r)
	}
}

// interject writes the text of a fault. Its stanzas are counted, because the client
// counts them too (XEP-0198).
func (c *conn) interject(text string) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.put(c, []byte(text))
	if c.bound == nil {
		return
	}
	r := wire.NewReader(strings.NewReader(c.header()+text), wire.Limits{})
	_, err := r.Header()
	for err == nil {
		var e *xmpp.Element
		if e, _, err = r.Next(); err == nil && isStanza(e) {
			c.bound.keep(c.s, e)
		}
	}
}
