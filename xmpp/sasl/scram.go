package sasl

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

const (
	maxMessage = 4096 // octets of a server's message
	maxSalt    = 1024 // octets

	// Fewer iterations make an intercepted login cheap to crack (RFC 7677,
	// section 4), more let the server burn this machine's time (RFC 5802,
	// section 9): the most allowed take about three seconds.
	minIterations = 4096
	maxIterations = 5_000_000
)

// login is a SCRAM conversation (RFC 5802). The library does the arithmetic;
// login checks every message of the server before the library sees it.
type login struct {
	conversation *scram.ClientConversation
	expects      state
	guard        guard
}

// state is what the client expects next.
type state int

const (
	nothing     state = iota // after an error, and before Start
	serverFirst              // r=, s=, i=
	serverFinal              // v=
	success                  // <success/> without data: the server is proven
)

func newSCRAM(o Offer, c Credentials, tlsVersion uint16, have []Binding, nonce string) (*Client, error) {
	// The library takes a binding without data for none.
	have = slices.DeleteFunc(slices.Clone(have), func(b Binding) bool { return len(b.Data) == 0 })
	p, err := o.plan(tlsVersion, have)
	if err != nil {
		return nil, err
	}
	user, password, err := c.prepare()
	if err != nil {
		return nil, err
	}
	hash := hashOf(p.mechanism)
	client, err := hash.NewClientUnprepped(user, password, "")
	if err != nil {
		return nil, fmt.Errorf("%w: SCRAM refuses them", ErrPassword)
	}
	client.WithNonceGenerator(func() string { return nonce })
	l := &login{guard: guard{
		nonce:     nonce,
		list:      listHash(hash, o),
		proveList: p.proveList,
		version:   fmt.Sprintf("%04x", tlsVersion),
	}}
	switch p.flag {
	case 'p':
		l.conversation = client.NewConversationWithChannelBinding(scram.ChannelBinding{
			Type: scram.ChannelBindingType(p.binding.Type), Data: p.binding.Data})
	case 'y':
		l.conversation = client.NewConversationAdvertisingChannelBinding()
	default:
		l.conversation = client.NewConversation()
	}
	return &Client{Mechanism: p.mechanism, Binding: p.binding.Type, Guessed: p.guessed, steps: l}, nil
}

func (l *login) start() ([]byte, error) {
	first, err := l.conversation.Step("")
	if err != nil {
		return nil, fmt.Errorf("starting SCRAM: %w", err)
	}
	l.expects = serverFirst
	return []byte(first), nil
}

// next answers server-first with the proof. A server that sends its own proof
// in a challenge instead of in <success/> (RFC 6120, section 6.3.10) gets an
// empty answer.
func (l *login) next(challenge []byte) ([]byte, error) {
	switch l.take() {
	case serverFirst:
		if err := l.guard.checkFirst(string(challenge)); err != nil {
			return nil, err
		}
		proof, err := l.conversation.Step(string(challenge))
		if err != nil {
			return nil, serverError("its first message is malformed")
		}
		l.expects = serverFinal
		return []byte(proof), nil
	case serverFinal:
		return nil, l.verify(string(challenge))
	}
	return nil, serverError("it sent one challenge too many")
}

func (l *login) finish(data []byte) error {
	switch l.take() {
	case serverFinal:
		if len(data) == 0 {
			return serverError("it declared success without a proof that it knows the password")
		}
		return l.verify(string(data))
	case success:
		if len(data) > 0 {
			return serverError("it sent more data after its proof")
		}
		return nil
	}
	return serverError("it declared success before the login was complete")
}

// take returns the expected state and clears it, so that an error ends the login.
func (l *login) take() state {
	now := l.expects
	l.expects = nothing
	return now
}

// verify checks server-final (RFC 5802, section 7). The library compares the
// proofs in constant time.
func (l *login) verify(message string) error {
	attributes, err := parse(message)
	if err != nil {
		return err
	}
	switch a := attributes[0]; a.name {
	case 'e':
		return serverError("it reports the error %s", errorName(a.value))
	case 'v':
		if _, err := unbase64(a.value); err != nil {
			return err
		}
	default:
		return serverError("it sent no proof that it knows the password")
	}
	if _, err := l.conversation.Step(message); err != nil || !l.conversation.Valid() {
		return serverError("its proof that it knows the password is wrong")
	}
	l.expects = success
	return nil
}

