package xmpp

import (
	"crypto/tls"
	"errors"
	"strings"

	"xmppkit/internal/aside"
	"xmppkit/xmpp/sasl"
)

// login authenticates with SASL (RFC 6120, section 6): one attempt with one mechanism.
func (n *negotiation) login(features *Element) error {
	offer := offerOf(features)
	cs := n.conn.(*tls.Conn).ConnectionState()
	client, err := sasl.Choose(offer, sasl.Credentials{
		Username: n.o.JID.Local, Password: string(n.o.Password),
		AllowPlain: n.o.AllowPlain, PlainForbidden: n.o.Memory.NoPlain,
		External: n.o.Certificate != nil,
	}, cs.Version, sasl.Bindings(&cs))
	if err != nil {
		return &AuthError{Err: err}
	}
	n.doing, n.chosen = "login by "+client.Mechanism, client.Mechanism == "EXTERNAL"
	if err := n.exchange(client); err != nil {
		if a, ok := errors.AsType[*AuthError](err); ok {
			a.guessed = client.Guessed && namesBinding(a)
		}
		return err
	}
	if n.r.Buffered() > 0 {
		return &StreamError{Condition: PolicyViolation, Text: "data after the success of the login", Sent: true}
	}
	binding := client.Binding
	if binding == "" {
		binding = "no channel binding"
	}
	n.o.trace("logged in by %s (%s)", client.Mechanism, binding)
	n.o.Memory.NoPlain = n.o.Memory.NoPlain || client.Mechanism != "PLAIN"
	n.o.Memory.TLSUnique = n.o.Memory.TLSUnique && offer.BindingTypes == nil && client.Binding == "tls-unique"
	return nil
}

// namesBinding reports whether a refusal can be about the channel binding. If it is
// about the password, another attempt only counts against the account.
func namesBinding(a *AuthError) bool {
	return a.Condition == NotAuthorized && (a.Text == "" || strings.Contains(strings.ToLower(a.Text), "binding"))
}

func offerOf(features *Element) sasl.Offer {
	var o sasl.Offer
	for _, m := range Children(Child(features, NSSASL, "mechanisms"), NSSASL, "mechanism") {
		o.Mechanisms = append(o.Mechanisms, strings.TrimSpace(TextOf(m)))
	}
	if cb := Child(features, NSBinding, "sasl-channel-binding"); cb != nil {
		o.BindingTypes = []string{}
		for _, t := range Children(cb, NSBinding, "channel-binding") {
			o.BindingTypes = append(o.BindingTypes, Attr(t, "type"))
		}
	}
	return o
}

func (n *negotiation) exchange(client *sasl.Client) error {
	broke := func(err error) error { return &AuthError{Mechanism: client.Mechanism, Err: err} }
	initial, err := client.Start()
	if err != nil {
		return broke(err)
	}
	auth := NewText(NSSASL, "auth", sasl.Encode(initial))
	auth.CreateAttr("mechanism", client.Mechanism)
	for answer := auth; ; {
		if err := n.write(nil, answer); err != nil {
			return err
		}
		e, err := n.next()
		switch {
		case err != nil:
			return err
		case Is(e, NSSASL, "success"):
			data, err := sasl.Decode(TextOf(e))
			if err == nil {
				err = client.Finish(data)
			}
			if err != nil {
				return broke(err)
			}
			return nil
		case Is(e, NSSASL, "failure"):
			condition, text := conditionOf(e, NSSASL)
			return &AuthError{Mechanism: client.Mechanism, Condition: condition, Text: text}
		case !Is(e, NSSASL, "challenge"):
			return unexpected(e, "during the login")
		}
		response, err := n.compute(client, e)
		if err != nil {
			return broke(err)
		}
		answer = NewElement(NSSASL, "response")
		if response != nil {
			answer.SetText(sasl.Encode(response))
		}
	}
}

// compute answers a challenge. The server decides how long it takes to derive the key.
// This can be seconds, but the context can still end the login.
func (n *negotiation) compute(client *sasl.Client, challenge *Element) ([]byte, error) {
	data, err := sasl.Decode(TextOf(challenge))
	if err != nil {
		return nil, err
	}
	return aside.Run(n.ctx, 0, func() ([]byte, error) { return client.Next(data) })
}
