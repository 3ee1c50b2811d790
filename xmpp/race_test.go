package xmpp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// An internet is what a client without flags meets: DNS, and hosts that are the
// server of example.org, or worse.
type internet struct {
	*world
	dns   *nameserver
	t     testing.TB
	hosts map[string]string // what is at an address; nothing is where packets get lost
	start time.Time

	mu    sync.Mutex
	tried []string // when, and where
	conns []*watched
	steps []string
}

// newInternet makes one of a zone and of lines of ADDR BEHAVIOUR:
//
//	starttls, direct   the server
//	refuse             a closed port
//	unreachable        no route
//	close              closes immediately
//	silent             says nothing
//	slow               the server, which says nothing for 12 s
//	stranger           the server's name, from an authority that nobody trusts
//	other              another name
//	version            TLS 1.1
//	no-tls             STARTTLS is refused
//	host-unknown       the domain is not known, as far as can be said before TLS
//
// A duration after it is how long TCP takes.
func newInternet(t testing.TB, config xmpptest.Config, zone, hosts string) *internet {
	t.Helper()
	config.Domain = "example.org"
	n := &internet{world: newWorld(t, config), dns: newNameserver(t, zone), t: t, hosts: make(map[string]string), start: time.Now()}
	for line := range strings.Lines(hosts) {
		if addr, behaviour, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			n.hosts[addr] = strings.TrimSpace(behaviour)
		}
	}
	n.Options.Server, n.Resolver, n.DialContext = "", n.dns.resolver(), n.dial
	t.Cleanup(func() { time.Sleep(time.Minute) }) // package net does not give up a query before its time
	n.Trace = func(format string, args ...any) { n.steps = append(n.steps, fmt.Sprintf(format, args...)) }
	return n
}

func (n *internet) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.tried = append(n.tried, fmt.Sprintf("%s %s", time.Since(n.start), addr))
	n.mu.Unlock()
	behaviour, after, _ := strings.Cut(n.hosts[addr], " ")
	delay := 24 * time.Hour
	if behaviour != "" {
		delay, _ = time.ParseDuration(after)
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	errno := map[string]syscall.Errno{"refuse": syscall.ECONNREFUSED, "unreachable": syscall.ENETUNREACH}[behaviour]
	if errno != 0 {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
	}
	there, here := newLink(0)
	n.mu.Lock()
	defer n.mu.Unlock()
	c := &watched{Conn: here, n: n}
	n.conns = append(n.conns, c)
	go n.serve(behaviour, there)
	return c, nil
}

func (n *internet) serve(behaviour string, c net.Conn) {
	switch behaviour {
	case "starttls", "direct":
		n.ServeConn(c, behaviour == "direct")
		return
	}
	if behaviour == "slow" {
		time.Sleep(12 * time.Second)
		n.ServeConn(c, false)
		return
	}
	defer c.Close()
	stranger, _ := handmade()
	handshake := func(config *tls.Config) { tls.Server(c, config).Handshake() }
	switch behaviour {
	case "silent":
		io.Copy(io.Discard, c)
	case "stranger":
		handshake(&tls.Config{Certificates: []tls.Certificate{stranger.issue(template("example.org"))}})
	case "other":
		handshake(&tls.Config{Certificates: []tls.Certificate{stranger.issue(template("other.example"))}})
	case "version":
		handshake(&tls.Config{Certificates: []tls.Certificate{stranger.issue(template("example.org"))}, MaxVersion: tls.VersionTLS11})
	case "no-tls", "host-unknown":
		p := &peer{t: n.t, raw: c, conn: c}
		p.open()
		p.write(strings.Replace(streamTag, "localhost", "example.org", 1))
		if behaviour == "host-unknown" {
			p.write("<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
			return
		}
		p.write(starttlsFeatures + "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>")
	}
}

// A watched connection fails the test if it speaks while another does.
type watched struct {
	net.Conn
	n             *internet
	wrote, closed bool
}

func (c *watched) Write(b []byte) (int, error) {
	c.n.mu.Lock()
	for _, other := range c.n.conns {
		if other != c && other.wrote && !other.closed {
			c.n.t.Error("two connections are in use at once")
		}
	}
	c.wrote = true
	c.n.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *watched) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.closed = true
	return c.Conn.Close()
}

