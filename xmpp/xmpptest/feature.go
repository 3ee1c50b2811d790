package xmpptest

import (
	"cmp"
	"slices"

	"xmppkit/xmpp"
)

// A feature is something that the server supports beyond streams, routing and presence. It
// is in one file, or in files that begin with its name, such as room.go and room_config.go,
// and is listed in features. Unused fields are nil.
type feature struct {
	// offer is added to the stream features after login.
	offer func(c *conn) []*xmpp.Element

	// info returns features for disco#info, of an account or, without a user, of the
	// server.
	info func(c *conn, user *account) []string

	// requests are the requests that the server answers, for itself or for an account.
	requests []handler

	// passing is called with each message before it is delivered, once for the sender's
	// account and once for the recipient's.
	passing func(c *conn, m passing)

	// stream is called with each element of a session that is in the namespace ns and is not
	// a stanza.
	ns     string
	stream func(c *conn, e *xmpp.Element) error

	// host returns the first label of the domain of a service that the server has, or "" if it
	// has none; serve gets all that c sends there.
	host  func(c *conn) string
	serve func(c *conn, e *xmpp.Element, to xmpp.JID)

	// gone is called with a session that is no longer available, and the presence that says so.
	gone func(c *conn, there *session, e *xmpp.Element)

	faults []kind
}

// features are in the order in which they are announced and in which they see messages.
func features() []feature {
	return []feature{disco(), pings(), rosters(), archives(), carbons(), clocks(), management(), limits(), rooms()}
}

// service returns what serves a domain under that of the server, or nil.
func (c *conn) service(domain string) func(*conn, *xmpp.Element, xmpp.JID) {
	for _, f := range c.s.features {
		if f.host != nil && f.host(c) != "" && domain == f.host(c)+"."+c.s.Domain {
			return f.serve
		}
	}
	return nil
}

// A handler answers one kind of request.
type handler struct {
	kind     string // "get", "set", or "" for both
	ns, name string
	own      bool // only from sessions of the account itself

	// answer returns the payload. An element without a name means an answer without a
	// payload. Nil means a refusal, with a condition if it is a special one. With the
	// condition silence, nothing more is sent.
	answer func(c *conn, r request) (payload *xmpp.Element, condition string)
}

const silence = "silence"

// A request is addressed to the server, or to an account for which the server answers.
// The server is locked.
type request struct {
	iq, payload *xmpp.Element
	set         bool
	user        *account // nil for the server
}

// answer answers a request that is not for a client.
func (c *conn) answer(r request, from string) {
	switch payload, condition := c.handlerOf(r)(c, r); {
	case condition == silence:
	case condition == "wait":
		c.bounce(r.iq, "wait", "internal-server-error")
	case payload == nil:
		c.bounce(r.iq, "cancel", cmp.Or(condition, "service-unavailable"))
	default:
		c.respond(result(r.iq, from, payload))
	}
}

// handlerOf returns the handler of a request. A request without a handler is refused.
func (c *conn) handlerOf(r request) func(*conn, request) (*xmpp.Element, string) {
	for _, f := range c.s.features {
		if i := slices.IndexFunc(f.requests, func(h handler) bool { return h.is(c, r) }); i >= 0 {
			return f.requests[i].answer
		}
	}
	return func(*conn, request) (*xmpp.Element, string) { return nil, "" }
}

func (h handler) is(c *conn, r request) bool {
	return (h.kind == "" || r.set == (h.kind == "set")) && xmpp.Is(r.payload, h.ns, h.name) && (!h.own || r.user == c.user)
}

// passing is a message that an account has sent or received.
type passing struct {
	user     *account
	kind     string // "sent" or "received"
	e        *xmpp.Element
	with     xmpp.JID   // the other one
	sessions []*session // those that have received it already, or will
}

func (c *conn) pass(m passing) {
	for _, f := range c.s.features {
		if f.passing != nil {
			f.passing(c, m)
		}
	}
}
