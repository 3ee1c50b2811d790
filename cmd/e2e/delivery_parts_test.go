//go:build unix

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// The parts of a cell: its servers, its clients, and its memory.

// A host is a server that can fail.
type host struct {
	domain, caFile string
	nodes          []node
	signal         func(os.Signal) // nil where it is no process, or several
	remembers      bool            // after a crash, all that it has confirmed
}

// A node is a host, or a part of one that does all that the host does.
type node struct {
	addr     string
	register func(user, password string) error
	kill     func()
	run      func() error // again, on the same port and data
}

func (h *host) addrs() (all []string) {
	for _, n := range h.nodes {
		all = append(all, n.addr)
	}
	return all
}

func openEmbedded(t *testing.T) (*host, error) {
	server, a := startServer(t, xmpptest.Config{})
	return &host{
		domain: "localhost", caFile: a.ca, remembers: true,
		nodes: []node{{server.Addr(), server.AddAccount, server.Restart, func() error { return nil }}},
	}, nil
}

func openProsody(t *testing.T) (*host, error)  { return openReal(t, startProsody) }
func openEjabberd(t *testing.T) (*host, error) { return openReal(t, startEjabberd) }

// openReal returns nil where there is none.
func openReal(t *testing.T, start func(string) (*realServer, func(), error)) (*host, error) {
	server, stop, err := start(t.TempDir())
	if errors.Is(err, errNotInstalled) && !interopRequired() {
		t.Log(err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t.Cleanup(stop)
	return &host{
		domain: "localhost", caFile: server.caFile, signal: server.signal,
		nodes: []node{{server.starttls, server.register, server.kill, server.run}},
		// The session of the recipient stores what that of the sender has confirmed: in
		// ejabberd they are not one process, and there is no setting that makes one wait
		// for the other (23.01). What is killed in between is lost; that is a moment, and see
		// late for how much.
		remembers: server.kind != "ejabberd",
	}, nil
}

// openCluster opens one whose nodes do not wait for each other either.
func openCluster(t *testing.T) (*host, error) {
	servers, stop, err := startCluster(t.TempDir())
	if errors.Is(err, errNotInstalled) && !interopRequired() {
		t.Log(err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t.Cleanup(stop)
	h := &host{domain: clusterDomain, caFile: servers[0].caFile}
	for _, s := range servers {
		h.nodes = append(h.nodes, node{s.starttls, s.register, s.kill, s.run})
	}
	return h, nil
}

// forgotten returns the ids of the lost lines that a server has lost: they are not in the
// archive of the recipient, and the server had them, as they are in that of the sender. A node
// of a cluster that is killed takes both to its grave; but then the ids are known, and whether
// the server has confirmed them.
func (c *cell) forgotten(lost []int) (ids []string) {
	had, err := c.archive(c.romeo)
	has, err2 := c.archive(c.juliet)
	if err = errors.Join(err, err2); err != nil {
		c.t.Logf("archives: %v", err)
		return nil
	}
	for _, i := range lost {
		line := fmt.Sprint("line ", i)
		id, ok := had[line]
		if c.fault.ids {
			id, ok = fmt.Sprint("line-", i), true
		}
		if ok && has[line] == "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// unsafe is how long before it is killed a server that forgets may have confirmed what it
// then loses, and how long it takes until a confirmation is known here.
const unsafe = time.Second

// late returns those of the ids that were confirmed just before the server was killed.
func (c *cell) late(ids []string) (late []string) {
	c.ledgerMu.Lock()
	defer c.ledgerMu.Unlock()
	for _, id := range ids {
		at, ok := c.confirmed[id]
		if ok && slices.ContainsFunc(c.kills, func(kill time.Time) bool { return at.After(kill.Add(-unsafe)) && at.Before(kill.Add(unsafe)) }) {
			late = append(late, id)
		}
	}
	return late
}

const (
	nsArchive = "urn:xmpp:mam:2"                 // XEP-0313
	nsPages   = "http://jabber.org/protocol/rsm" // XEP-0059
	nsForward = "urn:xmpp:forward:0"             // XEP-0297
)

// archive returns the ids of the messages that an account has kept, by their bodies.
func (c *cell) archive(user xmpp.JID) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pem, err := os.ReadFile(c.host.caFile)
	if err != nil {
		return nil, err
	}
	s, err := xmpp.Dial(ctx, xmpp.Options{JID: user, Password: scriptPassword, Server: c.host.nodes[0].addr, RootCAs: pool(pem)})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ids := make(map[string]string)
	for after := ""; ; {
		pages := xmpp.Add(xmpp.NewElement(nsPages, "set"), xmpp.NewText(nsPages, "max", "50"))
		if after != "" {
			xmpp.Add(pages, xmpp.NewText(nsPages, "after", after))
		}
		if _, err := s.IQ(ctx, xmpp.NewIQ("set", xmpp.JID{}, xmpp.Add(xmpp.NewElement(nsArchive, "query"), pages))); err != nil {
			return nil, err
		}
		before := after
		for s.Queued() > 0 {
			for e := range s.Stanzas(ctx) {
				result := xmpp.Child(e, nsArchive, "result")
				message := xmpp.Child(xmpp.Child(result, nsForward, "forwarded"), xmpp.NSClient, "message")
				if body, ok := xmpp.Text(message, xmpp.NSClient, "body"); ok {
					ids[body], after = xmpp.Attr(message, "id"), xmpp.Attr(result, "id")
				}
				break
			}
		}
		if after == before {
			return ids, nil
		}
	}
}

// A program is one of the commands of a cell, in all its incarnations.
type program struct {
	c      *cell
	name   string
	access access
	args   []string
	take   func(line []byte) // is given each line of its output

	// Of the sender alone.
	input       func(line int) string
	unconfirmed func() []int
	patience    time.Duration // with the server

	cmd     *exec.Cmd
	done    chan struct{} // closed when it has ended and its output is read
	leaving atomic.Bool   // its end is no surprise
	closed  atomic.Bool   // it has got all lines

	mu      sync.Mutex
	in      io.WriteCloser
	written int // lines
}

func (c *cell) newProgram(name string, access access, take func([]byte), args ...string) *program {
	return &program{c: c, name: name, access: access, args: args, take: take}
}

// start starts it, and gives a sender what it has not confirmed before.
func (p *program) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.done = p.access.command(p.args...), make(chan struct{})
	p.leaving.Store(false)
	if p.patience > 0 { // of each wait: the flag would bound all of it
		p.cmd.Env = append(p.cmd.Env, "XMPP_TIMEOUT="+p.patience.String())
	}
	p.cmd.Stderr = p.c.log.writer(p.name)
	endWithTests(p.cmd)
	out, err := p.cmd.StdoutPipe()
	if err == nil && p.input != nil {
		p.in, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		close(p.done)
		p.c.fail("start %s: %v", p.name, err)
		return
	}
	go p.attend(p.cmd, out, p.done)
	if p.input == nil || p.written == 0 {
		return
	}
	for _, line := range p.unconfirmed() {
		if line < p.written {
			p.put(line)
		}
	}
	if p.closed.Load() {
		p.in.Close()
	}
}

// attend reads what an incarnation prints until it ends. A last line that has no end
// was not printed.
func (p *program) attend(cmd *exec.Cmd, out io.Reader, done chan struct{}) {
	defer close(done)
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			break
		}
		p.take(line)
	}
	err := cmd.Wait()
	p.c.log.printf("%s has ended: %v", p.name, cmd.ProcessState)
	if !p.leaving.Load() && (err != nil || !p.closed.Load()) {
		p.c.fail("%s has ended: %v", p.name, cmd.ProcessState)
	}
}

// write gives a sender a line. One that is dead gets it when it is started again.
func (p *program) write(line int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = line + 1
	p.put(line)
}

func (p *program) put(line int) { _, _ = io.WriteString(p.in, p.input(line)+"\n") } // it may just have been killed

func (p *program) closeInput() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed.Store(true)
	p.in.Close()
}

func (p *program) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

func (p *program) kill() {
	p.leaving.Store(true)
	p.signal(os.Kill)
	<-p.done
}

// stop asks it to end, which has to be in good order and soon.
func (p *program) stop() {
	p.leaving.Store(true)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if !p.cmd.ProcessState.Success() {
			p.c.fail("%s, told to end: %v", p.name, p.cmd.ProcessState)
		}
	case <-time.After(5 * time.Second):
		p.c.fail("%s does not end", p.name)
	}
}