// open returns how many connections are not closed.
func (n *internet) open() (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		if !c.closed {
			count++
		}
	}
	return count
}

// attempts returns when and where TCP was tried.
func (n *internet) attempts() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.tried, ", ")
}

// addresses returns where TCP was tried, whenever.
func (n *internet) addresses() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var addrs []string
	for _, s := range n.tried {
		_, addr, _ := strings.Cut(s, " ")
		addrs = append(addrs, addr)
	}
	return addrs
}

// dialWithin is Dial with a deadline.
func dialWithin(t testing.TB, d time.Duration, o xmpp.Options) (*xmpp.Session, error) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return xmpp.Dial(ctx, o)
}

const twoHosts = `
	_xmpp-client._tcp.example.org. SRV 0 0 5222 one.example.org.
	_xmpp-client._tcp.example.org. SRV 1 0 5222 two.example.org.
	one.example.org. AAAA 2001:db8::1
	one.example.org. A 192.0.2.1
	two.example.org. A 192.0.2.2
`

// Happy Eyeballs (RFC 8305): what is tried when, and when the server is found.
func TestHappyEyeballs(t *testing.T) {
	for name, test := range map[string]struct {
		zone  string // in addition to an SRV record for one.example.org
		hosts string
		tried string
		took  time.Duration
	}{
		"both families": {"one.example.org. AAAA 2001:db8::1\none.example.org. A 192.0.2.1",
			"[2001:db8::1]:5222 starttls\n192.0.2.1:5222 starttls", "0s [2001:db8::1]:5222", 0},
		"IPv6 is a black hole": {"one.example.org. AAAA 2001:db8::1\none.example.org. A 192.0.2.1",
			"192.0.2.1:5222 starttls", "0s [2001:db8::1]:5222, 250ms 192.0.2.1:5222", 250 * time.Millisecond},
		"IPv6 has no route": {"one.example.org. AAAA 2001:db8::1\none.example.org. A 192.0.2.1",
			"[2001:db8::1]:5222 unreachable\n192.0.2.1:5222 starttls", "0s [2001:db8::1]:5222, 0s 192.0.2.1:5222", 0},
		"IPv6 is refused late": {"one.example.org. AAAA 2001:db8::1\none.example.org. A 192.0.2.1",
			"[2001:db8::1]:5222 refuse 100ms\n192.0.2.1:5222 starttls", "0s [2001:db8::1]:5222, 100ms 192.0.2.1:5222", 100 * time.Millisecond},
		"IPv6 is slow and wins": {"one.example.org. AAAA 2001:db8::1\none.example.org. A 192.0.2.1",
			"[2001:db8::1]:5222 starttls 300ms\n192.0.2.1:5222 starttls 200ms", "0s [2001:db8::1]:5222, 250ms 192.0.2.1:5222", 300 * time.Millisecond},
		"IPv4 only": {"one.example.org. A 192.0.2.1", "192.0.2.1:5222 starttls", "0s 192.0.2.1:5222", 0},
		"IPv6 only": {"one.example.org. AAAA 2001:db8::1", "[2001:db8::1]:5222 starttls", "0s [2001:db8::1]:5222", 0},
		"AAAA is late": {"one.example.org. AAAA DELAY 30ms\none.example.org. AAAA 2001:db8::1\none.example.org. A 192.0.2.1",
			"[2001:db8::1]:5222 starttls\n192.0.2.1:5222 starttls", "30ms [2001:db8::1]:5222", 30 * time.Millisecond},
		"AAAA is too late": {"one.example.org. AAAA DELAY 100ms\none.example.org. AAAA 2001:db8::1\none.example.org. A 192.0.2.1",
			"[2001:db8::1]:5222 starttls\n192.0.2.1:5222 starttls", "50ms 192.0.2.1:5222", 50 * time.Millisecond},
		"AAAA is too late, but of use": {"one.example.org. AAAA DELAY 100ms\none.example.org. AAAA 2001:db8::1\none.example.org. A 192.0.2.1",
			"[2001:db8::1]:5222 starttls", "50ms 192.0.2.1:5222, 300ms [2001:db8::1]:5222", 300 * time.Millisecond},
		"AAAA is dropped": {"one.example.org. AAAA DROP\none.example.org. A 192.0.2.1", "192.0.2.1:5222 starttls", "50ms 192.0.2.1:5222", 50 * time.Millisecond},
		"no AAAA, reported late": {"one.example.org. AAAA DELAY 30ms\none.example.org. AAAA NODATA\none.example.org. A 192.0.2.1",
			"192.0.2.1:5222 starttls", "30ms 192.0.2.1:5222", 30 * time.Millisecond},
		"A is late": {"one.example.org. AAAA 2001:db8::1\none.example.org. A DELAY 1s\none.example.org. A 192.0.2.1",
			"[2001:db8::1]:5222 starttls\n192.0.2.1:5222 starttls", "0s [2001:db8::1]:5222", 0},
		"families in turn": {"one.example.org. AAAA 2001:db8::1\none.example.org. AAAA 2001:db8::2\none.example.org. A 192.0.2.1\none.example.org. A 192.0.2.2",
			"192.0.2.2:5222 starttls", "0s [2001:db8::1]:5222, 250ms 192.0.2.1:5222, 500ms [2001:db8::2]:5222, 750ms 192.0.2.2:5222", 750 * time.Millisecond},
		"another host's addresses come first": {"_xmpps-client._tcp.example.org. SRV 0 0 5223 zero.example.org.\nzero.example.org. A DELAY 30ms\nzero.example.org. A 192.0.2.9\none.example.org. A 192.0.2.1",
			"192.0.2.9:5223 direct\n192.0.2.1:5222 starttls", "30ms 192.0.2.9:5223", 30 * time.Millisecond},
		"another host's addresses come alone": {"_xmpps-client._tcp.example.org. SRV 0 0 5223 zero.example.org.\nzero.example.org. A DROP\nzero.example.org. AAAA DROP\none.example.org. A 192.0.2.1",
			"192.0.2.1:5222 starttls", "50ms 192.0.2.1:5222", 50 * time.Millisecond},
		"direct TLS is a black hole": {"_xmpps-client._tcp.example.org. SRV 0 0 5223 one.example.org.\none.example.org. A 192.0.2.1",
			"192.0.2.1:5222 starttls", "0s 192.0.2.1:5223, 250ms 192.0.2.1:5222", 250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newInternet(t, xmpptest.Config{}, "_xmpp-client._tcp.example.org. SRV 0 0 5222 one.example.org.\n"+test.zone, test.hosts)
				s, err := dialWithin(t, 30*time.Second, n.Options)
				if err != nil {
					t.Fatalf("%v\n%s", err, n.attempts())
				}
				defer s.Close()
				if took := time.Since(n.start); took != test.took || n.attempts() != test.tried {
					t.Errorf("took %s: %s", took, n.attempts())
				}
				if n.Attempts() != 1 || n.open() != 1 {
					t.Errorf("%d logins, %d connections are open", n.Attempts(), n.open())
				}
			})
		})
	}
}

