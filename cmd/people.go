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

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
)

// onlooker is the priority of a session that only looks at presences. Below 0 it gets
// no messages to the bare JID, and so no offline messages (RFC 6121, section
// 8.5.2.1.1).
const onlooker = -128

const (
	// settleNear and settleFar are how long to wait for another presence after the last
	// one; settleFar applies if some contacts are at another server.
	settleNear = 500 * time.Millisecond
	settleFar  = 2 * time.Second

	// Limits of the memory for presences, in bytes, about: for one account, whose
	// resources can be made up, and for all.
	accountRoom  = 1 << 20
	presenceRoom = 64 << 20
	// rosterRoom limits the roster changes that one command handles, in bytes.
	rosterRoom = 64 << 20
	// maxWarned is how many accounts with too many presences are named in warnings.
	maxWarned = 100
)

// people is what a session learns about the contacts of its account. The server may spell
// an address differently from the user: see named.
type people struct {
	env     *Env
	s       *xmpp.Session
	roster  *xmpp.Roster           // nil until it is known
	listed  map[xmpp.JID]xmpp.JID  // its addresses, by their prepared form
	early   []*xmpp.Element        // possible roster pushes, until then
	changes int                    // bytes of roster pushes, about
	pushed  map[xmpp.JID]bool      // whose item has changed since the last request
	names   []xmpp.JID             // the accounts of interest; if there are none, the contacts
	present map[xmpp.JID]resources // who is online, by bare address; prepared, as in all maps below
	refused map[xmpp.JID]*refusal  // presences of type error, by bare address
	cost    map[xmpp.JID]int       // of what is kept of an account
	total   int                    // of these
	warned  map[xmpp.JID]string    // whose presences were too many, or over a limit
	said    *xmpp.Element          // the last presence about a subscription, or nil
}

type resources map[xmpp.JID]*presenceRecord // by full address

// A refusal is a presence of type error.
type refusal struct {
	record *presenceRecord
	err    *xmpp.StanzaError
}

func newRefusal(a addressed, e *xmpp.Element) *refusal {
	r := &refusal{newPresenceRecord(a, e), xmpp.KeptErrorOf(e)}
	r.record.Error = newStanzaError(r.err)
	return r
}

// withPeople opens a session, requests the roster, sends more elements in the same
// flight, and calls do with the result. Then it caches the roster.
func (env *Env) withPeople(ctx context.Context, o login, names []xmpp.JID, more []*xmpp.Element, do func(context.Context, *people) error) error {
	if err := env.needOutput(); err != nil {
		return err
	}
	o.Pause = true
	o.Take = func(e *xmpp.Element) bool { return e.Tag == "presence" || xmpp.Child(e, xmpp.NSRoster, "query") != nil }
	return env.withSession(ctx, o, func(ctx context.Context, s *xmpp.Session) error {
		p := &people{
			env: env, s: s, names: slices.Clone(names), pushed: make(map[xmpp.JID]bool), present: make(map[xmpp.JID]resources),
			refused: make(map[xmpp.JID]*refusal), cost: make(map[xmpp.JID]int), warned: make(map[xmpp.JID]string),
		}
		known := env.cachedRoster(o.JID)
		if err := p.getRoster(ctx, known, more); err != nil {
			return err
		}
		err := do(ctx, p)
		env.keepRoster(o.JID, p.roster, known)
		return err
	})
}

func (p *people) getRoster(ctx context.Context, known *xmpp.Roster, more []*xmpp.Element) error {
	var roster *xmpp.Roster
	err := p.meanwhile(ctx, func(ctx context.Context) (err error) {
		roster, err = p.s.Roster(ctx, known, more...)
		return err
	})
	if err != nil {
		return fmt.Errorf("get the roster: %w", err)
	}
	p.roster, p.listed = roster, make(map[xmpp.JID]xmpp.JID, len(roster.Contacts))
	for jid := range roster.Contacts {
		p.listed[jid.Prepared()] = jid
	}
	if roster.Unnamed > 0 {
		p.env.warn("%s: skipped %d contacts without a valid address", p.s.JID().Bare(), roster.Unnamed)
	}
	for _, e := range p.early {
		p.push(e)
	}
	p.early = nil
	for i, name := range p.names {
		p.names[i] = p.named(name)
	}
	for bare, text := range p.warned {
		if p.wanted(bare) {
			p.env.warn("%s", text)
		} else {
			delete(p.warned, bare)
		}
	}
	for bare := range p.cost {
		if !p.wanted(bare) {
			p.forget(bare)
		}
	}
	return nil
}

var (
	errQuiet    = errors.New("nothing more came")
	errAnswered = errors.New("it was answered")
)

// meanwhile runs something that waits for the server, and handles the stanzas that arrive
// until then: they may be more than the session can queue.
func (p *people) meanwhile(ctx context.Context, do func(context.Context) error) error {
	until, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := make(chan error, 1)
	go func() {
		done <- do(xmpp.Aside(ctx))
		stop(errAnswered)
	}()
	err := p.takeAll(until, func(bool) {})
	if over, ok := errors.AsType[*xmpp.LimitError](err); ok {
		return over
	}
	return <-done // which knows why nothing more came
}