// end makes sure that it has ended.
func (p *program) end() {
	if p.cmd != nil && p.cmd.Process != nil {
		p.kill()
	}
}

func (p *program) hasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// A ledger is what is known of the lines.
type ledger struct {
	lines int

	ledgerMu  sync.Mutex
	came      [][]arrival          // by line
	confirmed map[string]time.Time // by id
}

// An arrival of a line, with what tells it from another.
type arrival struct{ id, stanzaID string }

func (l *ledger) init(lines int) {
	l.lines, l.came, l.confirmed = lines, make([][]arrival, lines), make(map[string]time.Time)
}

// arrive is given what the listener prints.
func (c *cell) arrive(line []byte) {
	var m struct {
		Kind, Body, ID string
		StanzaID       string `json:"stanza_id"`
	}
	n := -1
	err := json.Unmarshal(line, &m)
	if err == nil {
		_, err = fmt.Sscanf(m.Body, "line %d", &n)
	}
	if err != nil || m.Kind != "message" || n < 0 || n >= c.lines {
		c.fail("listen has printed %q", line)
		return
	}
	c.ledgerMu.Lock()
	defer c.ledgerMu.Unlock()
	c.came[n] = append(c.came[n], arrival{m.ID, m.StanzaID})
}

// confirm is given what the sender prints.
func (c *cell) confirm(line []byte) {
	var r struct {
		Kind, ID string
		OK       bool
	}
	if err := json.Unmarshal(line, &r); err != nil || r.Kind != "sent" || r.ID == "" {
		c.fail("send has printed %q", line)
		return
	}
	if !r.OK {
		c.fail("send has given up: %s", line)
		return
	}
	c.ledgerMu.Lock()
	defer c.ledgerMu.Unlock()
	c.confirmed[r.ID] = time.Now()
}