// The losers are closed, even those that connect at the same moment or later, and
// a loser is tried again where the winner is of no use.
func TestLosers(t *testing.T) {
	const zone = "_xmpp-client._tcp.example.org. SRV 0 0 5222 example.org.\nexample.org. AAAA 2001:db8::1\nexample.org. A 192.0.2.1"
	for _, delay := range []string{"350ms", "351ms", "349ms"} {
		bubble(t, func(t *testing.T) {
			n := newInternet(t, xmpptest.Config{}, zone, "[2001:db8::1]:5222 starttls "+delay+"\n192.0.2.1:5222 starttls 100ms")
			dial := n.DialContext
			n.DialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
				return dial(context.Background(), network, addr) // it does not care who still wants the connection
			}
			s, err := dialWithin(t, 30*time.Second, n.Options)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			time.Sleep(time.Second)
			n.mu.Lock()
			conns := len(n.conns)
			n.mu.Unlock()
			if conns != 2 || n.open() != 1 || n.Attempts() != 1 {
				t.Errorf("%s: %d connections, %d open, %d logins", delay, conns, n.open(), n.Attempts())
			}
		})
	}
	bubble(t, func(t *testing.T) {
		n := newInternet(t, xmpptest.Config{}, zone, "[2001:db8::1]:5222 starttls 400ms\n192.0.2.1:5222 no-tls")
		s, err := dialWithin(t, 30*time.Second, n.Options)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if want := "0s [2001:db8::1]:5222, 250ms 192.0.2.1:5222, 250ms [2001:db8::1]:5222"; n.attempts() != want || n.open() != 1 {
			t.Errorf("%s, %d open", n.attempts(), n.open())
		}
	})
}