// learn handles what has arrived, and what arrives until there is a quiet period or all
// named accounts have answered.
func (p *people) learn(ctx context.Context, quiet time.Duration) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	timer := time.AfterFunc(quiet, func() { stop(errQuiet) })
	defer timer.Stop()
	// If presences change all the time, it never becomes quiet.
	defer time.AfterFunc(max(4*quiet, 2*time.Second), func() { stop(errQuiet) }).Stop()
	if p.answered() {
		return nil
	}
	err := p.takeAll(ctx, func(news bool) {
		switch {
		case p.answered():
			stop(errQuiet)
		case news && p.s.Queued() == 0:
			timer.Reset(quiet)
		}
	})
	if errors.Is(err, errQuiet) {
		return nil
	}
	return err
}

// takeAll handles what arrives until ctx or the session ends. After each stanza it
// reports whether it was of interest.
func (p *people) takeAll(ctx context.Context, taken func(news bool)) error {
	for e, err := range p.s.Stanzas(ctx) {
		if e == nil {
			return err
		}
		taken(p.take(e, err))
		if p.changes > rosterRoom {
			return &xmpp.LimitError{Reason: fmt.Sprintf("too many roster changes (more than %d MiB)", rosterRoom>>20)}
		}
	}
	return nil
}

// take handles a stanza, and reports whether it is of interest.
func (p *people) take(e *xmpp.Element, over error) bool {
	if e.Tag == "iq" && over == nil {
		return p.push(e)
	}
	from, err := p.s.From(e)
	if err != nil || e.Tag != "presence" || from == p.s.JID() {
		return false
	}
	bare := from.Bare().Prepared() // ejabberd 23.01 relays an account as it was spelled in the login
	if p.said != nil && p.s.Bounced(e, xmpp.AddressIn(p.said, "to"), xmpp.Attr(p.said, "id")) {
		bare = xmpp.AddressIn(p.said, "to").Prepared()
	}
	if !p.wanted(bare) {
		return false
	}
	switch typ := xmpp.Attr(e, "type"); {
	case over != nil && typ != "error": // that is an answer all the same
		p.warn(bare, fmt.Sprintf("skipped a presence from %s: %v", quote(from.Bare().String()), over))
	case typ == "":
		p.keep(from, newPresenceRecord(newAddressed(p.s.JID(), e, from), e))
	case typ == "error":
		p.forget(bare)
		p.refuse(bare, newRefusal(newAddressed(p.s.JID(), e, from), e))
	case typ == "unavailable" && from.Resource == "":
		p.forget(bare)
	case typ == "unavailable":
		p.remove(from)
	}
	return true
}

// push handles a possible roster push.
func (p *people) push(e *xmpp.Element) bool {
	if from, err := p.s.From(e); err != nil || from != p.s.JID().Bare() {
		return false
	}
	if p.changes += xmpp.Weight(e); p.roster == nil {
		p.early = append(p.early, e)
		return true
	}
	c, ok := p.roster.Apply(e)
	if ok {
		p.pushed[c.JID], p.listed[c.JID.Prepared()] = true, c.JID
	}
	return ok
}

// wanted reports whether presences of an account are of interest. Anybody can send
// presences, so those of strangers must take neither memory nor time. The accounts of
// interest are the named ones or, without names, the contacts. Until the roster is known,
// anybody may be a contact.
func (p *people) wanted(bare xmpp.JID) bool {
	if p.roster == nil {
		return true
	}
	if len(p.names) > 0 {
		return slices.ContainsFunc(p.names, func(name xmpp.JID) bool { return name.Bare().Prepared() == bare })
	}
	_, ok := p.listed[bare]
	return ok
}

// answered reports whether all named accounts have answered. An online account may
// still have more resources to report.
func (p *people) answered() bool {
	for _, name := range p.names {
		if p.refused[name.Bare().Prepared()] == nil && (name.Resource == "" || len(p.online(name)) == 0) {
			return false
		}
	}
	return len(p.names) > 0
}

// keep stores a presence, without its text if that is too large.
func (p *people) keep(from xmpp.JID, r *presenceRecord) {
	bare := from.Bare().Prepared()
	p.remove(from)
	if !p.fits(bare, r.cost()) {
		p.warn(bare, fmt.Sprintf("dropped parts of the presences of %s: too many, or too large", quote(from.Bare().String())))
		r.Status, r.ID = "", ""
	}
	if !p.fits(bare, r.cost()) {
		return
	}
	if p.present[bare] == nil {
		p.present[bare] = make(resources)
	}
	p.present[bare][from] = r
	p.pay(bare, r.cost())
}

// refuse stores an error, without its id if that is too large.
func (p *people) refuse(bare xmpp.JID, r *refusal) {
	if !p.fits(bare, r.record.cost()) {
		r.record.ID = ""
	}
	p.refused[bare] = r
	p.pay(bare, r.record.cost())
}