// unconfirmed returns the lines whose ids the sender has not confirmed.
func (l *ledger) unconfirmed() []int {
	l.ledgerMu.Lock()
	defer l.ledgerMu.Unlock()
	var lines []int
	for i := range l.lines {
		if l.confirmed[fmt.Sprint("line-", i)].IsZero() {
			lines = append(lines, i)
		}
	}
	return lines
}

func (l *ledger) lost() []int {
	l.ledgerMu.Lock()
	defer l.ledgerMu.Unlock()
	var lines []int
	for i, came := range l.came {
		if len(came) == 0 {
			lines = append(lines, i)
		}
	}
	return lines
}

func (l *ledger) missing() int { return len(l.lost()) }

// progress returns how many messages the sender has confirmed, and how many have arrived.
func (l *ledger) progress() (confirmed, arrived int) {
	l.ledgerMu.Lock()
	defer l.ledgerMu.Unlock()
	for _, came := range l.came {
		arrived += len(came)
	}
	return len(l.confirmed), arrived
}

// String is different whenever there was progress.
func (l *ledger) String() string {
	confirmed, arrived := l.progress()
	return fmt.Sprintf("%d confirmed, %d arrived, %d of them again", confirmed, arrived, arrived-(l.lines-l.missing()))
}

// outcome counts. An arrival is known where it shares an id with an earlier one.
func (l *ledger) outcome() outcome {
	o := outcome{lines: l.lines, lost: l.missing()}
	l.ledgerMu.Lock()
	defer l.ledgerMu.Unlock()
	for _, came := range l.came {
		for i := 1; i < len(came); i++ {
			o.duplicated++
			if slices.ContainsFunc(came[:i], came[i].same) {
				o.known++
			}
		}
	}
	return o
}

func (a arrival) same(b arrival) bool {
	return a.id != "" && a.id == b.id || a.stanzaID != "" && a.stanzaID == b.stanzaID
}

// A journal is what happened, in the order in which it did.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) printf(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(&j.buf, time.Now().Format("15:04:05.000 ")+format+"\n", args...)
}

func (j *journal) bytes() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Clone(j.buf.Bytes())
}

func (j *journal) has(text string) bool { return bytes.Contains(j.bytes(), []byte(text)) }

// writer takes the standard error of a program.
func (j *journal) writer(name string) io.Writer { return &scribe{j, name} }

type scribe struct {
	j    *journal
	name string
}

func (s *scribe) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		s.j.printf("%s: %s", s.name, bytes.TrimRight(line, "\n"))
	}
	return len(b), nil
}