// An address that does not answer TCP gets 5 s, one that does not answer TLS 10 s;
// the next priority waits for that (XEP-0495, section 4.1). What is wrong
// before TLS is wrong with the address, and the next one is tried.
func TestNextTarget(t *testing.T) {
	for behaviour, took := range map[string]time.Duration{
		"": 5 * time.Second, "refuse": 0, "unreachable": 0, "close": 0, "silent": 10 * time.Second,
		"no-tls": 0, "host-unknown": 0, "direct:stranger": 0, "direct:other": 0, "direct:version": 0, "direct:close": 0, "direct:silent": 10 * time.Second,
		"direct:starttls": 10 * time.Second, // ours waits for the end of what it takes for a stream header
	} {
		t.Run(behaviour, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				service, port := "_xmpp-client", "5222"
				behaviour, direct := strings.CutPrefix(behaviour, "direct:")
				if direct {
					service, port = "_xmpps-client", "5223"
				}
				zone := service + "._tcp.example.org. SRV 0 0 " + port + " one.example.org.\none.example.org. A 192.0.2.1\n" +
					"_xmpp-client._tcp.example.org. SRV 1 0 5222 two.example.org.\ntwo.example.org. A 192.0.2.2"
				n := newInternet(t, xmpptest.Config{}, zone, "192.0.2.1:"+port+" "+behaviour+"\n192.0.2.2:5222 starttls")
				s, err := dialWithin(t, 30*time.Second, n.Options)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if want := fmt.Sprintf("0s 192.0.2.1:%s, %s 192.0.2.2:5222", port, took); n.attempts() != want && behaviour != "starttls" || n.Attempts() != 1 || n.open() != 1 {
					t.Errorf("%s; %d logins, %d open", n.attempts(), n.Attempts(), n.open())
				}
			})
		})
	}
}