// errorName returns the server's error name if it looks like one of RFC 5802.
func errorName(value string) string {
	if len(value) > 40 || strings.Trim(value, "abcdefghijklmnopqrstuvwxyz-") != "" {
		return "other-error"
	}
	return value
}

// guard is what server-first is checked against.
type guard struct {
	nonce     string // ours
	list      string // the hash over the offer, as in h=
	proveList bool   // h= must be there
	version   string // the TLS version, as in t=
}

// checkFirst accepts only what RFC 5802, section 7, allows and what is safe to
// answer: r=, s=, i= in this order, then extensions. Of those it knows h=
// (XEP-0474) and t= (XEP-0515), with which the server confirms under the
// password what was offered on which TLS version; the rest it ignores.
func (g guard) checkFirst(message string) error {
	attributes, err := parse(message)
	if err != nil {
		return err
	}
	if len(attributes) < 3 || attributes[0].name != 'r' || attributes[1].name != 's' || attributes[2].name != 'i' {
		return serverError("its first message is not nonce, salt and iteration count")
	}
	if err := g.checkNonce(attributes[0].value); err != nil {
		return err
	}
	if salt, err := unbase64(attributes[1].value); err != nil || len(salt) > maxSalt { // parse leaves none empty
		return serverError("its salt is not base64 of 1 to %d octets", maxSalt)
	}
	if err := checkIterations(attributes[2].value); err != nil {
		return err
	}
	return g.checkOffer(attributes[3:])
}

// checkNonce: a nonce the server added nothing to is one it could replay.
func (g guard) checkNonce(nonce string) error {
	printable := !strings.ContainsFunc(nonce, func(r rune) bool { return r < '!' || r > '~' })
	if !printable || !strings.HasPrefix(nonce, g.nonce) || len(nonce) == len(g.nonce) {
		return serverError("its nonce does not extend ours")
	}
	return nil
}

func checkIterations(count string) error {
	n, err := strconv.ParseUint(count, 10, 32) // takes no sign
	if err != nil || count[0] == '0' || n < minIterations || n > maxIterations {
		return serverError("its iteration count is not a number from %d to %d", minIterations, maxIterations)
	}
	return nil
}

// checkOffer checks h= and t=.
func (g guard) checkOffer(extensions []attribute) error {
	proven := false
	for _, a := range extensions {
		switch {
		case a.name == 'h' && a.value != g.list:
			return serverError("the mechanisms and channel binding types that arrived are not the ones it says it sent (XEP-0474): " +
				"someone changed them on the way, or the server hashes the wrong list, as ejabberd 24.12 does")
		case a.name == 'h':
			proven = true
		case a.name == 't' && a.value != g.version:
			return serverError("it speaks another TLS version than this end (XEP-0515): someone is in between")
		}
	}
	if g.proveList && !proven {
		return serverError("it offers channel binding, but none this connection supports, and does not prove that it does (XEP-0474)")
	}
	return nil
}

// listHash is the h= of XEP-0474, section 6.1: a hash over the offer.
func listHash(hash scram.HashGeneratorFcn, o Offer) string {
	join := func(names []string) string {
		return strings.Join(slices.Sorted(slices.Values(names)), "\x1e")
	}
	h := hash()
	h.Write([]byte(join(o.Mechanisms)))
	if o.BindingTypes != nil {
		h.Write([]byte("\x1f" + join(o.BindingTypes)))
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

type attribute struct {
	name  byte
	value string
}

// parse splits a message into its attributes, at least one. It refuses m=,
// the mark of an extension that must be understood, and a repeated name.
func parse(message string) ([]attribute, error) {
	if len(message) > maxMessage {
		return nil, serverError("its message is longer than %d octets", maxMessage)
	}
	var attributes []attribute
	for field := range strings.SplitSeq(message, ",") {
		// attr-val of RFC 5802, section 7: a letter, "=", a value not empty
		if len(field) < 3 || field[1] != '=' || !('a' <= field[0]|0x20 && field[0]|0x20 <= 'z') {
			return nil, serverError("its message is malformed")
		}
		if field[0] == 'm' {
			return nil, serverError("it demands an extension of SCRAM that does not exist")
		}
		if slices.ContainsFunc(attributes, func(a attribute) bool { return a.name == field[0] }) {
			return nil, serverError("its message has an attribute twice")
		}
		attributes = append(attributes, attribute{field[0], field[2:]})
	}
	return attributes, nil
}
