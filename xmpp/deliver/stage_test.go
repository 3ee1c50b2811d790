package deliver_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/deliver"
	"xmppkit/xmpp/xep"
	"xmppkit/xmpp/xmpptest"
)

// What may be in flight.
const (
	windowSize  = 1000
	windowBytes = 1 << 20
	flightSize  = deliver.FlightSize
)

// A stage is the embedded server, and deliveries of romeo's to it over pipes.
type stage struct {
	*xmpptest.Server
	options xmpp.Options

	mu      sync.Mutex
	dialing sync.Mutex // conns; one that holds mu can cut, too
	heard   string     // what the server has read
	conns   []net.Conn
	then    func(heard string) // is called when there is more of that
}

const password = "Wherefore art thou?"

func newStage(t *testing.T, faults ...xmpptest.Fault) *stage {
	s := new(stage)
	var err error
	s.Server, err = xmpptest.New(xmpptest.Config{
		Accounts: map[string]string{"romeo": password, "juliet": password, "mallory": password},
		Faults:   faults,
		Trace: func(_ int, in bool, b []byte) {
			if !in {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.heard += string(b)
			if s.then != nil {
				s.then(s.heard)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Server.Close)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA())
	s.options = xmpp.Options{Password: password, RootCAs: roots, Server: "server.example:5223", DialContext: s.dial, Memory: new(xmpp.Memory)}
	return s
}

func (s *stage) dial(context.Context, string, string) (net.Conn, error) {
	there, here := net.Pipe()
	s.mu.Lock()
	s.dialing.Lock()
	s.conns = append(s.conns, here)
	s.dialing.Unlock()
	s.mu.Unlock()
	go s.ServeConn(there, true)
	return here, nil
}

// cut ends the last connection without a word.
func (s *stage) cut() {
	s.dialing.Lock()
	defer s.dialing.Unlock()
	s.conns[len(s.conns)-1].Close()
}

func (s *stage) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.heard, what)
}

// session is one of somebody else, who is there until the end of the test.
func (s *stage) session(t *testing.T, who string) *xmpp.Session {
	o := s.options
	o.JID, o.Memory = jid(who), nil
	other, err := xmpp.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	if err := other.Send(t.Context(), xmpp.NewElement(xmpp.NSClient, "presence")); err != nil {
		t.Fatal(err)
	}
	return other
}

// reply answers each message that comes to other, by what answer makes of it, until the
// test ends.
func reply(t *testing.T, other *xmpp.Session, answer func(m *xmpp.Element) []*xmpp.Element) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e, err := range other.Stanzas(t.Context()) {
			if err != nil {
				return
			}
			if e.Tag == "message" {
				_ = other.Send(t.Context(), answer(e)...)
			}
		}
	}()
	t.Cleanup(func() { <-ended })
}

func receiptFor(m *xmpp.Element) *xmpp.Element {
	r := xmpp.NewElement(xmpp.NSClient, "message", "to", xmpp.Attr(m, "from"))
	return xmpp.Add(r, xmpp.NewElement(xep.NSReceipts, "received", "id", xmpp.Attr(m, "id")))
}

func jid(s string) xmpp.JID {
	j, err := xmpp.ParseJID(s)
	if err != nil {
		panic(err)
	}
	return j
}

// A run is a delivery, and what came of it.
type run struct {
	deliver.Options
	to    []string
	body  func(n int) string // "line N" if it is nil
	lines int                // to be sent to each; 0 for no end
	grace time.Duration

	read    int           // lines
	ended   chan struct{} // closed when no more are
	settled []*deliver.Message
	left    []*deliver.Message
	err     error
}

// source makes the messages of a run, as many at a time as make a flight.
func (r *run) source(ctx context.Context) <-chan deliver.Chunk {
	chunks := make(chan deliver.Chunk)
	r.ended = make(chan struct{})
	go func() {
		defer close(r.ended)
		defer close(chunks)
		for r.lines == 0 || r.read < r.lines {
			var c deliver.Chunk
			for len(c.Messages) < flightSize && (r.lines == 0 || r.read < r.lines) {
				r.read++
				for _, to := range r.to {
					c.Messages = append(c.Messages, r.message(to))
				}
			}
			select {
			case chunks <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return chunks
}

func (r *run) message(to string) *deliver.Message {
	body := fmt.Sprintf("line %d", r.read)
	if r.body != nil {
		body = r.body(r.read)
	}
	id := xmpp.NewID()
	m := xmpp.Add(xmpp.NewElement(xmpp.NSClient, "message", "to", to, "type", "chat", "id", id), xmpp.NewText(xmpp.NSClient, "body", body))
	if r.Receipt {
		xmpp.Add(m, xmpp.NewElement(xep.NSReceipts, "request"))
	}
	return &deliver.Message{To: jid(to), Stanza: m, Secret: true, Size: len(body) + 150, Grace: r.grace}
}

// run delivers.
func (s *stage) run(ctx context.Context, r *run) { s.runWith(ctx, r, func(*deliver.Options) {}) }

func (s *stage) runWith(ctx context.Context, r *run, change func(*deliver.Options)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.Login = s.options
	r.Login.JID = jid("romeo@localhost/r")
	if r.Source == nil {
		r.Source = r.source(ctx)
	}
	r.Connect = func(ctx context.Context, o xmpp.Options, use func(context.Context, *xmpp.Session) error) error {
		session, err := xmpp.Dial(ctx, o)
		if err != nil {
			return err
		}
		defer session.Close()
		return use(ctx, session)
	}
	r.Temporary = func(err error) bool {
		e, bounced := errors.AsType[*xmpp.StanzaError](err)
		return errors.Is(err, xmpp.ErrLost) || errors.Is(err, context.DeadlineExceeded) || bounced && e.Type == "wait"
	}
	r.Settled = func(m *deliver.Message) error {
		r.settled = append(r.settled, m)
		return nil
	}
	r.Flush = func() error { return nil }
	change(&r.Options)
	d := deliver.New(r.Options)
	if r.err = d.Run(ctx); r.err != nil {
		r.left = d.GiveUp()
	}
	if cancel(); r.ended != nil {
		<-r.ended
	}
	synctest.Wait() // what the others have seen can be read
}

// with returns the ids of the messages that have a fate.
func (r *run) with(fate deliver.Fate) (ids []string) {
	for _, all := range [][]*deliver.Message{r.settled, r.left} {
		for _, m := range all {
			if m.Fate() == fate {
				ids = append(ids, m.ID())
			}
		}
	}
	return ids
}