// An address that is given up as too slow, while there are others, is tried again where
// these are of no use; the last one has all the time.
func TestSlowAddresses(t *testing.T) {
	for name, test := range map[string]struct {
		hosts string
		took  time.Duration
		tried int
	}{
		"the last":      {"[2001:db8::1]:5222 silent\n192.0.2.1:5222 refuse\n192.0.2.2:5222 slow", 22 * time.Second, 3},
		"the first":     {"[2001:db8::1]:5222 slow\n192.0.2.1:5222 refuse\n192.0.2.2:5222 refuse", 22 * time.Second, 4},
		"a black hole":  {"192.0.2.1:5222 slow\n192.0.2.2:5222 refuse", 27*time.Second + 250*time.Millisecond, 5},
		"TCP, the last": {"[2001:db8::1]:5222 refuse\n192.0.2.1:5222 refuse\n192.0.2.2:5222 starttls 12s", 12 * time.Second, 3},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newInternet(t, xmpptest.Config{}, twoHosts, test.hosts)
				s, err := dialWithin(t, 60*time.Second, n.Options)
				if took := time.Since(n.start); err != nil || took != test.took || len(n.addresses()) != test.tried {
					t.Fatalf("%v after %s: %s", err, took, n.attempts())
				}
				s.Close()
				if n.open() != 0 {
					t.Errorf("%d open", n.open())
				}
			})
		})
	}
	bubble(t, func(t *testing.T) { // the error of the deadline has what failed before it
		n := newInternet(t, xmpptest.Config{}, twoHosts, "[2001:db8::1]:5222 refuse\n192.0.2.1:5222 refuse\n192.0.2.2:5222 silent")
		_, err := dialWithin(t, 20*time.Second, n.Options)
		want := "waiting for the answer to STARTTLS with two.example.org:5222 (192.0.2.2): context deadline exceeded"
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || !strings.HasSuffix(err.Error(), want) || !strings.Contains(err.Error(), "one.example.org:5222 (192.0.2.1): connection refused; ") {
			t.Errorf("%v", err)
		}
	})
}

// What fails inside TLS has failed, however many targets are left.
func TestFinal(t *testing.T) {
	for _, fault := range []string{"sasl-failure=not-authorized", "sasl-failure=temporary-auth-failure", "stream-error@challenge=policy-violation",
		"stream-error@success=host-unknown", "wrong-signature", "close@success", "bind-error=not-allowed"} {
		t.Run(fault, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newInternet(t, xmpptest.Config{Faults: []xmpptest.Fault{xmpptest.Fault(fault)}}, twoHosts,
					"[2001:db8::1]:5222 starttls\n192.0.2.1:5222 starttls\n192.0.2.2:5222 starttls")
				if _, err := dialWithin(t, 30*time.Second, n.Options); err == nil {
					t.Fatal("a session")
				}
				if n.attempts() != "0s [2001:db8::1]:5222" || n.Attempts() != 1 || n.open() != 0 {
					t.Errorf("%s; %d logins, %d open", n.attempts(), n.Attempts(), n.open())
				}
			})
		})
	}
}

// If all fail, the error names every attempt, and is the most serious of them.
func TestWorst(t *testing.T) {
	order := []string{"other", "stranger", "version", "refuse", "", "SERVFAIL", "NXDOMAIN"}
	for i, worst := range order {
		for _, other := range order[i+1:] {
			for _, both := range [][2]string{{worst, other}, {other, worst}} {
				if both[1] == "" {
					continue // the last one has all the time: see TestSlowAddresses
				}
				t.Run(strings.Join(both[:], ","), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						zone, hosts := "", ""
						for i, b := range both {
							zone += fmt.Sprintf("_xmpps-client._tcp.example.org. SRV %d 0 5223 h%d.example.org.\n", i, i)
							switch b {
							case "SERVFAIL":
								zone += fmt.Sprintf("h%d.example.org. A SERVFAIL\n", i)
							case "NXDOMAIN":
							default:
								zone += fmt.Sprintf("h%d.example.org. A 192.0.2.%d\n", i, i)
								hosts += fmt.Sprintf("192.0.2.%d:5223 %s\n", i, b)
							}
						}
						n := newInternet(t, xmpptest.Config{}, zone, hosts)
						_, err := dialWithin(t, 30*time.Second, n.Options)
						d, _ := errors.AsType[*xmpp.DialError](err)
						if d == nil || n.open() != 0 {
							t.Fatalf("%v, %d open", err, n.open())
						}
						host := fmt.Sprintf("h%d.example.org:5223", slices.Index(both[:], worst))
						op := map[string]string{"": "connect", "refuse": "connect", "SERVFAIL": "dns", "NXDOMAIN": "dns"}[worst]
						if op == "" {
							op = "tls"
						}
						if d.Op != op || !strings.HasPrefix(d.Addr, host) || (d.Pin != "") != (worst == "other" || worst == "stranger") {
							t.Errorf("%+v of %v", d, err)
						}
						for i, b := range both {
							if !strings.Contains(err.Error(), fmt.Sprintf("h%d.example.org:5223", i)) || !strings.Contains(err.Error(), reasons[b]) {
								t.Errorf("%v does not name %d: %s", err, i, b)
							}
						}
						if errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("%v is the caller's deadline", err)
						}
					})
				})
			}
		}
	}
}

