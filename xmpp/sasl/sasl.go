// Package sasl implements the client side of the login mechanisms of XMPP: EXTERNAL,
// SCRAM with SHA-512, SHA-256 and SHA-1, each with channel binding (-PLUS) or without,
// and PLAIN if it is allowed. It does no I/O and knows no XML.
//
// Choose picks the mechanism. The Client it returns is for one login on one TLS
// connection: Start, Next for every challenge, Finish at the end.
//
// Left out: DIGEST-MD5, historic by RFC 6331 and without channel binding;
// CRAM-MD5 and LOGIN, which are no better; authorization identities, which
// XMPP clients have no use for (RFC 6120, section 6.3.8); and the caching of
// SCRAM keys, which are as good as the password to whoever steals them.
//
// No error and no fmt verb shows a password.
package sasl

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
)

var (
	// ErrServer is wrapped by every error that says the server's side of the
	// login does not verify: a malformed or dangerous message, a sign of a
	// downgrade, or no proof that the server knows the password. Nothing more
	// may be sent to such a server.
	ErrServer = errors.New("the server's side of the login does not verify")

	// ErrPassword is wrapped by errors that say that the user name or the password
	// cannot be prepared (RFC 4013). Their text contains neither.
	ErrPassword = errors.New("the credentials cannot be used")
)

func serverError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrServer, fmt.Sprintf(format, args...))
}

// Credentials are what the account can log in with.
type Credentials struct {
	Username string // the localpart as it is, unescaped
	Password string

	// AllowPlain permits PLAIN if the server offers no SCRAM at all.
	AllowPlain bool
	// PlainForbidden says the account has logged in by SCRAM or EXTERNAL
	// before: it never falls back to PLAIN (XEP-0474, section 7).
	PlainForbidden bool
	// External says there is a client certificate to present in TLS.
	External bool
}

// Format hides the password from every verb of package fmt.
func (c Credentials) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "credentials of %q", c.Username)
}

// Client is one login by one mechanism. It is not safe for concurrent use and
// cannot be used again after an error.
type Client struct {
	Mechanism string // as named to the server
	Binding   string // the channel binding type in use, "" for none

	// Guessed says that the server offers -PLUS on TLS 1.3 without naming its
	// types (XEP-0440), so that tls-exporter is only the default of RFC 9266,
	// section 3. If the server refuses it, the login may be tried once more on
	// TLS 1.2, with tls-unique: ejabberd 23.01 needs that.
	Guessed bool

	started bool
	steps   conversation
}

// Format hides what has been prepared of the password from every verb of
// package fmt.
func (c Client) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "login by %s, bound to %q", c.Mechanism, c.Binding)
}

// conversation is a mechanism's exchange of messages.
type conversation interface {
	start() ([]byte, error)
	next(challenge []byte) ([]byte, error)
	finish(data []byte) error
}

// Start returns the initial response: nil if there is none, and empty but not
// nil if there is one without content, as in EXTERNAL. Encode tells them apart.
func (c *Client) Start() ([]byte, error) {
	if c.started {
		return nil, errors.New("this login has already been started")
	}
	c.started = true
	return c.steps.start()
}

// Next returns the answer to a challenge. An error wraps ErrServer and ends
// the login. Next may take seconds, as the server sets the cost of deriving
// the keys, and it cannot be interrupted: run it on a goroutine of its own.
func (c *Client) Next(challenge []byte) ([]byte, error) {
	if !c.started {
		return nil, serverError("a challenge came before the login began")
	}
	return c.steps.next(challenge)
}

// Finish takes the data of the server's success, nil if it has none. It
// returns nil only if the server has proven that it knows the password; PLAIN
// and EXTERNAL have no such proof. An error wraps ErrServer.
func (c *Client) Finish(data []byte) error {
	if !c.started {
		return serverError("success came before the login began")
	}
	return c.steps.finish(data)
}

// single is a mechanism of one message, without challenge and without proof:
// PLAIN (RFC 4616) and EXTERNAL (RFC 4422, appendix A).
type single struct{ message []byte }

func (s *single) start() ([]byte, error) { return s.message, nil }

func (s *single) next([]byte) ([]byte, error) {
	return nil, serverError("a challenge came in a mechanism that has none")
}

func (s *single) finish(data []byte) error {
	if len(data) > 0 {
		return serverError("success came with data in a mechanism that has none")
	}
	return nil
}

func newPlain(c Credentials) (*Client, error) {
	user, password, err := c.prepare()
	if err != nil {
		return nil, err
	}
	return &Client{Mechanism: "PLAIN", steps: &single{[]byte("\x00" + user + "\x00" + password)}}, nil
}

// prepare returns the user name and the password in the form SCRAM hashes
// (RFC 5802, section 2.2): prepared by SASLprep as stored strings.
func (c Credentials) prepare() (user, password string, err error) {
	if user, err = saslprep("user name", c.Username); err != nil {
		return "", "", err
	}
	password, err = saslprep("password", c.Password)
	return user, password, err
}

// saslprep prepares a string as a query, not as one to be stored: code points that are
// unassigned in Unicode 3.2, such as emoji, are not mapped (RFC 3454, section 7). It
// never returns an error of stringprep, because those name the character.
func saslprep(what, s string) (string, error) {
	prepared, err := mapped(s)
	if err == nil {
		// The characters that RFC 4013 prohibits in sections 2.3 and 2.4, but not those
		// of 2.5.
		prepared, err = stringprep.Profile{
			Prohibits: []stringprep.Set{
				stringprep.TableC1_2, stringprep.TableC2_1, stringprep.TableC2_2, stringprep.TableC3, stringprep.TableC4,
				stringprep.TableC5, stringprep.TableC6, stringprep.TableC7, stringprep.TableC8, stringprep.TableC9,
			},
			CheckBiDi: true,
		}.Prepare(prepared)
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: the %s has a character or a mix of writing directions that SASLprep forbids", ErrPassword, what)
	case prepared == "":
		return "", fmt.Errorf("%w: the %s is empty", ErrPassword, what)
	}
	return prepared, nil
}

// mapped maps and normalizes by the tables of SASLprep. Unicode 3.2, which it is defined
// for, normalizes nothing that is unassigned there. The library's newer one would.
func mapped(s string) (string, error) {
	profile := stringprep.Profile{Mappings: stringprep.SASLprep.Mappings, Normalize: true}
	var b strings.Builder
	for s != "" {
		n := strings.IndexFunc(s, stringprep.TableA1.Contains)
		if n < 0 {
			n = len(s)
		}
		known, err := profile.Prepare(s[:n])
		if err != nil {
			return "", err
		}
		b.WriteString(known)
		_, size := utf8.DecodeRuneInString(s[n:])
		b.WriteString(s[n : n+size])
		s = s[n+size:]
	}
	return b.String(), nil
}

// Encode returns b as the text of a SASL element: base64, "=" for an initial
// response or success data that is present but empty (RFC 6120, sections
// 6.4.2 and 6.4.6), and no text for nil.
func Encode(b []byte) string {
	if b != nil && len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// Decode is the inverse of Encode: nil for no text, empty for "=". It is as
// strict as RFC 6120, section 13.9.1, wants: no character outside the
// alphabet, not even a line break; padding at the end only, and its bits zero.
// An error wraps ErrServer.
func Decode(s string) ([]byte, error) {
	switch s {
	case "":
		return nil, nil
	case "=":
		return []byte{}, nil
	}
	return unbase64(s)
}

func unbase64(s string) ([]byte, error) {
	// Go's decoder skips line breaks, Strict or not.
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, serverError("data is not base64")
	}
	return b, nil
}
