package xep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"xmppkit/xmpp"
)

const (
	// historyPage is how many messages a query asks for. Prosody sends at most 50.
	historyPage = 100

	// historyBudget limits the memory, in bytes, of the messages that are held until their
	// turn comes.
	historyBudget = 64 << 20

	// maxStale is how many results and pages in a row may repeat earlier ones.
	maxStale = 10_000
)

var (
	// ErrNotArchived says that the archive does not have a message that bounds the reading.
	ErrNotArchived = errors.New("no such message in the archive")

	// ErrHistory says that the messages to be held take too much memory.
	ErrHistory = fmt.Errorf("the messages take more than %d MiB", historyBudget>>20)
)

// A History reads the messages of an archive between two bounds, and passes them on, the
// oldest first. After a lost connection, Read is called again in another session, and
// continues.
//
// Messages are passed on as they arrive. Only if the last ones are wanted, the archive is
// read backwards, and the messages are held. A message that is archived after the reading
// has started is not read.
type History struct {
	Query  ArchiveQuery  // without its page
	After  string        // only what follows the message of this id, if it is not ""
	Before string        // only what precedes it
	Last   int           // only the last ones that are selected, if it is not 0
	Wait   time.Duration // for the server, each time; 0 for ever

	// Select returns a function that passes on a message, or nil if it is not wanted.
	Select func(own xmpp.JID, a Archived) (tell func() error, err error)
	// Skipped is called for a message that cannot be read, or that exceeds a limit: left is
	// what remains of it then, and nil otherwise.
	Skipped func(own xmpp.JID, id string, left *xmpp.Element, why error)
	// Forgotten is called if the archive no longer has the message that the next page was to
	// follow. Messages after it may be lost.
	Forgotten func(id string, before time.Time)
	// Flush is called when no result is waiting.
	Flush func() error

	started bool      // the bounds are known
	done    bool      // there is nothing left to be read
	at      string    // the message that the reading has come to
	stamp   time.Time // of it
	end     string    // the last message to be read
	unsure  bool      // whether the bounds are in their order: all is held until the second one has come
	fresh   bool      // something new has come since it last went on from a time
	passed  int       // results that will not be read again
	stale   int       // results and pages in a row that were nothing new
	max     int       // messages on a page
	circle  Circle
	seen    recent // ids
	twins   recent // what the account has sent to itself, until it comes again
	held    []heldMessage
	weight  int // of all that is held
}

// A heldMessage is passed on later.
type heldMessage struct {
	Archived
	tell   func() error
	weight int
}

// At returns the id of the last message that was passed on or skipped, "" if there is none.
func (h *History) At() string {
	if h.holds() {
		return "" // nothing was told
	}
	return h.at
}

// Passed returns how many messages were read: another session continues after them.
func (h *History) Passed() int { return h.passed }

// Read reads the rest of the history in a session.
func (h *History) Read(ctx context.Context, s *xmpp.Session) error {
	if !h.started {
		if err := h.start(ctx, s); err != nil {
			return err
		}
		h.started = true
	}
	for !h.done {
		read := h.forward
		if h.isBackward() {
			read = h.backward
		}
		if err := read(ctx, s); err != nil {
			return err
		}
	}
	if h.unsure { // the second bound precedes the first
		return nil
	}
	for _, m := range h.held {
		if err := m.tell(); err != nil {
			return err
		}
	}
	return h.Flush()
}

// isBackward reports whether the last page is read first. With a message to start after, the
// archive is read forwards, because ejabberd 23.01 ignores <after/> beside <before/>.
func (h *History) isBackward() bool { return h.Last > 0 && h.After == "" }

// holds reports whether messages are held until all are read.
func (h *History) holds() bool { return h.Last > 0 || h.unsure }

// start finds the messages that bound the reading.
func (h *History) start(ctx context.Context, s *xmpp.Session) error {
	var when [2]time.Time
	for i, id := range []string{h.After, h.Before} {
		if id == "" {
			continue
		}
		m, ok, err := h.find(ctx, s, id)
		if err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("%w: %s", ErrNotArchived, xmpp.Clip(id, 100))
		}
		when[i] = m.when
	}
	switch {
	case h.isBackward():
		h.at = h.Before
	case h.Before != "":
		h.at = h.After
		h.done = h.After != "" && when[0].After(when[1])
		h.unsure = h.After != "" && when[0].Equal(when[1])
	default:
		last, err := h.only(ctx, s, h.Query, Page{Max: 1, Last: true})
		h.at, h.end, h.done = h.After, last.id, err == nil && last.id == ""
		return err
	}
	return nil
}

// A place identifies a message in the archive.
type place struct {
	id   string // "" if there is none
	when time.Time
}

