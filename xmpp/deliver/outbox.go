package deliver

import (
	"slices"
	"sync"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

// An outbox holds the messages that are written, or is about to be, and not settled.
// onStanza runs on the goroutine that reads; everything else runs on the delivery's
// goroutine.
type outbox struct {
	receipts bool
	woke     chan struct{} // holds a token when there is news

	mu   sync.Mutex
	own  xmpp.JID // of the session
	open map[string][]entry
	news []news
}

// An entry is an open message under its id. A user may give the same id to several
// messages.
type entry struct {
	m    *Message
	told bool // a bounce or a receipt has come
}

// News is a stanza about a message: a bounce or a receipt.
type news struct {
	m    *Message
	err  *xmpp.StanzaError // nil for a receipt
	from xmpp.JID
	at   time.Time
}

func newOutbox(own xmpp.JID, receipts bool) *outbox {
	return &outbox{receipts: receipts, woke: make(chan struct{}, 1), own: own, open: make(map[string][]entry)}
}

// bound notes the address of a new session.
func (b *outbox) bound(own xmpp.JID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.own = own
}

// add opens messages. From now on they may be written, and answers may come.
func (b *outbox) add(messages []*Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range messages {
		b.open[m.ID()] = append(b.open[m.ID()], entry{m: m})
	}
}

func (b *outbox) remove(m *Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := m.ID()
	same := b.open[id]
	switch i := slices.IndexFunc(same, func(e entry) bool { return e.m == m }); {
	case i < 0:
	case len(same) > 1:
		b.open[id] = slices.Delete(same, i, i+1)
	default:
		delete(b.open, id)
	}
}

func (b *outbox) empty() bool { return len(b.open) == 0 }

// ids returns the number of distinct ids of the messages.
func (b *outbox) ids() int { return len(b.open) }

// unconfirmed returns the messages that are not confirmed, in order.
func (b *outbox) unconfirmed() []*Message {
	var all []*Message
	for _, same := range b.open {
		for _, e := range same {
			if e.m.state.stage == written {
				all = append(all, e.m)
			}
		}
	}
	slices.SortFunc(all, InOrder)
	return all
}

// onStanza gets every stanza from the session's reader, before any later one is read. It
// keeps what it needs of bounces and receipts.
func (b *outbox) onStanza(e *xmpp.Element) {
	if !xmpp.Is(e, xmpp.NSClient, "message") {
		return
	}
	bounce := xmpp.Attr(e, "type") == "error"
	id := xmpp.Attr(e, "id")
	if !bounce {
		received := xmpp.Child(e, xep.NSReceipts, "received")
		if received == nil {
			return
		}
		id = xmpp.Attr(received, "id")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	from, err := xmpp.Sender(e, b.own)
	if err != nil {
		return
	}
	same := b.open[id]
	for i := range same {
		m := same[i].m
		n := news{m: m, from: from, at: time.Now()}
		switch {
		case same[i].told:
			continue
		case bounce && xmpp.Answers(from, m.To, b.own, m.Secret):
			n.err = xmpp.KeptErrorOf(e)
		case bounce, !b.receipts, !from.Bare().Alike(m.To.Bare()):
			continue // a receipt may come from any session of the recipient, in any spelling of the address
		}
		same[i].told = true
		b.news = append(b.news, n)
		select {
		case b.woke <- struct{}{}:
		default:
		}
		return
	}
}

// take returns the news since the last call.
func (b *outbox) take() []news {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.news
	b.news = nil
	return all
}
