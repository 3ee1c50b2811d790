package xep

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"xmppkit/xmpp"
)

const (
	// maxRequests is how many requests are in flight at the same time.
	maxRequests = 32
	// pageSize is how many items to request per page. If a page is larger, ejabberd
	// 23.01 leaves out all but the last 100 rooms.
	pageSize = 100
	// walkBudget limits the memory for the answers of a walk, in bytes: enough for a
	// list of about 110,000 items, or a tree of about 55,000.
	walkBudget = 64 << 20
	// branchWait is how long one part of a tree may delay the rest.
	branchWait = 10 * time.Second
)

// ErrTooMuch is the error of a walk whose answers together exceed the limit.
var ErrTooMuch = fmt.Errorf("more than %d MiB in answers", walkBudget>>20)

// An Entity can be queried: it is an address, or a node there.
type Entity struct {
	JID  xmpp.JID
	Node string
}

// A Question is a query for disco#info or disco#items, as NS says, to an entity.
type Question struct {
	Entity
	NS string
}

// A DiscoItem is one item of an entity.
type DiscoItem struct {
	Entity         // without an address if that is malformed
	Address string // as it came
	Name    string
}

// An Answer is complete when Done is closed: it has Info or Items, and Err if something
// is missing.
type Answer struct {
	Question
	Done  chan struct{}
	Info  *DiscoInfo
	Items []DiscoItem
	Err   error

	depth int
}

// A Walk sends queries ahead of the reader of the answers, so that the round trips
// overlap. Each query is sent only once, which also ends loops.
type Walk struct {
	s         *xmpp.Session
	questions func(e Entity, depth int) []Question

	mu      sync.Mutex
	answers map[Question]*Answer
	waiting []*Answer // the next one to ask is the last
	running int
	taken   int // of walkBudget
}

// NewWalk returns a walk. questions returns the queries for an item at a depth.
func NewWalk(s *xmpp.Session, questions func(Entity, int) []Question) *Walk {
	return &Walk{s: s, questions: questions, answers: make(map[Question]*Answer)}
}

// Ask returns the answer to a query, which may have been sent already.
func (w *Walk) Ask(ctx context.Context, q Question, depth int) *Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answers[q] == nil {
		w.waiting = append(w.waiting, w.newAnswer(q, depth))
	}
	w.start(ctx)
	return w.answers[q]
}

func (w *Walk) newAnswer(q Question, depth int) *Answer {
	a := &Answer{Question: q, depth: depth, Done: make(chan struct{})}
	w.answers[q] = a
	return a
}

// descend queries the items of a list at a depth. The items of its first page come
// before waiting queries. This is close to the order in which a tree is printed, so few
// answers have to be held.
func (w *Walk) descend(ctx context.Context, items []DiscoItem, depth int, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var next []*Answer
	for _, item := range slices.Backward(items) {
		if item.JID.IsZero() {
			continue
		}
		for _, q := range slices.Backward(w.questions(item.Entity, depth)) {
			if w.answers[q] == nil {
				next = append(next, w.newAnswer(q, depth))
			}
		}
	}
	if first {
		w.waiting = append(w.waiting, next...)
	} else {
		w.waiting = append(next, w.waiting...)
	}
	w.start(ctx)
}

// start sends what may be sent.
func (w *Walk) start(ctx context.Context) {
	for w.running < maxRequests && len(w.waiting) > 0 && ctx.Err() == nil {
		last := len(w.waiting) - 1
		a := w.waiting[last]
		w.waiting = w.waiting[:last]
		w.running++
		go w.work(ctx, a)
	}
}

func (w *Walk) work(ctx context.Context, a *Answer) {
	defer close(a.Done)
	if a.NS == NSDiscoInfo {
		w.fetchInfo(ctx, a)
	} else {
		w.fetchItems(ctx, a)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	w.start(ctx)
}

func (w *Walk) fetchInfo(ctx context.Context, a *Answer) {
	query, err := w.request(ctx, a, nil)
	if err != nil {
		a.Err = err
		return
	}
	info := DiscoInfoOf(query)
	a.Info = &info
}

// fetchItems requests one page at a time. Servers with XEP-0059 may truncate a long
// list for clients that do not use it: ejabberd 23.01 does so at 100 rooms. Other
// servers ignore it (RFC 6120, section 8.4).
//
// The list ends with a page that is empty or names no last item. The server's count ends
// it only if a page has nothing new: the count may be an estimate (XEP-0059, section
// 2.7), and one that is too small would truncate the list.
func (w *Walk) fetchItems(ctx context.Context, a *Answer) {
	seen := make(map[string]bool)
	for after := ""; ; {
		query, err := w.request(ctx, a, Page{Max: pageSize, After: after}.Set())
		if err != nil {
			a.Err = err
			return
		}
		fresh := a.addItems(query, seen)
		w.descend(ctx, a.Items[len(a.Items)-fresh:], a.depth+1, after == "")
		set := ResultSetOf(query)
		switch after = set.Last; {
		case after == "" || xmpp.Child(query, NSDiscoItems, "item") == nil:
			return
		case fresh > 0:
		case set.Count == len(a.Items): // it has one page, and does not support <after/>
			return
		default:
			a.Err = brokenAnswer("the server repeats a page of the list")
			return
		}
	}
}

// addItems adds the new items of a page, and returns their number. An item with a
// malformed address is shown, but cannot be queried.
func (a *Answer) addItems(query *xmpp.Element, seen map[string]bool) (fresh int) {
	for _, e := range xmpp.Children(query, NSDiscoItems, "item") {
		item := DiscoItem{Address: xmpp.Attr(e, "jid"), Name: xmpp.Attr(e, "name")}
		item.Node = xmpp.Attr(e, "node")
		if key := item.Address + "\x00" + item.Node; !seen[key] {
			seen[key] = true
			item.JID, _ = xmpp.SplitJID(item.Address)
			a.Items = append(a.Items, item)
			fresh++
		}
	}
	return fresh
}

// request sends a query for an answer, or for a page of it.
func (w *Walk) request(ctx context.Context, a *Answer, set *xmpp.Element) (*xmpp.Element, error) {
	query := xmpp.NewElement(a.NS, "query")
	if a.Node != "" {
		query.CreateAttr("node", a.Node)
	}
	if set != nil {
		xmpp.Add(query, set)
	}
	wait, cancel := ctx, context.CancelFunc(func() {})
	if a.depth > 0 {
		wait, cancel = xmpp.WithTimeout(ctx, branchWait)
	}
	defer cancel()
	iq, err := w.s.IQ(wait, xmpp.NewIQ("get", a.JID, query))
	switch {
	case err == nil:
	case ctx.Err() == nil && context.Cause(wait) == xmpp.TimeoutError(branchWait):
		return nil, &xmpp.StanzaError{Condition: xmpp.RemoteServerTimeout, Type: "wait", Text: xmpp.TimeoutError(branchWait).Error()}
	default:
		return nil, err
	}
	if query = xmpp.Child(iq, a.NS, "query"); query == nil {
		return nil, brokenAnswer("the answer is empty")
	}
	return query, w.take(xmpp.Weight(query))
}

// brokenAnswer is an answer that ends a branch like an error.
func brokenAnswer(text string) error {
	return &xmpp.StanzaError{Condition: xmpp.UndefinedCondition, Type: "cancel", Text: text}
}

// take counts what comes.
func (w *Walk) take(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.taken += n; w.taken > walkBudget {
		return ErrTooMuch
	}
	return nil
}
