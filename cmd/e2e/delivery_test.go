//go:build unix

package e2e

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"xmppkit/xmpp"
)

// TestDelivery is the promise that nothing is lost: numbered lines flow from send
// --retry to listen --durable while one thing fails again and again, at random
// instants. Every line has to arrive, and one that arrives twice has to be known by
// its id. Usually each thing fails a few times only; the whole, with the seed of a
// run that is to be repeated:
//
//	XMPPKIT_FAULTS=50 XMPPKIT_SEED=1 go test -v -run TestDelivery ./cmd/e2e
func TestDelivery(t *testing.T) {
	instants := 2
	if n, err := strconv.Atoi(os.Getenv("XMPPKIT_FAULTS")); err == nil {
		instants = n
	}
	seed, err := strconv.ParseUint(os.Getenv("XMPPKIT_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("XMPPKIT_FAULTS=%d XMPPKIT_SEED=%d", instants, seed)

	var results table
	var targets sync.WaitGroup
	for name, open := range map[string]func(*testing.T) (*host, error){"embedded": openEmbedded, "prosody": openProsody, "ejabberd": openEjabberd, "cluster": openCluster} {
		targets.Go(func() {
			shared, err := open(t)
			if err != nil {
				t.Error(err)
			}
			if shared == nil {
				return
			}
			// All run at once, whatever -parallel says: they wait for most of the time.
			var cells sync.WaitGroup
			for _, f := range faults() {
				if f.process && shared.signal == nil || f.cluster != (len(shared.nodes) > 1) {
					continue
				}
				cells.Go(func() {
					t.Run(name+"/"+f.name, func(t *testing.T) {
						h := shared
						if f.server {
							if h, err = open(t); err != nil {
								t.Fatal(err)
							}
						}
						results.add(name, f.name, newCell(t, h, f, seed, instants).run())
					})
				})
			}
			cells.Wait()
		})
	}
	targets.Wait()
	t.Log(results.String())
}

// Times. The sender notices a lost connection within attempt, the listener within
// keepAlive.
const (
	attempt   = 2 * time.Second
	keepAlive = time.Second
	gap       = 500 * time.Millisecond // between two faults, on average
	settling  = 75 * time.Second       // without progress, when all is over: more than the longest pause of a client
	quiet     = time.Second            // for duplicates to come
)

// A fault is what fails in a cell of the matrix. After strike it works again.
type fault struct {
	name    string
	server  bool // it fails, so that it must be one of its own
	process bool // it must be a process
	cluster bool // it must have several nodes
	ids     bool // the lines come with ids, for a sender that does not remember its own
	strike  func(*cell)
}

func faults() []fault {
	return []fault{
		{name: "kill-listener", strike: func(c *cell) { c.restart(c.listener) }},
		{name: "kill-sender", ids: true, strike: func(c *cell) { c.restart(c.sender) }},
		{name: "stop-listener", strike: func(c *cell) { c.hold(c.listener.signal) }},
		{name: "stop-sender", strike: func(c *cell) { c.hold(c.sender.signal) }},
		{name: "kill-server", server: true, strike: func(c *cell) { c.restartNode(0) }},
		{name: "kill-node", cluster: true, ids: true, strike: (*cell).restartBusy},
		{name: "stop-server", server: true, process: true, strike: func(c *cell) { c.hold(c.host.signal) }},
		{name: "reset", strike: func(c *cell) { c.network((*proxy).cut) }},
		{name: "half-open", strike: func(c *cell) {
			up := c.rng.IntN(2) == 0
			c.network(func(p *proxy) { p.lose(up, !up) })
		}},
		{name: "black-hole", strike: func(c *cell) { c.network(func(p *proxy) { p.lose(true, true) }) }},
		{name: "blackout", strike: func(c *cell) {
			c.network(func(p *proxy) { p.darken(true) })
			c.long()
			c.listenerLink.darken(false)
			c.senderLink.darken(false)
		}},
	}
}

// restart kills a client and starts it again.
func (c *cell) restart(p *program) {
	p.kill()
	c.pause(gap / 4)
	p.start()
}

// restartNode kills the server, or a node of it, and starts it again. Nobody comes to it before
// it knows its accounts: until then ejabberd refuses them as if the password was wrong (23.01).
func (c *cell) restartNode(node int) {
	n := c.host.nodes[node]
	c.listenerLink.refuse(node, true)
	c.senderLink.refuse(node, true)
	c.kills = append(c.kills, time.Now())
	n.kill()
	c.pause(gap)
	err := n.run()
	if err == nil {
		err = n.register(fmt.Sprint("account-", c.struck.Load()), scriptPassword)
	}
	if err != nil {
		c.fail("start the server again: %v", err)
	}
	c.listenerLink.refuse(node, false)
	c.senderLink.refuse(node, false)
}

// restartBusy kills the node that the listener or the sender is on.
func (c *cell) restartBusy() {
	link, whose := c.listenerLink, "listener"
	if c.rng.IntN(2) == 0 {
		link, whose = c.senderLink, "sender"
	}
	node, ok := link.node()
	c.log.printf("node %d, which the %s is on: %v", node+1, whose, ok)
	c.restartNode(node)
}

// hold stops a process for longer than its peers put up with.
func (c *cell) hold(signal func(os.Signal)) {
	signal(syscall.SIGSTOP)
	c.long()
	signal(syscall.SIGCONT)
}

// network fails at the side of the sender, of the listener, or of both.
func (c *cell) network(fail func(*proxy)) {
	sides := 1 + c.rng.IntN(3)
	if sides&1 != 0 {
		fail(c.senderLink)
	}
	if sides&2 != 0 {
		fail(c.listenerLink)
	}
}

// pause waits for mean on average, long for longer than keepAlive.
func (c *cell) pause(mean time.Duration) { time.Sleep(c.random(2 * mean)) }
func (c *cell) long()                    { time.Sleep(keepAlive*11/10 + c.random(keepAlive)) }

func (c *cell) random(below time.Duration) time.Duration {
	return time.Duration(c.rng.Int64N(int64(below)))
}

// A cell is a sender, a listener, the network between them and a server, one of
// which fails.
type cell struct {
	t        *testing.T
	host     *host
	fault    fault
	romeo    xmpp.JID // sends
	juliet   xmpp.JID // listens
	rng      *rand.Rand
	instants int
	struck   atomic.Int64 // faults so far
	kills    []time.Time  // of the server

	sender, listener         *program
	senderLink, listenerLink *proxy
	log                      journal
	ledger

	ctx    context.Context // ends when the cell is over, or cannot go on
	cancel context.CancelFunc
}

func newCell(t *testing.T, h *host, f fault, seed uint64, instants int) *cell {
	name := fnv.New64a()
	fmt.Fprint(name, t.Name())
	c := &cell{
		t: t, host: h, fault: f, rng: rand.New(rand.NewPCG(seed, name.Sum64())), instants: instants,
		senderLink: startProxy(t, h.addrs()...), listenerLink: startProxy(t, h.addrs()...),
	}
	c.ctx, c.cancel = context.WithCancel(t.Context())
	c.ledger.init(max(200, 40*instants))
	c.romeo = xmpp.JID{Local: "romeo-" + f.name, Domain: h.domain}
	c.juliet = xmpp.JID{Local: "juliet-" + f.name, Domain: h.domain}
	for _, user := range []xmpp.JID{c.romeo, c.juliet} {
		if err := h.nodes[0].register(user.Local, scriptPassword); err != nil {
			t.Fatal(err)
		}
	}
	state := t.TempDir()
	c.listener = c.newProgram("listen", c.through(c.listenerLink, state), c.arrive,
		"listen", "-v", "-j", c.juliet.String(), "--json", "--durable", "delivery", "--keepalive", keepAlive.String())
	args := []string{"send", "-v", "-j", c.romeo.String(), "--json", "--retry", "20"}
	if f.ids {
		args = append(args, "--input-json")
	} else {
		args = append(args, "--lines", c.juliet.String())
	}
	c.sender = c.newProgram("send", c.through(c.senderLink, state), c.confirm, args...)
	c.sender.patience = attempt
	c.sender.input = func(line int) string {
		if f.ids {
			return fmt.Sprintf(`{"to":%q,"id":"line-%d","body":"line %d"}`, c.juliet, line, line)
		}
		return fmt.Sprintf("line %d", line)
	}
	c.sender.unconfirmed = c.unconfirmed
	return c
}

// through is the way of a client to the server. The nodes of a cluster are found by DNS.
func (c *cell) through(p *proxy, state string) access {
	environ := []string{"XMPP_CA_FILE=" + c.host.caFile, "XMPP_STATE_DIR=" + state}
	if addrs := p.addrs(); len(addrs) == 1 {
		environ = append(environ, "XMPP_SERVER="+addrs[0])
	} else {
		environ = append(environ, nameserverVar+"="+startNameserver(c.t, c.host.domain, addrs...))
	}
	return access{environ: environ}
}

// fail says why the cell cannot go on.
func (c *cell) fail(format string, args ...any) {
	if c.ctx.Err() == nil {
		c.t.Errorf(format, args...)
	}
	c.cancel()
}

func (c *cell) run() outcome {
	started := time.Now()
	// Nothing fails before the first line has arrived, and nothing is sent before the
	// listener has a place to go on from: a server may deliver what it stores just then
	// with the next login only.
	c.listener.start()
	c.await(func() bool { return c.log.has("listening") })
	c.sender.start()
	c.sender.write(0)
	if c.await(func() bool { return c.missing() < c.lines }); c.missing() == c.lines {
		c.fail("the first line does not arrive")
	}
	var feeding sync.WaitGroup
	feeding.Go(c.feed)
	for i := range c.instants {
		c.pause(gap)
		if c.ctx.Err() != nil {
			break
		}
		confirmed, arrived := c.progress()
		c.log.printf("%s %d: %s", c.fault.name, i+1, c.ledger.String())
		c.struck.Add(1)
		c.fault.strike(c)
		c.recover(confirmed, arrived)
	}
	c.log.printf("all works from now on: %s", c.ledger.String())
	c.settle()
	o := c.outcome()
	o.instants, o.took = int(c.struck.Load()), time.Since(started)
	c.judge(&o)
	c.cancel()
	c.sender.end()
	c.listener.end()
	feeding.Wait()
	return o
}

// recover mostly waits, but not for long, until more is confirmed and has arrived than
// before a fault, so that not all faults strike what is down already.
func (c *cell) recover(confirmed, arrived int) {
	if c.rng.IntN(4) == 0 {
		return
	}
	for deadline := time.Now().Add(5 * time.Second); c.ctx.Err() == nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if in, out := c.progress(); in > confirmed && out > arrived {
			return
		}
	}
}

// feed writes the lines. A part of them is for the time after each fault, so that
// there are some to be lost until the end.
func (c *cell) feed() {
	pace := time.Duration(c.instants) * 4 * gap / time.Duration(c.lines)
	for i := 1; i < c.lines; i++ {
		for i*(c.instants+1) >= c.lines*(int(c.struck.Load())+1) && c.ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(pace)
		if c.ctx.Err() != nil {
			return
		}
		c.sender.write(i)
	}
	c.sender.closeInput()
}

// settle waits until everything has arrived and the sender has ended, for as long as
// there is progress, and ends the listener.
func (c *cell) settle() {
	c.await(func() bool { return c.missing() == 0 && c.sender.hasEnded() })
	if c.ctx.Err() != nil {
		return
	}
	time.Sleep(quiet)
	c.listener.stop()
}

// await waits until done, for as long as there is progress.
func (c *cell) await(done func() bool) {
	seen, since := c.ledger.String(), time.Now()
	for !done() && c.ctx.Err() == nil && time.Since(since) < settling {
		time.Sleep(20 * time.Millisecond)
		if now := c.ledger.String(); now != seen {
			seen, since = now, time.Now()
		}
	}
}

// judge says what is wrong with the outcome, and where to read how that came.
func (c *cell) judge(o *outcome) {
	if lost := c.lost(); len(lost) > 0 {
		late := c.late(c.forgotten(lost))
		o.forgotten = len(late)
		if o.forgotten < o.lost || c.host.remembers {
			c.t.Errorf("%d of %d lines are lost, %d of them by the server when it was killed: %v", o.lost, c.lines, o.forgotten, lost[:min(20, len(lost))])
		}
	}
	if unknown := o.duplicated - o.known; unknown > 0 {
		c.t.Errorf("%d lines came more than once, and not by the same id", unknown)
	}
	if c.ctx.Err() == nil && !c.sender.hasEnded() {
		c.t.Errorf("the sender has not ended: %s", c.ledger.String())
	}
	if c.t.Failed() {
		file, err := os.CreateTemp("", "xmppkit-"+strings.ReplaceAll(c.t.Name(), "/", "-")+"-*.log")
		if err == nil {
			_, err = file.Write(c.log.bytes())
			err = errors.Join(err, file.Close())
			c.t.Logf("what happened is in %s (%v)", file.Name(), err)
		}
	}
}

// An outcome is a cell of the matrix when it is filled.
type outcome struct {
	instants, lines   int
	lost, forgotten   int // forgotten: lost by the server, as it can be
	duplicated, known int // known: by an id
	took              time.Duration
}

// A table collects the outcomes.
type table struct {
	mu   sync.Mutex
	rows []string
}

func (t *table) add(server, fault string, o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, fmt.Sprintf("%-9s %-14s %8d %6d %6d %11d %10d %9d %8.1f", server, fault,
		o.instants, o.lines, o.lost, o.forgotten, o.duplicated, o.known, o.took.Seconds()))
}

func (t *table) String() string {
	slices.Sort(t.rows)
	return fmt.Sprintf("\n%-9s %-14s %8s %6s %6s %11s %10s %9s %8s\n", "server", "fault", "instants", "lines", "lost", "(by server)", "duplicated", "(same id)", "seconds") +
		strings.Join(t.rows, "\n")
}
