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
	// maxRequests is how many requests are under way at once.
	maxRequests = 32
	// pageSize is how many items a server that has pages may put into one. Of a
	// page of more, ejabberd 23.01 leaves out all but the last 100 rooms.
	pageSize = 100
	// walkBudget bounds, in bytes of memory, what a walk takes in: a list of about
	// 110,000 items, a tree of about 55,000.
	walkBudget = 64 << 20
	// branchWait is how long a part of a tree may hold up the rest.
	branchWait = 10 * time.Second
)

// ErrTooMuch is the error of a walk whose answers are too much, all together.
var ErrTooMuch = fmt.Errorf("more than %d MiB in answers", walkBudget>>20)

// An Entity is what can be asked: an address, or a node there.
type Entity struct {
	JID  xmpp.JID
	Node string
}

// A Question is disco#info or disco#items, which NS says, of an entity.
type Question struct {
	Entity
	NS string
}

// A DiscoItem is one thing that an entity has.
type DiscoItem struct {
	Entity         // with no address where that is malformed
	Address string // as it came
	Name    string
}

// An Answer is there when Done is closed: Info or Items, and then Err if that is not all.
type Answer struct {
	Question
	Done  chan struct{}
	Info  *DiscoInfo
	Items []DiscoItem
	Err   error

	depth int
}

// A Walk asks questions ahead of whoever reads the answers, so that the round trips
// overlap. Each is asked once, which is also what ends a loop.
type Walk struct {
	s         *xmpp.Session
	questions func(e Entity, depth int) []Question

	mu      sync.Mutex
	answers map[Question]*Answer
	waiting []*Answer // the next one to ask is the last
	running int
	taken   int // of walkBudget
}

// NewWalk returns a walk, in which questions says what to ask of an item at a depth.
func NewWalk(s *xmpp.Session, questions func(Entity, int) []Question) *Walk {
	return &Walk{s: s, questions: questions, answers: make(map[Question]*Answer)}
}

// Ask returns the answer to a question, which may have been asked already.
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

// descend asks the items of a list at a depth. Those of its first page come next,
// before what waits already, which is close to the order in which a tree is read
// from the top: so little is held that cannot be shown yet.
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

// fetchItems asks for a page at a time, as servers that know XEP-0059 may cut a long
// list for who does not: ejabberd 23.01 does, at 100 rooms. The others ignore it (RFC
// 6120, section 8.4).
//
// The list ends with a page that is empty or names no last item. The server's count ends
// it only where a page brings nothing new: a server may estimate it (XEP-0059, section
// 2.7), and one that is too small would cut the list.
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
		case set.Count == len(a.Items): // it has one page, and does not know <after/>
			return
		default:
			a.Err = brokenAnswer("the server repeats a page of the list")
			return
		}
	}
}

// addItems adds the items of a page that are not there yet, and returns how many.
// One whose address is malformed is shown, but cannot be asked.
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

// request asks a question, or for a page of the answer.
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

// brokenAnswer is an answer that ends a branch, as an error does.
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