var reasons = map[string]string{
	"other": `is for "other.example"`, "stranger": "not trusted here", "version": "protocol version", "refuse": "connection refused",
	"": "no answer within 5s", "SERVFAIL": "server misbehaving", "NXDOMAIN": "no such host",
}

// The text of such an error, to the letter.
func TestAttemptsError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newInternet(t, xmpptest.Config{}, twoHosts, "[2001:db8::1]:5222 unreachable\n192.0.2.2:5222 refuse")
		_, err := dialWithin(t, 30*time.Second, n.Options)
		want := "connect to one.example.org:5222 (2001:db8::1): network is unreachable; " +
			"connect to one.example.org:5222 (192.0.2.1): no answer within 5s; " +
			"connect to two.example.org:5222 (192.0.2.2): connection refused"
		if err == nil || err.Error() != want {
			t.Errorf("%v", err)
		}
	})
}

// The caller's deadline, at any time, is the error and names what was waited for.
func TestDeadline(t *testing.T) {
	for name, test := range map[string]struct {
		zone, hosts string
		want        string
	}{
		"SRV":       {"_xmpp-client._tcp.example.org. SRV DROP", "", "look up example.org"},
		"addresses": {"_xmpp-client._tcp.example.org. SRV 0 0 5222 one.example.org.\none.example.org. A DROP\none.example.org. AAAA DROP", "", "look up one.example.org:5222"},
		"TCP":       {twoHosts, "", "connect to one.example.org:5222 (2001:db8::1), one.example.org:5222 (192.0.2.1)"},
		"STARTTLS":  {twoHosts, "[2001:db8::1]:5222 silent", "waiting for the answer to STARTTLS with one.example.org:5222 (2001:db8::1)"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newInternet(t, xmpptest.Config{}, test.zone, test.hosts)
				_, err := dialWithin(t, 3*time.Second, n.Options)
				if want := test.want + ": context deadline exceeded"; err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v, want %s", err, want)
				}
				if took := time.Since(n.start); took != 3*time.Second || n.open() != 0 {
					t.Errorf("took %s, %d open", took, n.open())
				}
			})
		})
	}
}

// -v: the steps of the way to TLS.
func TestSteps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := newInternet(t, xmpptest.Config{}, twoHosts+"_xmpps-client._tcp.example.org. SRV DELAY 12ms\none.example.org. AAAA DELAY 7ms", "[2001:db8::1]:5222 refuse\n192.0.2.1:5222 starttls")
		s, err := dialWithin(t, 30*time.Second, n.Options)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		got := strings.Join(n.steps, "\n")
		for _, want := range []string{
			"looked up _xmpp-client._tcp.example.org. in 0s: 2 records",
			"looked up _xmpps-client._tcp.example.org. in 12ms: none",
			"looked up A of one.example.org. in 0s: 1 address",
			"looked up AAAA of one.example.org. in 7ms: 1 address",
			"connect to one.example.org:5222 (2001:db8::1): connection refused",
			"connected to one.example.org:5222 (192.0.2.1) in 0s",
		} {
			if !strings.Contains(got, want+"\n") {
				t.Errorf("%s is not in\n%s", want, got)
			}
		}
	})
}
