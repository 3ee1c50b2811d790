package xmpp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	dnsBudget = 10 * time.Second // for a lookup: a resolver asks its second server after 5 s

	// srvPatience is how much longer the second SRV lookup may take than the first that
	// has a result.
	srvPatience = 200 * time.Millisecond

	// maxAttempts limits what a domain can make a client do.
	maxAttempts = 32
)

// A target is a host that offers the service.
type target struct {
	host             string // ends with a dot if its addresses must be looked up; otherwise the dialer gets it unchanged
	port             string
	direct           bool
	priority, weight uint16
}

// addr is the target's host:port, for display.
func (t target) addr() string { return net.JoinHostPort(strings.TrimSuffix(t.host, "."), t.port) }

// resolve returns the targets of the account's domain in the order to try them, at
// most maxAttempts. The errors of lookups are in failed, even if there are targets.
func resolve(ctx context.Context, o Options) (targets []target, failed []error) {
	host, port := o.JID.asciiDomain(), ""
	if o.Server != "" { // RFC 6120, section 3.2.3
		var err error
		if host, port, err = SplitServer(o.Server); err != nil {
			return nil, []error{err}
		}
	} else if _, err := netip.ParseAddr(host); err != nil && !inHosts(ctx, host) {
		return discover(ctx, o, host)
	}
	return []target{withoutSRV(host, port, o.TLS)}, nil
}

// inHosts reports whether a name without a dot, such as localhost, is in the hosts
// file. Such a name is not for DNS (RFC 6761, section 6.3) and needs a lookup of its own:
// package net finds it in the file only without a dot at the end, and asks the search
// domains of the network for names that are not in the file.
func inHosts(ctx context.Context, name string) bool {
	if strings.Contains(name, ".") {
		return false
	}
	files := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no DNS")
	}}
	_, err := files.LookupHost(ctx, name)
	return err == nil
}

// withoutSRV returns the target for a host without SRV records.
func withoutSRV(host, port string, mode TLSMode) target {
	direct := mode == TLSDirect || mode != TLSStartTLS && (port == "5223" || port == "443")
	if port == "" {
		port = "5222"
		if direct {
			port = "5223"
		}
	}
	return target{host: host, port: port, direct: direct}
}

// discover asks DNS for the targets of a domain (RFC 6120, section 3.2; XEP-0368).
func discover(ctx context.Context, o Options, domain string) (targets []target, failed []error) {
	services, err := lookupServices(ctx, o, domain)
	if err != nil {
		return nil, []error{err}
	}
	answered := false
	for _, s := range services {
		targets = append(targets, s.targets...)
		answered = answered || s.answered
		if s.err != nil {
			failed = append(failed, s.err)
		}
	}
	switch {
	case len(targets) > 0:
		return order(targets, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))), failed
	case !answered:
		return []target{withoutSRV(domain+".", "", o.TLS)}, failed
	case len(failed) > 0:
		return nil, failed
	}
	// A domain with SRV records must be reached through them: XEP-0368, section 5, and
	// RFC 6120, section 3.2.1, for the target ".".
	no := map[TLSMode]string{TLSDirect: " by direct TLS", TLSStartTLS: " by STARTTLS"}[o.TLS]
	return nil, []error{dnsError(domain, &net.DNSError{Err: "the domain offers no XMPP client service" + no, Name: domain, IsNotFound: true})}
}

// A service is the answer to one SRV lookup.
type service struct {
	name     string
	targets  []target
	answered bool // there are records, usable or not
	err      error
	took     string
}

// lookupServices asks for both services of a domain, or only for the one that o.TLS
// allows. A service that is not in DNS is not an error. It returns only the error of
// ctx.
func lookupServices(ctx context.Context, o Options, domain string) ([]service, error) {
	ask := map[string]bool{}
	if o.TLS != TLSStartTLS {
		ask["_xmpps-client._tcp."+domain+"."] = true
	}
	if o.TLS != TLSDirect {
		ask["_xmpp-client._tcp."+domain+"."] = false
	}
	budget, cancel := context.WithTimeout(ctx, dnsBudget)
	defer cancel()
	answers := make(chan service, len(ask))
	for name, direct := range ask {
		go func() { answers <- lookupService(budget, o, name, direct) }()
	}
	var services []service
	var late <-chan time.Time
	for len(services) < len(ask) {
		select {
		case s := <-answers:
			o.trace("looked up %s in %s: %s", s.name, s.took, s)
			services = append(services, s)
			// Only an answer with targets makes the other lookup unnecessary: a domain
			// without one service may have the other.
			if len(s.targets) > 0 && late == nil {
				late = time.After(srvPatience)
			}
		case <-late:
			o.trace("one lookup has no answer yet; continuing without it")
			return services, nil
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("look up %s: %w", domain, context.Cause(ctx))
		}
	}
	return services, nil
}