// find looks for a message in the archive. Servers do not report every unknown id: ejabberd
// 23.01 reads it as a time or ignores it, Prosody 13.0.1 returns an empty page. So find asks
// for the message after it, and then for the one before that.
func (h *History) find(ctx context.Context, s *xmpp.Session, id string) (m place, ok bool, err error) {
	q := ArchiveQuery{Of: h.Query.Of, With: h.Query.With}
	for range 2 { // as one may come between the two questions
		next, err := h.only(ctx, s, q, Page{Max: 1, After: id})
		if isMissing(err) {
			return m, false, nil
		}
		if err != nil {
			return m, false, err
		}
		m, err = h.only(ctx, s, q, Page{Max: 1, Before: next.id, Last: true})
		if err != nil || m.id == id {
			return m, err == nil, err
		}
	}
	return m, false, nil
}

// only reads a page of one message.
func (h *History) only(ctx context.Context, s *xmpp.Session, q ArchiveQuery, p Page) (m place, err error) {
	q.Page = p
	end, refused, err := ReadPage(ctx, s, q, h.Wait, func(query string, e *xmpp.Element, _ error) error {
		if result := h.result(s, query, e); result != nil {
			m.id = xmpp.Attr(result, "id")
		}
		if a, ok := OpenArchived(s.JID(), q.of(s.JID()), query, e); ok {
			m.when, _ = SentAt(s.JID(), a.Message)
		}
		return nil
	})
	if err == nil && refused != nil {
		err = &ArchiveError{refused}
	}
	m.id = cmp.Or(m.id, end.Last)
	return m, err
}

// request makes the query for a page.
func (h *History) request(p Page) ArchiveQuery {
	q := h.Query
	q.Page = p
	return q
}

// forward reads the next page, and passes on its messages as they arrive.
func (h *History) forward(ctx context.Context, s *xmpp.Session) error {
	results, lastID, first := 0, "", h.at
	h.stale++
	end, refused, err := ReadPage(ctx, s, h.request(Page{Max: historyPage, After: first}), h.Wait, func(query string, e *xmpp.Element, over error) error {
		result := h.result(s, query, e)
		if result != nil {
			results++
			lastID = cmp.Or(xmpp.Attr(result, "id"), lastID)
			if err := h.pass(s, xmpp.Attr(result, "id"), query, e, over); err != nil {
				return err
			}
		}
		if s.Queued() > 0 {
			return nil
		}
		return h.Flush()
	})
	goesOn := first != "" && first != h.After // after a message of a page before
	switch {
	case err != nil:
		return err
	case h.done: // whatever the answer is
		return nil
	case goesOn && (refused == nil && results == 0 || isMissing(refused)):
		return h.forget()
	case refused != nil:
		return &ArchiveError{refused}
	case end.Complete || results == 0:
		h.done = true
		return nil
	}
	h.at = cmp.Or(lastID, end.Last)
	return h.moves(end.Last, lastID)
}

// moves fails if the pages repeat.
func (h *History) moves(end, id string) error {
	if h.at == "" || h.stale > maxStale || h.circle.Closed(end, id) {
		return &ArchiveError{ErrEndless}
	}
	return nil
}

// pass handles a result when the archive is read forwards.
func (h *History) pass(s *xmpp.Session, id, query string, e *xmpp.Element, over error) error {
	if id != "" && id == h.Before {
		h.done, h.unsure = true, false
	}
	if h.done {
		return nil
	}
	if id != "" {
		h.at = id
	}
	h.done = h.end != "" && id == h.end
	m, err := h.open(s, id, query, e, over)
	if m.Message != nil {
		h.stamp, _ = SentAt(s.JID(), m.Message)
	}
	isNew, endless := h.isNew(id)
	h.passed++
	switch err = cmp.Or(err, endless); {
	case err != nil || m.tell == nil || !isNew || h.isTwin(s.JID(), m.Message):
		return err
	case !h.holds():
		return m.tell()
	}
	m.Message = nil
	if h.held = append(h.held, m); h.Last > 0 && len(h.held) > h.Last {
		h.weight -= h.held[0].weight
		h.held[0] = heldMessage{}
		h.held = h.held[1:]
	}
	if h.weight += m.weight; h.weight > historyBudget {
		return ErrHistory
	}
	return nil
}

// isNew reports whether a result does not repeat an earlier one. It fails after too many that
// do.
func (h *History) isNew(id string) (bool, error) {
	if h.seen.add(id) {
		h.fresh, h.stale = true, 0
		return true, nil
	}
	if h.stale++; h.stale > maxStale {
		return false, &ArchiveError{ErrEndless}
	}
	return false, nil
}

// forget continues from the time of a message that the archive no longer has. Prosody 13.0.1
// does not report such a message as missing, but returns an empty page.
func (h *History) forget() error {
	if !h.fresh { // the last attempt to do so found nothing new
		h.done = true
		return nil
	}
	if h.stamp.IsZero() {
		return &ArchiveError{fmt.Errorf("%w: %s", ErrNotArchived, xmpp.Clip(h.at, 100))}
	}
	h.Forgotten(h.at, h.stamp)
	h.at, h.fresh, h.circle = "", false, Circle{}
	if h.stamp.After(h.Query.Start) {
		h.Query.Start = h.stamp
	}
	return nil
}

// isMissing reports whether a query was refused because the message that it names is missing.
func isMissing(refused error) bool {
	e, ok := errors.AsType[*xmpp.StanzaError](refused)
	return ok && e.Condition == xmpp.ItemNotFound
}

