package cmd

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
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
	branchWait = duration(10 * time.Second)
)

// An entity is what can be asked: an address, or a node there.
type entity struct {
	jid  xmpp.JID
	node string
}

// A question is disco#info or disco#items of an entity.
type question struct {
	entity
	ns string
}

func (q question) what() string { return path.Base(q.ns) }
func (q question) String() string {
	return q.what() + " of " + quote(q.jid.String()) + quote(ofNode(q.node))
}

// An answer is there when done is closed: what was answered, and then an error if
// that is not all.
type answer struct {
	question
	depth int
	done  chan struct{}
	info  *discoInfo
	items []*discoItem
	err   error
}

// A walk asks questions ahead of whoever reads the answers, so that the round trips
// overlap. Each is asked once, which is also what ends a loop.
type walk struct {
	s         *xmpp.Session
	questions func(e entity, depth int) []question // those to ask of an item

	mu      sync.Mutex
	answers map[question]*answer
	waiting []*answer // the next one to ask is the last
	running int
	taken   int // of walkBudget
}

func newWalk(s *xmpp.Session, questions func(entity, int) []question) *walk {
	return &walk{s: s, questions: questions, answers: make(map[question]*answer)}
}

// ask returns the answer to a question, which may have been asked already.
func (w *walk) ask(ctx context.Context, q question, depth int) *answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answers[q] == nil {
		w.waiting = append(w.waiting, w.newAnswer(q, depth))
	}
	w.start(ctx)
	return w.answers[q]
}

func (w *walk) newAnswer(q question, depth int) *answer {
	a := &answer{question: q, depth: depth, done: make(chan struct{})}
	w.answers[q] = a
	return a
}

// descend asks the items of a list at a depth. Those of its first page come next,
// before what waits already, which is close to the order in which a tree is read
// from the top: so little is held that cannot be shown yet.
func (w *walk) descend(ctx context.Context, items []*discoItem, depth int, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var next []*answer
	for _, item := range slices.Backward(items) {
		if item.entity.jid.IsZero() {
			continue
		}
		for _, q := range slices.Backward(w.questions(item.entity, depth)) {
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
func (w *walk) start(ctx context.Context) {
	for w.running < maxRequests && len(w.waiting) > 0 && ctx.Err() == nil {
		last := len(w.waiting) - 1
		a := w.waiting[last]
		w.waiting = w.waiting[:last]
		w.running++
		go w.work(ctx, a)
	}
}

func (w *walk) work(ctx context.Context, a *answer) {
	defer close(a.done)
	if a.ns == xep.NSDiscoInfo {
		w.fetchInfo(ctx, a)
	} else {
		w.fetchItems(ctx, a)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	w.start(ctx)
}

func (w *walk) fetchInfo(ctx context.Context, a *answer) {
	query, err := w.request(ctx, a, nil)
	if err != nil {
		a.err = err
		return
	}
	a.info = newDiscoInfo(a.entity, query)
}

// fetchItems asks for a page at a time, as servers that know XEP-0059 may cut a long
// list for who does not: ejabberd 23.01 does, at 100 rooms. The others ignore it (RFC
// 6120, section 8.4).
//
// The list ends with a page that is empty or names no last item. The server's count ends
// it only where a page brings nothing new: a server may estimate it (XEP-0059, section
// 2.7), and one that is too small would cut the list.
func (w *walk) fetchItems(ctx context.Context, a *answer) {
	seen := make(map[string]bool)
	for after := ""; ; {
		query, err := w.request(ctx, a, xep.Page{Max: pageSize, After: after}.Set())
		if err != nil {
			a.err = err
			return
		}
		fresh := a.addItems(query, seen)
		w.descend(ctx, a.items[len(a.items)-fresh:], a.depth+1, after == "")
		set := xep.ResultSetOf(query)
		switch after = set.Last; {
		case after == "" || xmpp.Child(query, xep.NSDiscoItems, "item") == nil:
			return
		case fresh > 0:
		case set.Count == len(a.items): // it has one page, and does not know <after/>
			return
		default:
			a.err = brokenAnswer("a page of the list comes again and again")
			return
		}
	}
}

// addItems adds the items of a page that are not there yet, and returns how many.
// One whose address is malformed is shown, but cannot be asked.
func (a *answer) addItems(query *xmpp.Element, seen map[string]bool) (fresh int) {
	of := a.jid.String()
	for _, e := range xmpp.Children(query, xep.NSDiscoItems, "item") {
		item := &discoItem{Kind: "disco_item", Of: of, JID: xmpp.Attr(e, "jid"), Node: xmpp.Attr(e, "node"), Name: xmpp.Attr(e, "name")}
		if key := item.JID + "\x00" + item.Node; !seen[key] {
			seen[key] = true
			item.entity.jid, _ = xmpp.SplitJID(item.JID)
			item.entity.node = item.Node
			a.items = append(a.items, item)
			fresh++
		}
	}
	return fresh
}

// request asks a question, or for a page of the answer.
func (w *walk) request(ctx context.Context, a *answer, set *xmpp.Element) (*xmpp.Element, error) {
	query := xmpp.NewElement(a.ns, "query")
	if a.node != "" {
		query.CreateAttr("node", a.node)
	}
	if set != nil {
		xmpp.Add(query, set)
	}
	wait, cancel := ctx, context.CancelFunc(func() {})
	if a.depth > 0 {
		wait, cancel = withTimeout(ctx, branchWait)
	}
	defer cancel()
	iq, err := w.s.IQ(wait, xmpp.NewIQ("get", a.jid, query))
	switch {
	case err == nil:
	case ctx.Err() == nil && context.Cause(wait) == errTimeout(branchWait):
		return nil, &xmpp.StanzaError{Condition: xmpp.RemoteServerTimeout, Type: "wait", Text: errTimeout(branchWait).Error()}
	default:
		return nil, err
	}
	if query = xmpp.Child(iq, a.ns, "query"); query == nil {
		return nil, brokenAnswer("the answer is empty")
	}
	return query, w.take(xmpp.Weight(query))
}

// brokenAnswer is an answer that ends a branch, as an error does.
func brokenAnswer(text string) error {
	return &xmpp.StanzaError{Condition: xmpp.UndefinedCondition, Type: "cancel", Text: text}
}

// failedAnswer returns what was wrong with an answer: it is an error, or it is over a limit.
// It says nothing of other answers.
func failedAnswer(err error) (*xmpp.StanzaError, bool) {
	if over, ok := errors.AsType[*xmpp.LimitError](err); ok {
		return &xmpp.StanzaError{Condition: xmpp.UndefinedCondition, Type: "cancel", Text: "the answer is over a limit: " + over.Reason}, true
	}
	return errors.AsType[*xmpp.StanzaError](err)
}

// take counts what comes.
func (w *walk) take(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.taken += n; w.taken > walkBudget {
		return &exit.Error{Code: exit.Protocol, Class: "stanza", Err: fmt.Errorf("more than %d MiB in answers", walkBudget>>20)}
	}
	return nil
}