func lookupService(ctx context.Context, o Options, name string, direct bool) service {
	started := time.Now()
	_, records, err := o.resolver().LookupSRV(ctx, "", "", name)
	agree(ctx)
	s := service{name: name, answered: records != nil, took: ms(started)}
	for _, r := range records {
		if r.Target != "." { // RFC 2782: not available here
			s.targets = append(s.targets, target{r.Target, strconv.Itoa(int(r.Port)), direct, r.Priority, r.Weight})
		}
	}
	// If some of the records are malformed, package net returns the others and an error.
	if err != nil && len(s.targets) == 0 && !isNotFound(err) {
		s.err = dnsError(name, err)
	}
	return s
}

func (s service) String() string {
	switch {
	case s.err != nil:
		return lookupReason(s.err)
	case !s.answered:
		return "none"
	case len(s.targets) == 0:
		return "not offered"
	}
	return count(len(s.targets), "record", "records")
}

// order sorts targets by priority. Within a priority direct TLS comes first, as XEP-0368,
// section 3, allows, and the weights choose as in RFC 2782. It drops repetitions, and all
// targets beyond maxAttempts.
func order(targets []target, r *rand.Rand) []target {
	r.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
	rank := func(a, b target) int {
		if a.priority == b.priority && a.direct != b.direct {
			if a.direct {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.priority, b.priority)
	}
	// Targets without a weight come first, so that their chance is small but not zero.
	slices.SortStableFunc(targets, func(a, b target) int {
		return cmp.Or(rank(a, b), cmp.Compare(min(a.weight, 1), min(b.weight, 1)))
	})
	var ordered []target
	for len(targets) > 0 && len(ordered) < maxAttempts {
		n := 1
		for n < len(targets) && rank(targets[0], targets[n]) == 0 {
			n++
		}
		i := draw(targets[:n], r)
		t := targets[i]
		targets = slices.Delete(targets, i, i+1)
		if !slices.ContainsFunc(ordered, func(o target) bool { return o.addr() == t.addr() && o.direct == t.direct }) {
			ordered = append(ordered, t)
		}
	}
	return ordered
}

// draw returns the index of the target that RFC 2782 selects next.
func draw(targets []target, r *rand.Rand) int {
	sum := 0
	for _, t := range targets {
		sum += int(t.weight)
	}
	n := r.IntN(sum + 1)
	for i, t := range targets {
		if n -= int(t.weight); n <= 0 {
			return i
		}
	}
	return 0 // not reached: n was at most the sum
}

// agree waits for ctx to end if its deadline has passed. Package net has its own clock;
// this way both agree on why a lookup failed.
func agree(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
}

func (o *Options) resolver() *net.Resolver {
	if o.Resolver != nil {
		return o.Resolver
	}
	return net.DefaultResolver
}

// dnsError is the failure of a lookup of package net. It hides the lookup's own time
// limit, which is not the caller's deadline.
func dnsError(name string, err error) *DialError {
	d := net.DNSError{Err: err.Error(), Name: name}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		d = *dns
		d.UnwrapErr = nil
	}
	return &DialError{Op: "dns", Addr: strings.TrimSuffix(name, "."), Err: &d}
}

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// lookupReason is what a failed lookup says beyond the name that was looked up.
func lookupReason(err error) string {
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case !ok:
		return err.Error()
	case dns.IsTimeout:
		return "no answer from DNS"
	case dns.Server != "" && !dns.IsNotFound:
		return dns.Err + " (asked " + dns.Server + ")"
	}
	return dns.Err
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// SplitServer splits HOST[:PORT]; an IPv6 address with a port is in brackets, and an
// internationalized name becomes its A-labels (RFC 5890, section 2.3.2.1), as DNS has it.
func SplitServer(s string) (host, port string, err error) {
	host = s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String(), "", nil
	}
	if strings.Contains(s, ":") {
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", "", fmt.Errorf("malformed server %q: want HOST or HOST:PORT", s)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", "", fmt.Errorf("malformed server %q: port %q is not between 1 and 65535", s, port)
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host, port, nil
	}
	if strings.Trim(host, ".") == "" || strings.ContainsAny(host, " \t\r\n/@[]") {
		return "", "", fmt.Errorf("malformed server %q: want HOST or HOST:PORT", s)
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) {
		name, err := toUnicode(host)
		if err != nil {
			return "", "", fmt.Errorf("malformed server %q: %w", s, err)
		}
		host = JID{Domain: name}.asciiDomain()
	}
	return host, port, nil
}

func isServer(s string) bool {
	_, _, err := SplitServer(s)
	return err == nil
}
