package xmpp

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// RFC 8305, section 8.
const (
	resolutionDelay = 50 * time.Millisecond
	attemptDelay    = 250 * time.Millisecond
)

// A talk is what happens on a TCP connection, including TLS. If it fails, it closes the
// connection.
type talk func(*negotiation) error

// connect talks to the first target that it gets a TLS connection to. It tries targets of
// a lower priority only when those before them have failed. failed holds the errors so
// far. A target that was skipped because others were left to try gets a second chance at
// the end.
func connect(ctx context.Context, o Options, targets []target, failed []error, t talk) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &race{ctx: inner, o: o, failed: slices.Clone(failed)}
	for len(r.failed) < maxAttempts {
		switch {
		case len(targets) > 0:
			n := 1
			for n < len(targets) && targets[n].priority == targets[0].priority {
				n++
			}
			r.others = o.another || len(targets) > n
			r.begin(targets[:n])
			targets = targets[n:]
		case len(r.slow) > 0 && !o.another:
			r.begin(nil)
			r.queue, r.slow, r.patient = r.slow, nil, true
		default:
			return failure(r.failed)
		}
		for {
			a, err := r.next()
			if err != nil {
				return r.ended(err)
			}
			if a.conn == nil {
				break
			}
			final, err := a.talk(ctx, o, r.hurried(), t)
			if final && ctx.Err() != nil {
				return r.ended(err)
			}
			if final {
				return err
			}
			if errors.Is(err, errSlow) {
				r.slow = append(r.slow, a.candidate)
			}
			r.fail(err)
		}
	}
	return failure(r.failed)
}

// A race connects to the addresses of the targets of one priority: Happy Eyeballs
// (RFC 8305, XEP-0495).
type race struct {
	ctx     context.Context
	o       Options
	group   []target
	pending map[question]bool // lookups without an answer
	answers chan addresses
	unknown map[int][]error // failed lookups, by target
	queue   []candidate     // known and not tried yet, best first
	begun   bool            // an attempt has been made
	at      time.Time       // when the next one may be
	failed  []error

	others  bool        // there are addresses beyond this group
	slow    []candidate // skipped because others were left to try
	patient bool        // these are tried once more: none is skipped again
}

// hurried reports whether the next step has a time limit, because others are left to try.
func (r *race) hurried() bool { return !r.patient && (r.others || len(r.queue) > 0) }

// ended is the error of a context that has ended, together with earlier failures.
func (r *race) ended(err error) error {
	if err == nil || len(r.failed) == 0 {
		return err
	}
	return &attemptsError{append(r.failed, err), err}
}

// A question is a lookup of the addresses of a target in one family.
type question struct{ target, family int }

// The families, the preferred one first.
var families = [...]struct{ network, record string }{{"ip6", "AAAA"}, {"ip4", "A"}}

// Addresses are the answer to a question.
type addresses struct {
	question
	ips  []netip.Addr
	err  error
	took string
}

// A candidate is an address of a target.
type candidate struct {
	q      question
	nth    int // of the addresses in the answer
	direct bool
	addr   string // host:port to dial
	name   string // the same, for display
}

// An attempt is a connection to a candidate, or the reason why there is none.
type attempt struct {
	candidate
	conn net.Conn
	err  error
	took string
}

// begin asks for the addresses of a group of targets.
func (r *race) begin(group []target) {
	r.group, r.queue, r.begun, r.at = group, nil, false, time.Time{}
	r.pending, r.unknown = make(map[question]bool), make(map[int][]error)
	r.answers = make(chan addresses, len(group)*len(families)) // buffered: perhaps nobody receives
	for i, t := range group {
		if !strings.HasSuffix(t.host, ".") {
			r.queue = append(r.queue, candidate{question{i, 0}, 0, t.direct, t.addr(), t.addr()})
			continue
		}
		for f := range families {
			q := question{i, f}
			r.pending[q] = true
			budget := time.Duration(0)
			if r.others || len(group) > 1 {
				budget = dnsBudget
			}
			go r.lookup(q, t.host, budget, r.answers)
		}
	}
}

func (r *race) lookup(q question, host string, budget time.Duration, answers chan<- addresses) {
	ctx, cancel := WithTimeout(r.ctx, budget)
	defer cancel()
	started := time.Now()
	ips, err := r.o.resolver().LookupNetIP(ctx, families[q.family].network, host)
	agree(ctx)
	answers <- addresses{q, ips, err, ms(started)}
}