// remove forgets a resource.
func (p *people) remove(from xmpp.JID) {
	bare := from.Bare().Prepared()
	old := p.present[bare][from]
	if old == nil {
		return
	}
	if delete(p.present[bare], from); len(p.present[bare]) == 0 {
		delete(p.present, bare)
	}
	p.pay(bare, -old.cost())
}

// forget forgets an account.
func (p *people) forget(bare xmpp.JID) {
	delete(p.present, bare)
	delete(p.refused, bare)
	p.pay(bare, -p.cost[bare])
}

func (p *people) fits(bare xmpp.JID, cost int) bool {
	return p.cost[bare]+cost <= accountRoom && p.total+cost <= presenceRoom
}

func (p *people) pay(bare xmpp.JID, cost int) {
	p.total += cost
	if p.cost[bare] += cost; p.cost[bare] == 0 {
		delete(p.cost, bare)
	}
}

// warn reports a problem with an account, once, and only for some accounts, because
// anybody can cause one. Whether an account is of interest is clear once the roster is
// known.
func (p *people) warn(bare xmpp.JID, text string) {
	if _, warned := p.warned[bare]; warned || len(p.warned) > maxWarned {
		return
	}
	p.warned[bare] = text
	if p.roster != nil {
		p.env.warn("%s", text)
	}
}

// settle returns how long to wait for presences: longer if a named account, or a
// contact whose presence the account sees, is at another server.
func (p *people) settle() time.Duration {
	far := func(jid xmpp.JID) bool { return jid.Domain != p.s.Server().Domain }
	if slices.ContainsFunc(p.names, far) {
		return settleFar
	}
	for jid, c := range p.roster.Contacts {
		if len(p.names) == 0 && c.To() && far(jid) {
			return settleFar
		}
	}
	return settleNear
}

// online returns the available presences of an account, or of one of its resources,
// sorted.
func (p *people) online(jid xmpp.JID) (there []*presenceRecord) {
	present := p.present[jid.Bare().Prepared()]
	byResource := func(a, b xmpp.JID) int {
		return cmp.Or(strings.Compare(a.Resource, b.Resource), strings.Compare(a.Local, b.Local))
	}
	for _, from := range slices.SortedFunc(maps.Keys(present), byResource) {
		if jid.Resource == "" || from.Alike(jid) {
			there = append(there, present[from])
		}
	}
	return there
}

// change asks the server to change an item of the roster.
func (p *people) change(ctx context.Context, c xmpp.Contact) error {
	clear(p.pushed)
	return p.meanwhile(ctx, func(ctx context.Context) error {
		_, err := p.s.Exchange(ctx, xmpp.SetContact(c))
		return err
	})
}

// tell sends a presence about a subscription and handles the replies. Before your
// server answers the ping after it, it has pushed roster changes, and has bounced what
// it cannot deliver. tell waits longer if done does not hold yet, or if an answer may
// come from another server.
func (p *people) tell(ctx context.Context, to xmpp.JID, typ string, done func(xmpp.Contact) bool) error {
	clear(p.pushed)
	p.said = xmpp.NewElement(xmpp.NSClient, "presence", "to", to.String(), "type", typ, "id", xmpp.NewID())
	err := p.meanwhile(ctx, func(ctx context.Context) error { return p.s.Flush(ctx, p.said) })
	if err != nil {
		return err
	}
	if p.refused[to.Prepared()] == nil && (to.Domain != p.s.Server().Domain || !done(p.contact(to))) {
		return p.learn(ctx, xmpp.RemoteGrace)
	}
	return nil
}

// refusal returns the error that came in answer to a presence, or nil.
func (p *people) refusal(to xmpp.JID) error {
	if r := p.refused[to.Prepared()]; r != nil {
		return fmt.Errorf("presence to %s refused: %w", to, r.err)
	}
	return nil
}

// asked reports whether the account sees the contact, or has asked to.
func asked(c xmpp.Contact) bool { return c.To() || c.Ask }

// named returns the address by which the server knows a contact or the account itself: a
// server that prepares addresses with stringprep turns straße into strasse. Other addresses
// are returned as typed.
func (p *people) named(typed xmpp.JID) xmpp.JID {
	bare := typed.Bare()
	if _, ok := p.roster.Contacts[bare]; ok {
		return typed
	}
	known, ok := p.listed[bare.Prepared()]
	if own := p.s.JID().Bare(); own.Alike(bare) {
		known, ok = own, true
	}
	if !ok {
		return typed
	}
	known.Resource = typed.Resource
	return known
}

// contact returns the roster item, or an empty one if there is none.
func (p *people) contact(jid xmpp.JID) xmpp.Contact {
	jid = p.named(jid)
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

// contactArg parses the address of a contact: an account without a resource, and not
// the account in use.
func (env *Env) contactArg(arg string, account xmpp.JID) (xmpp.JID, error) {
	t, err := env.target(arg)
	env.noteNames(account, t.jid)
	switch {
	case err != nil:
		return t.jid, err
	case t.jid.Resource != "":
		return t.jid, exit.Usagef("%q has a resource, and contacts have none: use %s", arg, t.jid.Bare())
	case t.jid == account.Bare():
		return t.jid, exit.Usagef("%q is the account in use, not a contact", arg)
	}
	return t.jid, nil
}
