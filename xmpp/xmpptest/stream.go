package xmpptest

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"

	"xmppkit/xmpp"
	"xmppkit/xmpp/internal/wire"
)

// A streamError ends a stream (RFC 6120, section 4.9).
type streamError struct{ condition, text string }

func (e streamError) Error() string { return "stream error: " + e.condition }

// serve takes the connection through its phases. It returns io.EOF when the client has
// closed the stream, and a streamError if the server must.
func (c *conn) serve() error {
	if err := c.at("accept"); err != nil {
		return err
	}
	steps := []func() error{c.startTLS, c.handshake, c.login, c.bind, c.session}
	if c.direct {
		steps = steps[1:]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// open reads the header of a new stream and writes ours and, with it, features.
func (c *conn) open(features []*xmpp.Element, phases ...string) error {
	c.opened = false
	c.r = wire.NewReader(c, wire.Limits{})
	h, err := c.r.Header()
	if err != nil {
		return wireError(err)
	}
	c.put(c, []byte(c.header(phases...)))
	c.opened = true
	to, err := xmpp.ParseJID(xmpp.Attr(h, "to"))
	switch {
	case !xmpp.Is(h, xmpp.NSStream, "stream") || c.r.ContentNS() != xmpp.NSClient:
		return streamError{condition: "invalid-namespace"}
	case !strings.HasPrefix(xmpp.Attr(h, "version"), "1."):
		return streamError{condition: "unsupported-version"}
	case err != nil || to.String() != c.s.Domain:
		return streamError{condition: "host-unknown"}
	}
	for _, p := range phases {
		if err := c.at(p); err != nil {
			return err
		}
	}
	c.put(c, []byte("<stream:features>"))
	for _, f := range features {
		c.emit(f)
	}
	c.put(c, []byte("</stream:features>"))
	return nil
}

// header is our stream header. A start tag is not an element, so it is built by hand;
// nothing in it needs escaping.
func (c *conn) header(phases ...string) string {
	from, id, version, ns := " from='"+c.s.Domain+"'", " id='"+xmpp.NewID()+"'", " version='1.0'", xmpp.NSStream
	var wrong string
	for _, p := range phases {
		if value, ok := c.faults.at("bad-header", p); ok {
			wrong = value
		}
	}
	switch wrong {
	case "http":
		return "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
	case "smtp":
		return "220 mail ESMTP\r\n"
	case "wrong-ns":
		ns = "http://example.org/streams"
	case "version-0.9":
		version = " version='0.9'"
	case "no-version":
		version = ""
	case "from-evil":
		from = " from='evil.example'"
	case "no-id":
		id = ""
	}
	return "<?xml version='1.0'?><stream:stream xmlns='" + xmpp.NSClient + "' xmlns:stream='" + ns + "'" +
		from + id + version + " xml:lang='en'>"
}

// next reads an element.
func (c *conn) next() (*xmpp.Element, error) {
	e, _, err := c.r.Next()
	if flaw := c.r.Flaw(); err == nil && flaw != "" {
		err = streamError{string(xmpp.PolicyViolation), flaw}
	}
	return e, wireError(err)
}

func wireError(err error) error {
	if syntax, ok := errors.AsType[*wire.SyntaxError](err); ok {
		return streamError{syntax.Condition, syntax.Reason}
	}
	return err
}

// startTLS serves the stream before TLS, where nothing else is allowed.
func (c *conn) startTLS() error {
	refuse := c.faults.has("no-starttls")
	var features []*xmpp.Element
	if !refuse {
		f := xmpp.NewElement(xmpp.NSTLS, "starttls")
		f.CreateElement("required")
		features = append(features, f)
	}
	if c.faults.has("plaintext-auth") {
		features = append(features, mechanismList(c.mechanisms()))
	}
	if err := c.open(features, "header"); err != nil {
		return err
	}
	for {
		e, err := c.next()
		switch {
		case err != nil:
			return err
		case xmpp.Is(e, xmpp.NSSASL, "auth"):
			c.s.attempts.Add(1)
			c.fail(saslFailure{condition: "encryption-required"})
		case !xmpp.Is(e, xmpp.NSTLS, "starttls"):
			return streamError{"not-authorized", "use STARTTLS first"}
		case refuse:
			c.emit(xmpp.NewElement(xmpp.NSTLS, "failure")) // RFC 6120, section 5.4.2.2
			return io.EOF
		default:
			return c.proceed()
		}
	}
}

// proceed starts TLS, unless the client has already sent more: data after <starttls/>
// could be mistaken for data that came through TLS.
func (c *conn) proceed() error {
	if c.r.Buffered() > 0 {
		return streamError{"policy-violation", "data before the TLS handshake"}
	}
	if err := c.at("proceed"); err != nil {
		return err
	}
	c.emit(xmpp.NewElement(xmpp.NSTLS, "proceed"))
	if c.faults.has("inject-proceed") {
		c.inject()
	}
	return nil
}

func (c *conn) handshake() error {
	c.flush()
	c.out.drain()
	if err := c.at("handshake"); err != nil {
		return err
	}
	config, err := c.tlsConfig()
	if err != nil {
		return err
	}
	t := tls.Server(c.raw, config)
	if err := t.Handshake(); err != nil {
		return err
	}
	c.tls, c.nc, c.leaf = t, t, config.Certificates[0].Leaf
	return nil
}

// login serves the first stream inside TLS.
func (c *conn) login() error {
	mechanisms, types := c.mechanisms(), c.bindingTypes()
	features := []*xmpp.Element{mechanismList(mechanisms)}
	if len(types) > 0 && !c.s.config.Legacy && !c.faults.has("strip-types") && slices.ContainsFunc(mechanisms, plus) {
		list := xmpp.NewElement(xmpp.NSBinding, "sasl-channel-binding")
		for _, t := range types {
			list.CreateElement("channel-binding").CreateAttr("type", t)
		}
		features = append(features, list)
	}
	phases := []string{"secure-header"}
	if c.direct {
		phases = []string{"header", "secure-header"}
	}
	if err := c.open(features, phases...); err != nil {
		return err
	}
	for range 5 { // RFC 6120, section 6.4.5
		e, err := c.next()
		if err != nil {
			return err
		}
		if !xmpp.Is(e, xmpp.NSSASL, "auth") {
			return streamError{"not-authorized", "log in first"}
		}
		c.s.attempts.Add(1)
		err = c.authenticate(e, mechanisms)
		failure, failed := errors.AsType[saslFailure](err)
		if !failed {
			return err
		}
		c.fail(failure)
	}
	return streamError{"policy-violation", "too many failed logins"}
}

func mechanismList(names []string) *xmpp.Element {
	list := xmpp.NewElement(xmpp.NSSASL, "mechanisms")
	for _, n := range names {
		list.CreateElement("mechanism").SetText(n)
	}
	return list
}

// authenticate is one SASL exchange, from <auth/> to <success/>.
func (c *conn) authenticate(e *xmpp.Element, mechanisms []string) error {
	name := xmpp.Attr(e, "mechanism")
	if !slices.Contains(mechanisms, name) {
		return saslFailure{condition: "invalid-mechanism"}
	}
	if condition, ok := c.faults.value("sasl-failure"); ok {
		return saslFailure{condition: condition}
	}
	step := c.mechanism(name)
	in, err := initialResponse(e)
	if err == errNoInitial {
		in, err = c.challenge("")
	}
	for first := true; err == nil; first = false {
		var out string
		var user *account
		if out, user, err = step(in); err != nil {
			return err
		}
		if user == nil && first && c.faults.has("early-success") {
			user = c.s.account(claimed(in))
		}
		if user != nil {
			return c.succeed(user, out)
		}
		if first {
			if err := c.at("challenge"); err != nil {
				return err
			}
		}
		in, err = c.challenge(out)
	}
	return err
}

var errNoInitial = errors.New("no initial response")

// initialResponse returns what <auth/> carries; "=" is an empty response, and
// nothing is none (RFC 6120, section 6.4.2).
func initialResponse(e *xmpp.Element) (string, error) {
	if xmpp.TextOf(e) == "" {
		return "", errNoInitial
	}
	return decode(xmpp.TextOf(e))
}

func decode(text string) (string, error) {
	if text == "=" {
		return "", nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return "", saslFailure{condition: "incorrect-encoding"}
	}
	return string(b), nil
}

// challenge writes a challenge and reads the response.
func (c *conn) challenge(out string) (string, error) {
	c.emit(xmpp.NewText(xmpp.NSSASL, "challenge", base64.StdEncoding.EncodeToString([]byte(out))))
	e, err := c.next()
	switch {
	case err != nil:
		return "", err
	case xmpp.Is(e, xmpp.NSSASL, "abort"):
		return "", saslFailure{condition: "aborted"}
	case !xmpp.Is(e, xmpp.NSSASL, "response"):
		return "", saslFailure{condition: "malformed-request"}
	}
	return decode(xmpp.TextOf(e))
}

func (c *conn) succeed(user *account, out string) error {
	if c.faults.has("message-in-sasl") {
		c.inject()
	}
	if c.faults.has("final-challenge") {
		if _, err := c.challenge(out); err != nil {
			return err
		}
		out = ""
	}
	if err := c.at("success"); err != nil {
		return err
	}
	// A stream is restarted, not continued (RFC 6120, section 6.4.6).
	if c.r.Buffered() > 0 {
		return streamError{"not-well-formed", "data before success"}
	}
	success := xmpp.NewElement(xmpp.NSSASL, "success")
	if out != "" && !c.faults.has("no-signature") && !c.faults.has("early-success") {
		success.SetText(base64.StdEncoding.EncodeToString([]byte(out)))
	}
	c.emit(success)
	c.user = user
	return nil
}

// fail writes a SASL failure; the client may try again.
func (c *conn) fail(f saslFailure) {
	e := xmpp.NewElement(xmpp.NSSASL, "failure")
	e.CreateElement(f.condition)
	if f.text != "" {
		e.CreateElement("text").SetText(f.text)
	}
	c.emit(e)
}

// bind serves the stream after login up to the answer to the bind request, or to the
// resumption in its place (XEP-0198, section 5). Nothing else is served before that
// (RFC 6120, section 7.1).
func (c *conn) bind() error {
	offer := []*xmpp.Element{xmpp.NewElement(xmpp.NSBind, "bind")}
	for _, f := range c.s.features {
		if f.offer != nil {
			offer = append(offer, f.offer(c)...)
		}
	}
	if err := c.open(offer, "restart"); err != nil {
		return err
	}
	for bound := false; !bound; {
		e, err := c.next()
		if err != nil {
			return err
		}
		request := xmpp.Child(e, xmpp.NSBind, "bind")
		resume := xmpp.Is(e, nsSM, "resume") && !c.faults.has("no-sm")
		switch {
		case xmpp.Is(e, nsSM, "enable"):
			refuse(c, "unexpected-request")
			continue
		case !resume && (!xmpp.Is(e, xmpp.NSClient, "iq") || xmpp.Attr(e, "type") != "set" || request == nil):
			return streamError{"not-authorized", "bind a resource first"}
		}
		if err := c.at("bind"); err != nil {
			return err
		}
		if resume {
			bound, err = reconnect(c, e)
		} else {
			resource, _ := xmpp.Text(request, xmpp.NSBind, "resource")
			bound, err = c.bindResource(e, resource)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bindResource answers a bind request and reports whether c has an address now.
func (c *conn) bindResource(e *xmpp.Element, resource string) (bool, error) {
	want := c.user.jid
	if want.Resource = resource; resource == "" {
		want.Resource = xmpp.NewID()
	}
	jid, err := xmpp.ParseJID(want.String())
	condition, refuse := c.faults.value("bind-error")
	switch {
	case refuse:
		c.bounce(e, "cancel", condition)
		return false, nil
	case err != nil:
		c.bounce(e, "modify", "bad-request")
		return false, nil
	case resource != "" && c.faults.has("bind-conflict"):
		c.bounce(e, "cancel", "conflict")
		return false, nil
	}
	if c.faults.has("forged-reply") {
		c.forge(e)
	}
	shown := jid
	if c.faults.has("bind-other") {
		shown.Domain = "evil.example"
	}
	answer := xmpp.NewElement(xmpp.NSBind, "bind")
	answer.CreateElement("jid").SetText(shown.String())
	c.emit(result(e, "", answer))
	return true, c.enter(jid) // from now on others write to c, after the answer
}

// session serves the rest of the stream.
func (c *conn) session() error {
	c.r.SetLimits(wire.Limits{Stanza: 10 << 20, Depth: 10_000, Attrs: 10_000}) // as real servers relay it
	for {
		e, err := c.next()
		if err != nil {
			return err
		}
		if err := c.handle(e); err != nil {
			return err
		}
	}
}