// add puts the addresses of an answer in the queue: by target, and the families in
// turn (RFC 8305, section 4).
func (r *race) add(a addresses) {
	delete(r.pending, a.question)
	t := r.group[a.target]
	result := count(len(a.ips), "address", "addresses")
	if a.err != nil {
		result = lookupReason(a.err)
		r.unknown[a.target] = append(r.unknown[a.target], dnsError(t.addr(), a.err))
	}
	r.o.trace("looked up %s of %s in %s: %s", families[a.family].record, t.host, a.took, result)
	if errs := r.unknown[a.target]; len(errs) == len(families) {
		r.failed = append(r.failed, worst(errs))
	}
	for i, ip := range a.ips {
		ip = ip.Unmap()
		r.queue = append(r.queue, candidate{a.question, i, t.direct, net.JoinHostPort(ip.String(), t.port), fmt.Sprintf("%s (%s)", t.addr(), ip)})
	}
	slices.SortFunc(r.queue, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.q.target, b.q.target), cmp.Compare(a.nth, b.nth), cmp.Compare(a.q.family, b.q.family))
	})
	switch {
	case r.begun || len(r.queue) == 0:
	case r.settled():
		r.at = time.Now()
	case r.at.IsZero():
		r.at = time.Now().Add(resolutionDelay)
	}
}

// settled reports whether the first address of the queue stays the first, whatever the
// pending lookups bring (RFC 8305, section 3; XEP-0495, section 4.2).
func (r *race) settled() bool {
	first := r.queue[0].q
	for q := range r.pending {
		if q.target < first.target || q.target == first.target && q.family < first.family {
			return false
		}
	}
	return true
}

// next returns the next connection that succeeds, or an attempt without a conn if none
// does. It gives up the other attempts, and queues them to be made again: only one
// connection at a time gets as far as TLS. Its error is that of the context.
func (r *race) next() (attempt, error) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	results := make(chan attempt, maxAttempts)
	var running []candidate
	defer func() {
		r.queue = append(running, r.queue...)
		go discard(results, len(running))
	}()
	for r.ctx.Err() == nil {
		more := len(running)+len(r.failed) < maxAttempts
		if len(running) == 0 && (!more || len(r.queue)+len(r.pending) == 0) {
			return attempt{}, nil
		}
		var due <-chan time.Time
		if more && len(r.queue) > 0 {
			due = time.After(time.Until(r.at))
		}
		select {
		case a := <-r.answers:
			r.add(a)
		case <-due:
			c := r.queue[0]
			r.queue, running = r.queue[1:], append(running, c)
			r.begun, r.at = true, time.Now().Add(attemptDelay)
			budget := time.Duration(0)
			if !r.patient && (r.others || len(r.slow) > 0) { // the others of the group run in parallel
				budget = tcpBudget
			}
			go func() { results <- c.connect(ctx, r.o, budget) }()
		case a := <-results:
			if a.err != nil && r.ctx.Err() != nil {
				break // the attempt has noticed the end of the context first
			}
			running = slices.DeleteFunc(running, func(c candidate) bool { return c == a.candidate })
			if a.err == nil {
				r.o.trace("connected to %s in %s", a.name, a.took)
				return a, nil
			}
			r.fail(a.err)
		case <-r.ctx.Done():
		}
	}
	return attempt{}, r.aborted(running)
}

// discard closes connections that are established too late.
func discard(results <-chan attempt, n int) {
	for range n {
		if a := <-results; a.conn != nil {
			a.conn.Close()
		}
	}
}

// fail notes why a candidate failed; the next one need not wait.
func (r *race) fail(err error) {
	r.o.trace("%v", err)
	r.failed = append(r.failed, err)
	r.at = time.Now()
}

// aborted is the error of a context that has ended. It names what the race waited for.
func (r *race) aborted(running []candidate) error {
	doing, names := "connect to", []string(nil)
	for _, c := range running {
		names = append(names, c.name)
	}
	if len(running) == 0 && len(r.group) > 0 {
		names = []string{r.group[0].addr()}
	}
	if len(running) == 0 && len(r.pending) > 0 {
		doing = "look up"
	}
	return fmt.Errorf("%s %s: %w", doing, strings.Join(names, ", "), context.Cause(r.ctx))
}