// backward reads the page before the one that was read last, and holds its messages. A page
// that takes too much memory is read again in halves.
func (h *History) backward(ctx context.Context, s *xmpp.Session) error {
	if h.max == 0 {
		h.max = min(historyPage, h.Last)
	}
	h.stale++
	var held []heldMessage
	results, weight, firstID := 0, 0, ""
	end, refused, err := ReadPage(ctx, s, h.request(Page{Max: h.max, Before: h.at, Last: true}), h.Wait, func(query string, e *xmpp.Element, over error) error {
		result := h.result(s, query, e)
		if result == nil || h.weight+weight > historyBudget {
			return nil
		}
		results++
		firstID = cmp.Or(firstID, xmpp.Attr(result, "id"))
		m, err := h.open(s, xmpp.Attr(result, "id"), query, e, over)
		isNew, endless := h.isNew(xmpp.Attr(result, "id"))
		if m.tell != nil && isNew {
			held = append(held, m)
			weight += m.weight
		}
		return cmp.Or(err, endless)
	})
	tooMuch := h.weight+weight > historyBudget
	if err != nil || tooMuch { // the page is read again
		h.seen = recent{}
	}
	switch {
	case err != nil:
		return err
	case isMissing(refused) && h.at != h.Before, refused == nil && results == 0: // what precedes it is gone as well
		h.done = true
		return nil
	case refused != nil:
		return &ArchiveError{refused}
	case tooMuch && h.max == 1:
		return ErrHistory
	case tooMuch:
		h.max /= 2
		return nil
	}
	h.prepend(s.JID(), held)
	h.passed += results
	if h.done = end.Complete || len(h.held) == h.Last; h.done {
		return nil
	}
	h.at = cmp.Or(firstID, end.First)
	return h.moves(end.First, firstID)
}

// prepend holds as many messages of a page as are wanted.
func (h *History) prepend(own xmpp.JID, page []heldMessage) {
	page = slices.DeleteFunc(page, func(m heldMessage) bool { return h.isTwin(own, m.Message) })
	page = page[max(0, len(page)-(h.Last-len(h.held))):]
	for i := range page {
		page[i].Message = nil // what tells of it has what it needs
		h.weight += page[i].weight
	}
	h.held = slices.Concat(page, h.held)
}

// result returns the result of the open query that a stanza is, or nil.
func (h *History) result(s *xmpp.Session, query string, e *xmpp.Element) *xmpp.Element {
	return ArchiveResult(s.JID(), h.Query.of(s.JID()), query, e)
}

// open reads a result. The message has no tell if it is not wanted.
func (h *History) open(s *xmpp.Session, id, query string, e *xmpp.Element, over error) (m heldMessage, err error) {
	own := s.JID()
	a, ok := OpenArchived(own, h.Query.of(own), query, e)
	switch {
	case !ok || !h.isOf(own, a.Message):
		h.Skipped(own, id, nil, nil)
		return m, nil
	case over != nil:
		h.Skipped(own, id, a.Message, over)
		return heldMessage{Archived: a}, nil
	}
	m.Archived = a
	if m.tell, err = h.Select(own, a); h.holds() && m.tell != nil {
		m.weight = xmpp.Weight(a.Message)
	}
	return m, err
}

// isOf reports whether a message belongs to the room or account whose archive is read.
func (h *History) isOf(own xmpp.JID, message *xmpp.Element) bool {
	if !h.Query.Of.IsZero() {
		return xmpp.AddressIn(message, "from").Bare() == h.Query.Of
	}
	return isAccount(own, message, "from") || isAccount(own, message, "to")
}

// isTwin reports whether a message is the second copy of one that the account sent to itself:
// Prosody and ejabberd archive it both as sent and as received.
func (h *History) isTwin(own xmpp.JID, message *xmpp.Element) bool {
	id := xmpp.Attr(message, "id")
	if id == "" || !h.Query.Of.IsZero() || !isAccount(own, message, "from") || !isAccount(own, message, "to") {
		return false
	}
	body, _ := xmpp.Text(message, xmpp.NSClient, "body")
	key := id + "\x00" + xmpp.Attr(message, "from") + "\x00" + body
	if h.twins.add(key) {
		return false
	}
	h.twins.remove(key)
	return true
}

// A recent is a set of the keys that were added last.
type recent struct {
	seed  maphash.Seed
	keys  map[uint64]bool // not the strings, which can be of any length
	order []uint64
	next  int
}

const remembered = 4096

// add reports whether a key is new.
func (r *recent) add(key string) bool {
	if r.keys == nil {
		r.seed, r.keys, r.order = maphash.MakeSeed(), make(map[uint64]bool), make([]uint64, remembered)
	}
	k := maphash.String(r.seed, key)
	if r.keys[k] {
		return false
	}
	delete(r.keys, r.order[r.next])
	r.keys[k], r.order[r.next] = true, k
	r.next = (r.next + 1) % remembered
	return true
}

func (r *recent) remove(key string) { delete(r.keys, maphash.String(r.seed, key)) }
