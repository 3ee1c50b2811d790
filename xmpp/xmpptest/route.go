package xmpptest

import (
	"time"

	"xmppkit/xmpp"
)

const nsDelay = "urn:xmpp:delay" // XEP-0203

// maxKept is how many messages are stored for one account, and how many unacked stanzas
// for one session: enough for a room of 10,000.
const maxKept = 12_000

// handle is called for each element of a session.
func (c *conn) handle(e *xmpp.Element) error {
	if !isStanza(e) {
		for _, f := range c.s.features {
			if f.ns == xmpp.Namespace(e) && f.stream != nil {
				return f.stream(c, e)
			}
		}
		return streamError{condition: "unsupported-stanza-type"}
	}
	if !c.started {
		c.started = true
		if err := c.at("session"); err != nil {
			return err
		}
	}
	mute := false
	if c.isOurPing(e) {
		if _, mute = c.faults.at("silence", "confirm"); !mute {
			if err := c.at("confirm"); err != nil {
				return err
			}
		}
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.bound == nil { // replaced, resumed on another connection, or the server is closing
		return errGone
	}
	c.bound.handled++
	if mute {
		return nil
	}
	return c.route(e)
}

func isStanza(e *xmpp.Element) bool {
	return xmpp.Is(e, xmpp.NSClient, "message") || xmpp.Is(e, xmpp.NSClient, "presence") || xmpp.Is(e, xmpp.NSClient, "iq")
}

// isOurPing reports whether e is a ping that the server answers itself.
func (c *conn) isOurPing(e *xmpp.Element) bool {
	if xmpp.Attr(e, "type") != "get" || xmpp.Child(e, xmpp.NSPing, "ping") == nil {
		return false
	}
	to, err := xmpp.ParseJID(xmpp.Attr(e, "to"))
	return err != nil || to.String() == c.s.Domain || to == c.user.jid
}

// route routes a stanza by RFC 6120, section 10, and RFC 6121, section 8. Everything
// below, and in roster.go, runs with the server locked.
func (c *conn) route(e *xmpp.Element) error {
	if err := c.stamp(e); err != nil {
		return err
	}
	to := c.user.jid
	if text := xmpp.Attr(e, "to"); text != "" {
		var err error
		if to, err = xmpp.ParseJID(text); err != nil {
			e.CreateAttr("to", c.s.Domain)
			c.bounce(e, "modify", "jid-malformed")
			return nil
		}
	}
	serve := c.service(to.Domain)
	switch {
	case serve != nil && (e.Tag != "iq" || c.takes(e)):
		serve(c, e, to)
	case serve != nil:
	case to.Domain != c.s.Domain:
		c.bounce(e, "cancel", "remote-server-not-found")
	case e.Tag == "iq":
		c.iq(e, to)
	case e.Tag == "message":
		c.message(e, to)
	case xmpp.Attr(e, "to") == "":
		c.ownPresence(e)
	default:
		c.presenceTo(e, to)
	}
	return nil
}

// stamp sets the real from of a stanza (RFC 6120, section 8.1.2.1).
func (c *conn) stamp(e *xmpp.Element) error {
	if text := xmpp.Attr(e, "from"); text != "" {
		from, err := xmpp.ParseJID(text)
		if err != nil || from != c.bound.jid && from != c.user.jid {
			return streamError{condition: "invalid-from"}
		}
	}
	e.CreateAttr("from", c.bound.jid.String())
	return nil
}

// bounce answers e with an error, if e may be answered with one.
func (c *conn) bounce(e *xmpp.Element, kind, condition string) {
	c.bounceAs(e, kind, condition, func(*xmpp.Element) {})
}

// bounceAs is bounce with an error that has additional elements.
func (c *conn) bounceAs(e *xmpp.Element, kind, condition string, more func(r *xmpp.Element)) {
	t := xmpp.Attr(e, "type")
	if t == "error" || t == "result" || t == "headline" {
		return
	}
	id := xmpp.Attr(e, "id")
	if c.faults.has("bounce-wrong-id") {
		id = xmpp.NewID()
	}
	from := xmpp.Attr(e, "to")
	if other, ok := c.faults.value("bounce-from"); ok {
		from = other
	}
	r := c.errorFor(e, from, id, kind, condition)
	more(r)
	late, ok := c.faults.number("bounce-late")
	if !ok {
		c.respond(r)
		return
	}
	time.AfterFunc(time.Duration(late)*time.Millisecond, func() {
		c.s.alone(func(nobody *conn) {
			if c.bound != nil {
				nobody.deliver(c.bound, r)
			}
		})
	})
}

func (c *conn) errorFor(e *xmpp.Element, from, id, kind, condition string) *xmpp.Element {
	r := xmpp.NewElement(xmpp.NSClient, e.Tag, "type", "error")
	for _, a := range [][2]string{{"id", id}, {"from", from}, {"to", xmpp.Attr(e, "from")}} {
		if a[1] != "" {
			r.CreateAttr(a[0], a[1])
		}
	}
	reason := r.CreateElement("error")
	reason.CreateAttr("type", kind)
	xmpp.Add(reason, xmpp.NewElement(xmpp.NSStanzas, condition))
	return r
}

// message delivers messages by RFC 6121, section 8.5.
func (c *conn) message(e *xmpp.Element, to xmpp.JID) {
	if c.faults.has("bounce-third-party") {
		c.respond(c.errorFor(e, "mallory@evil.example/x", xmpp.Attr(e, "id"), "cancel", "service-unavailable"))
	}
	if limit, ok := c.faults.number("rate-limit"); ok && c.bound.rate() > limit {
		c.bounce(e, "wait", "policy-violation")
		return
	}
	user := c.s.accounts[to.Local]
	if user != c.user {
		sent := e.Copy()
		c.pass(passing{c.user, "sent", sent, to, []*session{c.bound}})
	}
	if user == nil {
		c.bounce(e, "cancel", "service-unavailable")
		return
	}
	c.arrive(user, e, c.user.jid, to.Resource)
}

// arrive handles a message that has reached an account.
func (c *conn) arrive(user *account, e *xmpp.Element, from xmpp.JID, resource string) {
	there := user.recipients(e, resource)
	c.pass(passing{user, "received", e, from, there})
	for _, r := range there {
		c.deliver(r, e)
	}
	switch kind := xmpp.Attr(e, "type"); {
	case len(there) > 0 || kind == "error" || kind == "headline":
	case kind == "groupchat":
		c.bounce(e, "cancel", "service-unavailable")
	case len(user.offline) >= maxKept:
		c.bounce(e, "wait", "resource-constraint")
	default:
		user.offline = append(user.offline, c.s.delayed(e))
	}
}

// recipients returns the sessions that get a message: the addressed one, otherwise
// those with the highest non-negative priority. A headline goes to all with a
// non-negative priority.
func (a *account) recipients(e *xmpp.Element, resource string) []*session {
	if there := a.sessions[resource]; there != nil {
		return []*session{there}
	}
	kind := xmpp.Attr(e, "type")
	if kind == "groupchat" || kind == "error" || kind == "headline" && resource != "" {
		return nil
	}
	var best []*session
	for _, there := range a.sessions {
		switch {
		case there.presence == nil || there.priority < 0:
		case kind == "headline" || len(best) == 0 || there.priority == best[0].priority:
			best = append(best, there)
		case there.priority > best[0].priority:
			best = []*session{there}
		}
	}
	return best
}

// iq routes requests to a full address and answers the others (RFC 6121, section
// 8.5.2.1.3). The answer is the same whether an account does not exist or does not let
// the sender see its presence.
func (c *conn) iq(e *xmpp.Element, to xmpp.JID) {
	if !c.takes(e) {
		return
	}
	user := c.s.accounts[to.Local]
	if user != nil && user.sessions[to.Resource] != nil {
		c.deliver(user.sessions[to.Resource], e)
		return
	}
	if !asks(e) {
		return
	}
	if to.Resource != "" || to.Local != "" && (user == nil || !c.mayAsk(user)) {
		c.bounce(e, "cancel", "service-unavailable")
		return
	}
	c.answer(requestIn(e, user), to.String())
}

// asks reports whether an iq is a request.
func asks(e *xmpp.Element) bool {
	kind := xmpp.Attr(e, "type")
	return kind == "get" || kind == "set"
}

// requestIn returns the request in an iq that takes has accepted.
func requestIn(e *xmpp.Element, user *account) request {
	return request{e, e.ChildElements()[0], xmpp.Attr(e, "type") == "set", user}
}

// takes reports whether an iq is well-formed, and answers it otherwise.
func (c *conn) takes(e *xmpp.Element) bool {
	kind := xmpp.Attr(e, "type")
	if xmpp.Attr(e, "id") == "" || asks(e) && len(e.ChildElements()) != 1 || !asks(e) && kind != "result" && kind != "error" {
		c.bounce(e, "modify", "bad-request")
		return false
	}
	if asks(e) && c.faults.has("forged-reply") {
		c.forge(e)
	}
	if c.faults.has("echo") {
		c.respond(e)
	}
	return true
}

// mayAsk reports whether user lets c see its presence.
func (c *conn) mayAsk(user *account) bool {
	contact := user.roster[c.user.jid]
	return user == c.user || contact != nil && contact.from
}

// result answers e.
func result(e *xmpp.Element, from string, payload *xmpp.Element) *xmpp.Element {
	r := xmpp.NewElement(xmpp.NSClient, "iq", "type", "result", "id", xmpp.Attr(e, "id"))
	if from != "" {
		r.CreateAttr("from", from)
	}
	if to := xmpp.Attr(e, "from"); to != "" {
		r.CreateAttr("to", to)
	}
	if payload.Tag != "" {
		xmpp.Add(r, payload)
	}
	return r
}