// connect opens a TCP connection, within a budget if it is not 0.
func (c candidate) connect(ctx context.Context, o Options, budget time.Duration) attempt {
	dial := o.DialContext
	if dial == nil {
		dial = dialHost
	}
	started := time.Now()
	tcp, cancel := WithTimeout(ctx, budget)
	defer cancel()
	conn, err := dial(tcp, "tcp", c.addr)
	if err == nil {
		return attempt{candidate: c, conn: conn, took: ms(started)}
	}
	d := &DialError{Op: "connect", Addr: c.name, Err: err}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		d.Op = "dns"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		d.Err = errno // without the addresses, which are in Addr
	}
	if ranOut(err) {
		// A dialer has its own clock. And this is not the caller's deadline, so the
		// error must not look like it.
		<-tcp.Done()
		d.Err = fmt.Errorf("no answer within %s", budget)
	}
	return attempt{candidate: c, err: d}
}

// ranOut reports whether err is that of a deadline: the context's, or the one that a dialer
// sets on the connection.
func ranOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// dialHost is the default of Options.DialContext. The host of Options.Server may have several
// addresses, and net.Dialer divides the time among them. The time is short at first:
// otherwise an address that does not answer would use up half of it.
func dialHost(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{FallbackDelay: attemptDelay}
	short, cancel := context.WithTimeout(ctx, tcpBudget)
	defer cancel()
	conn, err := d.DialContext(short, network, addr)
	if err == nil || !ranOut(err) {
		return conn, err
	}
	<-short.Done()
	if ctx.Err() != nil {
		return nil, err
	}
	return d.DialContext(ctx, network, addr)
}

// talk runs t on the TCP connection. final reports that the outcome is final: a server
// that refused a login would refuse it at another address too, and might lock the
// account. A failure before TLS is not final, as it comes from that address and not from
// the domain (RFC 6120, section 4.9.3.19). hurried limits the time before TLS.
func (a attempt) talk(ctx context.Context, o Options, hurried bool, t talk) (final bool, err error) {
	o.TLS = TLSStartTLS
	if a.direct {
		o.TLS = TLSDirect
	}
	n := newNegotiation(ctx, quickAck(a.conn), o, a.name)
	n.hurried = hurried
	err = t(n)
	if _, silent := errors.AsType[mute](err); silent && !hurried && ctx.Err() == nil && a.speaksTLS(ctx, o) {
		err = &DialError{Op: "tls", Addr: a.name, Err: ErrDirectTLS}
	}
	return n.secured() || ctx.Err() != nil, err
}

// speaksTLS tries direct TLS, and sends nothing inside it.
func (c candidate) speaksTLS(ctx context.Context, o Options) bool {
	o.TLS = TLSDirect
	ctx, cancel := WithTimeout(ctx, tcpBudget)
	defer cancel()
	a := c.connect(ctx, o, 0)
	if a.err != nil {
		return false
	}
	defer a.conn.Close()
	err := tls.Client(a.conn, o.tlsConfig()).HandshakeContext(ctx)
	_, refused := errors.AsType[*tls.CertificateVerificationError](err)
	remote, ok := errors.AsType[*net.OpError](err)
	return err == nil || refused || ok && remote.Op == "remote error" // an alert
}

// failure is the error of attempts that have all failed.
func failure(failed []error) error {
	if len(failed) == 1 {
		return failed[0]
	}
	return &attemptsError{failed, worst(failed)}
}

// An attemptsError names every attempt, and unwraps to the worst of their errors.
type attemptsError struct {
	failed []error
	worst  error
}

func (e *attemptsError) Error() string {
	var reasons []string
	for _, err := range e.failed {
		reasons = append(reasons, err.Error())
	}
	return strings.Join(reasons, "; ")
}

func (e *attemptsError) Unwrap() error { return e.worst }

// worst returns the most serious error: one that a person must fix outranks a temporary
// one.
func worst(errs []error) error {
	return slices.MaxFunc(errs, func(a, b error) int { return cmp.Compare(severity(a), severity(b)) })
}

func severity(err error) int {
	var name x509.HostnameError
	d, ok := errors.AsType[*DialError](err)
	switch {
	case errors.As(err, &name), errors.Is(err, errPin):
		return 6
	case ok && d.Pin != "":
		return 5
	case ok && (d.Op == "tls" || d.Op == "stream"), !ok && !errors.Is(err, ErrLost):
		return 4 // no TLS, or an error of the stream before it
	case !ok, errors.Is(err, syscall.ECONNREFUSED):
		return 3
	case d.Op == "connect":
		return 2
	case !isNotFound(err):
		return 1
	}
	return 0
}
