package xmpptest

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/internal/wire"
)

// A conn is one connection. One goroutine reads and handles what arrives; another one
// writes the outbox.
type conn struct {
	s      *Server
	number int
	raw    net.Conn
	nc     net.Conn          // raw, or tls once that is up; replaced only while out is drained
	tls    *tls.Conn         // nil in plaintext
	leaf   *x509.Certificate // our TLS certificate
	direct bool
	faults faults
	out    *outbox
	done   chan struct{} // closed when all is over

	// For the serving goroutine alone.
	r         *wire.Reader
	dirty     []*outbox // the ones it has put something into since the last flush
	opened    bool      // our header of the current stream has been sent
	user      *account  // who has logged in
	started   bool      // a stanza came after bind
	infoAsked bool      // disco#info of the account
	abrupt    bool      // close without closing TLS

	// Guarded by s.mu.
	bound *session // nil before bind, and after the session has ended or moved to another connection
	cut   bool     // Restart was called: there will be no session
}

// Read supplies the wire reader. When the reader needs more bytes, all stanzas so far
// are handled: Read then flushes what they have caused, with one write to each
// connection, and waits for slow connections.
func (c *conn) Read(p []byte) (int, error) {
	c.flush()
	n, err := c.nc.Read(p)
	if c.s.config.Trace != nil && n > 0 {
		c.s.config.Trace(c.number, true, p[:n])
	}
	return n, err
}

// flush writes what put has collected.
func (c *conn) flush() {
	for _, o := range c.dirty {
		o.flush()
	}
	for _, o := range c.dirty {
		o.wait()
	}
	c.dirty = c.dirty[:0]
}

// put adds bytes to what will be written to a connection at the next flush of c.
func (c *conn) put(to *conn, b []byte) {
	to.out.put(b)
	if !slices.Contains(c.dirty, to.out) {
		c.dirty = append(c.dirty, to.out)
	}
}

// emit puts an element for the client of c that is not a stanza of a session. An
// element that cannot be written comes from a Config or a Fault, and is left out.
func (c *conn) emit(e *xmpp.Element) {
	if b, err := xmpp.XML(e); err == nil {
		c.put(c, b)
	}
}

// patience is how long a peer may block a write.
const patience = 30 * time.Second

// write is called by the outbox.
func (c *conn) write(b []byte) error {
	c.raw.SetWriteDeadline(time.Now().Add(patience))
	step := len(b)
	if c.faults.has("byte-by-byte") {
		step = 1
	}
	for part := range slices.Chunk(b, step) {
		if c.s.config.Trace != nil {
			c.s.config.Trace(c.number, false, part)
		}
		if _, err := c.nc.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// closeWrite tells the peer that nothing more will come.
func (c *conn) closeWrite() {
	if c.tls != nil && !c.abrupt {
		c.tls.CloseWrite()
	}
	if half, ok := c.raw.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	} else {
		c.raw.Close()
	}
}

// discard reads until the peer closes or the time for that is over.
func (c *conn) discard() { io.Copy(io.Discard, c.raw) }

// An outbox holds the bytes to write to one connection. Putting something in never
// blocks, so it can be done while the server is locked, which keeps all events in
// order. The caller calls flush, and wait, afterwards.
type outbox struct {
	write func([]byte) error
	delay time.Duration // before each write

	mu    sync.Mutex
	cond  *sync.Cond
	buf   []byte
	ready bool // buf has to be written
	busy  bool // a write is in progress
	ended bool // nothing may be added
	dead  bool // nothing will be written any more
}

// backlog is how much may wait for a connection before it blocks others.
const backlog = 1 << 20

func newOutbox(write func([]byte) error) *outbox {
	o := &outbox{write: write}
	o.cond = sync.NewCond(&o.mu)
	return o
}

func (o *outbox) put(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.buf = append(o.buf, b...)
	}
}

func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ready = true
	o.cond.Broadcast()
}

// wait returns when the backlog is small enough.
func (o *outbox) wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.buf) > backlog && !o.dead {
		o.cond.Wait()
	}
}

// drain returns when everything has been written.
func (o *outbox) drain() {
	o.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	for (len(o.buf) > 0 || o.busy) && !o.dead {
		o.cond.Wait()
	}
}

// end adds the last bytes, unless that was done before.
func (o *outbox) end(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.buf = append(o.buf, b...)
	}
	o.ended = true
	o.cond.Broadcast()
}

// run writes until the outbox is ended and empty, or a write fails.
func (o *outbox) run() error {
	var spare []byte
	for {
		b, ok := o.take(spare)
		if !ok {
			return nil
		}
		err := o.write(b)
		o.written(err)
		if err != nil {
			return err
		}
		spare = b
	}
}

// take waits for something to write, and puts spare in its place.
func (o *outbox) take(spare []byte) ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.ended && !(o.ready && len(o.buf) > 0) {
		o.cond.Wait()
	}
	if o.delay > 0 {
		o.mu.Unlock()
		time.Sleep(o.delay)
		o.mu.Lock()
	}
	if len(o.buf) == 0 {
		o.dead = true
		o.cond.Broadcast()
		return nil, false
	}
	b := o.buf
	o.buf, o.ready, o.busy = spare[:0], false, true
	o.cond.Broadcast()
	return b, true
}

func (o *outbox) written(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy = false
	if err != nil {
		o.ended, o.dead = true, true
		o.buf = nil
	}
	o.cond.Broadcast()
}
