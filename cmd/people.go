package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"xmppkit/xmpp"
)

// onlooker is the priority of a session that only wants to see who is there: below 0
// it is handed nobody's messages (RFC 6121, section 8.5.2.1.1), those that wait for
// the account among them.
const onlooker = -128

// defaultSettle is how long presences are waited for after the last one.
const defaultSettle = 500 * time.Millisecond

// maxPresences bounds what is kept of those who are online.
const maxPresences = 1 << 15

// people is what a session learns about the contacts of its account.
type people struct {
	env     *Env
	s       *xmpp.Session
	roster  *xmpp.Roster
	pushed  map[xmpp.JID]bool          // whose item has changed since something was said
	present map[xmpp.JID]resources     // who is online, by bare address
	refused map[xmpp.JID]*xmpp.Element // presences of type error, by bare address
	seen    int                        // presences
}

type resources map[xmpp.JID]*presenceRecord // by full address

// withPeople opens a session, asks for the roster, with more to send in the same
// flight, and lets do use what has come of it. The roster is kept as it is then.
func (env *Env) withPeople(ctx context.Context, o xmpp.Options, more []*xmpp.Element, do func(context.Context, *people) error) error {
	if err := env.needOutput(); err != nil {
		return err
	}
	return env.withSession(ctx, o, func(ctx context.Context, s *xmpp.Session) error {
		known := env.cachedRoster(s.JID())
		roster, err := s.Roster(ctx, known, more...)
		if err != nil {
			return fmt.Errorf("get the roster: %w", err)
		}
		p := &people{
			env: env, s: s, roster: roster, pushed: make(map[xmpp.JID]bool),
			present: make(map[xmpp.JID]resources), refused: make(map[xmpp.JID]*xmpp.Element),
		}
		if err := p.learn(ctx, 0); err != nil {
			return err
		}
		err = do(ctx, p)
		env.keepRoster(roster, known)
		return err
	})
}

var errQuiet = errors.New("nothing more came")

// learn takes in what has arrived, and what does until nothing has for a while. With
// 0 for that it does not mind if nothing can any more: what has arrived stays true.
func (p *people) learn(ctx context.Context, quiet time.Duration) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	timer := time.AfterFunc(quiet, func() { stop(errQuiet) })
	defer timer.Stop()
	// Where somebody always comes or goes it is never quiet.
	defer time.AfterFunc(max(4*quiet, 2*time.Second), func() { stop(errQuiet) }).Stop()
	for e, err := range p.s.Stanzas(ctx) {
		switch {
		case e == nil && (quiet == 0 || errors.Is(err, errQuiet)):
			return nil
		case e == nil:
			return err
		case err != nil && e.Tag == "presence":
			p.env.warnSkipped(e, addressIn(e, "from"), err)
		case err == nil:
			p.take(e)
		}
		if p.seen > maxPresences {
			return &xmpp.LimitError{Reason: fmt.Sprintf("too many presences (more than %d)", maxPresences)}
		}
		if p.s.Queued() == 0 && quiet > 0 {
			timer.Reset(quiet)
		}
	}
	return nil
}

func (p *people) take(e *xmpp.Element) {
	if c, ok := p.roster.Apply(e); ok {
		p.pushed[c.JID] = true
	}
	from, err := p.s.From(e)
	if err != nil || e.Tag != "presence" || from == p.s.JID() {
		return
	}
	p.seen++
	bare := from.Bare()
	switch xmpp.Attr(e, "type") {
	case "":
		if p.present[bare] == nil {
			p.present[bare] = make(resources)
		}
		p.present[bare][from] = newPresenceRecord(newAddressed(p.s.JID(), e, from), e)
	case "error":
		p.refused[bare] = e
		delete(p.present, bare)
	case "unavailable":
		if delete(p.present[bare], from); from == bare {
			delete(p.present, bare)
		}
	}
}

// online returns the available resources of an account, sorted.
func (p *people) online(bare xmpp.JID) []xmpp.JID {
	return slices.SortedFunc(maps.Keys(p.present[bare]), func(a, b xmpp.JID) int { return strings.Compare(a.Resource, b.Resource) })
}

// change asks the server to change an item of the roster.
func (p *people) change(ctx context.Context, c xmpp.Contact) error {
	clear(p.pushed)
	if _, err := p.s.Exchange(ctx, xmpp.SetContact(c)); err != nil {
		return err
	}
	return p.learn(ctx, 0)
}

// tell sends a presence about a subscription and takes in what comes of it. Before it
// answers the ping behind, the own server has pushed what that changes, and bounced
// what it cannot deliver. More is waited for where done does not hold yet, and where
// an answer may come from another server.
func (p *people) tell(ctx context.Context, to xmpp.JID, typ string, done func(xmpp.Contact) bool) error {
	clear(p.pushed)
	presence := xmpp.NewElement(xmpp.NSClient, "presence", "to", to.String(), "type", typ, "id", xmpp.NewID())
	_, err := p.s.Ping(ctx, p.s.Server(), presence)
	if _, answered := errors.AsType[*xmpp.StanzaError](err); err != nil && !answered {
		return err
	}
	if err := p.learn(ctx, 0); err != nil {
		return err
	}
	if p.refused[to] == nil && (to.Domain != p.s.Server().Domain || !done(p.contact(to))) {
		return p.learn(ctx, remoteGrace)
	}
	return nil
}

// refusal returns the error that answered a presence, or nil.
func (p *people) refusal(to xmpp.JID) error {
	if e := p.refused[to]; e != nil {
		return fmt.Errorf("presence to %s refused: %w", to, xmpp.ErrorOf(e))
	}
	return nil
}

// asked reports whether the account sees the contact, or has asked to.
func asked(c xmpp.Contact) bool { return c.To() || c.Ask }

// contact returns the item of the roster, or one that is not there.
func (p *people) contact(jid xmpp.JID) xmpp.Contact {
	c := p.roster.Contacts[jid]
	c.JID, c.Subscription = jid, cmp.Or(c.Subscription, "none")
	return c
}

// newPresence makes the presence of this session.
func newPresence(show, status string, priority int) *xmpp.Element {
	p := xmpp.NewElement(xmpp.NSClient, "presence")
	add := func(name, text string) {
		if text != "" {
			xmpp.Add(p, xmpp.NewText(xmpp.NSClient, name, text))
		}
	}
	add("show", show)
	add("status", status)
	if priority != 0 {
		add("priority", strconv.Itoa(priority))
	}
	return p
}

// contactArg parses the address of a contact: an account, not one of its resources,
// and not the own one.
func contactArg(arg string, account xmpp.JID) (xmpp.JID, error) {
	t, err := parseTarget(arg)
	switch {
	case err != nil:
		return t.jid, err
	case t.jid.Resource != "":
		return t.jid, usageError("%q has a resource: contacts and subscriptions are those of %s", arg, t.jid.Bare())
	case t.jid == account.Bare():
		return t.jid, usageError("%q is the own account", arg)
	}
	return t.jid, nil
}
