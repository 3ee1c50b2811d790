package xmpp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// What DNS is asked for (RFC 6120, section 3.2; XEP-0368): both services of the A-label, rooted, or the one of
// the mode; nothing where a server is named, or the domain is an address or a name of
// the hosts file.
func TestQuestions(t *testing.T) {
	for _, test := range []struct {
		jid, server string
		mode        xmpp.TLSMode
		want        string
		tried       string
		direct      bool
	}{
		{"a@b\u00fccher.example", "", "", "A xn--bcher-kva.example., AAAA xn--bcher-kva.example., SRV _xmpp-client._tcp.xn--bcher-kva.example., SRV _xmpps-client._tcp.xn--bcher-kva.example.", "192.0.2.7:5222", false},
		{"a@b\u00fccher.example", "", xmpp.TLSAuto, "A xn--bcher-kva.example., AAAA xn--bcher-kva.example., SRV _xmpp-client._tcp.xn--bcher-kva.example., SRV _xmpps-client._tcp.xn--bcher-kva.example.", "192.0.2.7:5222", false},
		{"a@b\u00fccher.example", "", xmpp.TLSDirect, "A xn--bcher-kva.example., AAAA xn--bcher-kva.example., SRV _xmpps-client._tcp.xn--bcher-kva.example.", "192.0.2.7:5223", true},
		{"a@b\u00fccher.example", "", xmpp.TLSStartTLS, "A xn--bcher-kva.example., AAAA xn--bcher-kva.example., SRV _xmpp-client._tcp.xn--bcher-kva.example.", "192.0.2.7:5222", false},
		{"a@b\u00fccher.example", "h", "", "", "h:5222", false},
		{"a@192.0.2.1", "", "", "", "192.0.2.1:5222", false},
		{"a@[2001:db8::1]", "", xmpp.TLSDirect, "", "[2001:db8::1]:5223", true},
		{"a@localhost", "", "", "", "localhost:5222", false},
	} {
		bubble(t, func(t *testing.T) {
			d := newNameserver(t, "xn--bcher-kva.example. A 192.0.2.7")
			first, tried := make(chan string, 1), ""
			o := xmpp.Options{JID: mustJID(test.jid), Server: test.server, TLS: test.mode, Pins: []string{""}, Resolver: d.resolver(),
				DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
					if tried != "" {
						return nil, errRefused // once more, to see whether it is for direct TLS
					}
					tried = addr
					there, here := net.Pipe()
					go func() {
						b := make([]byte, 1)
						io.ReadFull(there, b)
						first <- string(b)
						there.Close()
					}()
					return here, nil
				}}
			if _, err := xmpp.Dial(t.Context(), o); err == nil {
				t.Error("a session with nobody")
			}
			if got := strings.Join(d.questions(), ", "); got != test.want {
				t.Errorf("%s: asked %s", test.jid, got)
			}
			if direct := <-first == "\x16"; tried != test.tried || direct != test.direct {
				t.Errorf("%s: %s, direct %v", test.jid, tried, direct)
			}
		})
	}
}

// No question carries a search domain of the network. It runs where it can give
// itself a resolv.conf of its own.
func TestSearchDomains(t *testing.T) {
	if os.Getenv("XMPP_TEST_SEARCH") == "" {
		conf := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(conf, []byte("nameserver 127.0.0.1\nsearch corp.example\noptions ndots:15\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		script := `mount --bind "$0" /etc/resolv.conf && exec "$@"`
		cmd := exec.Command("unshare", "--map-root-user", "--mount", "sh", "-c", script, conf, os.Args[0], "-test.run=^TestSearchDomains$", "-test.v")
		cmd.Env = append(os.Environ(), "XMPP_TEST_SEARCH=1")
		out, err := cmd.CombinedOutput()
		switch {
		case !strings.Contains(string(out), "=== RUN"):
			t.Skipf("no resolv.conf of its own: %v: %s", err, out)
		case err != nil:
			t.Errorf("%s", out)
		}
		return
	}
	for zone, want := range map[string]int{
		"": 4,
		"_xmpp-client._tcp.example.org. SRV 0 0 5222 xmpp.example.org.": 4,
		"_xmpp-client._tcp.example.org. SRV 0 0 5222 .":                 2,
	} {
		d := newNameserver(t, zone)
		o := xmpp.Options{JID: mustJID("a@example.org"), Pins: []string{""}, Resolver: d.resolver()}
		if _, err := xmpp.Dial(t.Context(), o); err == nil {
			t.Error("a session with nobody")
		}
		if asked := d.questions(); len(asked) != want || slices.ContainsFunc(asked, func(s string) bool { return strings.Contains(s, "corp") }) {
			t.Errorf("asked %q", asked)
		}
		o.JID = mustJID("a@dotless")
		xmpp.Dial(t.Context(), o)
		if asked := d.questions(); slices.ContainsFunc(asked, func(s string) bool { return strings.Contains(s, "corp") }) {
			t.Errorf("asked %q", asked)
		}
		o.Resolver.LookupHost(t.Context(), "example.org")
		if asked := d.questions(); !slices.Contains(asked, "A example.org.corp.example.") {
			t.Errorf("there are no search domains here: %q", asked)
		}
	}
}

// Both services are one list (XEP-0368, section 3), by priority; direct TLS comes first where they are
// equal, and repetitions once.
func TestPriorities(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var hosts, zone strings.Builder
		for i := range 9 {
			fmt.Fprintf(&zone, "h%d.example.org. A 192.0.2.%d\n", i, i)
			for port := 5220; port < 5230; port++ {
				fmt.Fprintf(&hosts, "192.0.2.%d:%d refuse\n", i, port)
			}
		}
		zone.WriteString(`
			_xmpps-client._tcp.example.org. SRV 20 0 5223 h1.example.org.
			_xmpps-client._tcp.example.org. SRV 10 0 5223 h2.example.org.
			_xmpps-client._tcp.example.org. SRV 10 0 5223 h2.example.org.
			_xmpps-client._tcp.example.org. SRV 65535 0 5223 h3.example.org.
			_xmpp-client._tcp.example.org. SRV 10 0 5222 h4.example.org.
			_xmpp-client._tcp.example.org. SRV 5 0 5222 h5.example.org.
			_xmpp-client._tcp.example.org. SRV 20 0 5222 h6.example.org.
			_xmpp-client._tcp.example.org. SRV 20 0 5223 h1.example.org.
			_xmpp-client._tcp.example.org. SRV 0 0 5229 h7.example.org.`)
		n := newInternet(t, xmpptest.Config{}, zone.String(), hosts.String())
		dialWithin(t, 30*time.Second, n.Options)
		// The last two of priority 20 are equal.
		got := n.addresses()
		if len(got) == 8 {
			slices.Sort(got[5:7])
		}
		if want := "192.0.2.7:5229 192.0.2.5:5222 192.0.2.2:5223 192.0.2.4:5222 192.0.2.1:5223 192.0.2.1:5223 192.0.2.6:5222 192.0.2.3:5223"; strings.Join(got, " ") != want {
			t.Errorf("%s", got)
		}
	})
}

// What the two services say (RFC 6120, section 3.2.1; XEP-0368, section 5) decides whether there is another way in.
func TestTargets(t *testing.T) {
	const no = "the domain offers no XMPP client service"
	says := map[string]string{
		"none": "", "nodata": "SRV NODATA", "no": "SRV 0 0 0 .", "no, twice": "SRV 0 0 0 .\n%[1]s SRV 1 0 0 .",
		"yes": "SRV 0 0 %[2]s xmpp.example.org.", "no and yes": "SRV 0 0 0 .\n%[1]s SRV 0 0 %[2]s xmpp.example.org.",
		"malformed": "SRV 0 0 %[2]s b@d.example.org.", "malformed and yes": "SRV 0 0 %[2]s b@d.example.org.\n%[1]s SRV 0 0 %[2]s xmpp.example.org.",
		"fails": "SRV SERVFAIL",
	}
	for _, test := range []struct {
		mode        xmpp.TLSMode
		xmpps, xmpp string
		tried       string
		want        string
	}{
		{"", "none", "none", "192.0.2.1:5222", ""},
		{"", "none", "no", "", no},
		{"", "none", "yes", "192.0.2.2:5000", ""},
		{"", "no", "none", "", no}, // XEP-0368, section 5
		{"", "no", "no", "", no},
		{"", "no", "yes", "192.0.2.2:5000", ""},
		{"", "yes", "none", "192.0.2.2:5001", ""},
		{"", "yes", "no", "192.0.2.2:5001", ""},
		{"", "yes", "yes", "192.0.2.2:5001 192.0.2.2:5000", ""},

		{"", "nodata", "nodata", "192.0.2.1:5222", ""},
		{"", "no, twice", "none", "", no},
		{"", "none", "no and yes", "192.0.2.2:5000", ""},
		{"", "malformed and yes", "none", "192.0.2.2:5001", ""},
		{"", "malformed", "none", "", "look up _xmpps-client._tcp.example.org: DNS response contained records which contain invalid names"},
		{"", "malformed", "yes", "192.0.2.2:5000", ""},

		{"", "fails", "fails", "192.0.2.1:5222", "server misbehaving"},
		{"", "fails", "none", "192.0.2.1:5222", "server misbehaving"},
		{"", "fails", "yes", "192.0.2.2:5000", "look up _xmpps-client._tcp.example.org: server misbehaving"},
		{"", "yes", "fails", "192.0.2.2:5001", "look up _xmpp-client._tcp.example.org: server misbehaving"},
		{"", "fails", "no", "", "look up _xmpps-client._tcp.example.org: server misbehaving"},
		{"", "no", "fails", "", "look up _xmpp-client._tcp.example.org: server misbehaving"},

		{xmpp.TLSDirect, "none", "yes", "192.0.2.1:5223", ""},
		{xmpp.TLSDirect, "no", "yes", "", no + " by direct TLS"},
		{xmpp.TLSDirect, "yes", "yes", "192.0.2.2:5001", ""},
		{xmpp.TLSStartTLS, "yes", "none", "192.0.2.1:5222", ""},
		{xmpp.TLSStartTLS, "yes", "no", "", no + " by STARTTLS"},
		{xmpp.TLSStartTLS, "yes", "yes", "192.0.2.2:5000", ""},
	} {
		t.Run(string(test.mode)+test.xmpps+","+test.xmpp, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				zone := "example.org. A 192.0.2.1\nxmpp.example.org. A 192.0.2.2\n"
				for service, answer := range map[[2]string]string{{"_xmpps-client._tcp.example.org.", "5001"}: test.xmpps, {"_xmpp-client._tcp.example.org.", "5000"}: test.xmpp} {
					if text := says[answer]; text != "" {
						zone += service[0] + " " + strings.NewReplacer("%[1]s", service[0], "%[2]s", service[1]).Replace(text) + "\n"
					}
				}
				n := newInternet(t, xmpptest.Config{}, zone, "192.0.2.1:5222 refuse\n192.0.2.1:5223 refuse\n192.0.2.2:5000 refuse\n192.0.2.2:5001 refuse")
				n.TLS = test.mode
				_, err := dialWithin(t, 30*time.Second, n.Options)
				if got := strings.Join(n.addresses(), " "); got != test.tried {
					t.Errorf("tried %s: %v", got, err)
				}
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %s", err, test.want)
				}
				if test.tried == "" && notFound(err) != strings.HasPrefix(test.want, no) {
					t.Errorf("%v: not found %v", err, notFound(err))
				}
				if took := time.Since(n.start); took != 0 {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

func notFound(err error) bool {
	d, ok := errors.AsType[*xmpp.DialError](err)
	dns, of := errors.AsType[*net.DNSError](err)
	return ok && of && d.Op == "dns" && dns.IsNotFound
}

// With a target of one service, the other one gets 200 ms more. Without one it
// gets its time: it may have some.
func TestLateService(t *testing.T) {
	const xmpp, xmpps = "_xmpp-client._tcp.example.org.", "_xmpps-client._tcp.example.org."
	for name, test := range map[string]struct {
		zone  string
		tried string
	}{
		"xmpps is dropped":       {xmpps + " SRV DROP\n" + xmpp + " SRV 0 0 5222 example.org.", "200ms 192.0.2.1:5222"},
		"xmpp is dropped":        {xmpp + " SRV DROP\n" + xmpps + " SRV 0 0 5223 example.org.", "200ms 192.0.2.1:5223"},
		"both are slow":          {xmpps + " SRV DROP\n" + xmpp + " SRV 0 0 5222 example.org.\n" + xmpp + " SRV DELAY 1s", "1.2s 192.0.2.1:5222"},
		"xmpps is late":          {xmpps + " SRV 0 0 5223 example.org.\n" + xmpps + " SRV DELAY 201ms\n" + xmpp + " SRV 0 0 5222 example.org.", "200ms 192.0.2.1:5222"},
		"xmpps is just in time":  {xmpps + " SRV 0 0 5223 example.org.\n" + xmpps + " SRV DELAY 199ms\n" + xmpp + " SRV 0 0 5222 example.org.", "199ms 192.0.2.1:5223"},
		"xmpps fails":            {xmpps + " SRV SERVFAIL\n" + xmpp + " SRV 0 0 5222 example.org.", "0s 192.0.2.1:5222"},
		"xmpps fails late":       {xmpps + " SRV SERVFAIL\n" + xmpps + " SRV DELAY 1s\n" + xmpp + " SRV 0 0 5222 example.org.", "200ms 192.0.2.1:5222"},
		"only xmpp, and is late": {xmpp + " SRV 0 0 5222 example.org.\n" + xmpp + " SRV DELAY 1s", "1s 192.0.2.1:5222"},
		"none, and dropped":      {xmpp + " SRV DROP", "10s 192.0.2.1:5222"},
		"both are dropped":       {xmpp + " SRV DROP\n" + xmpps + " SRV DROP", "10s 192.0.2.1:5222"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newInternet(t, xmpptest.Config{}, test.zone+"\nexample.org. A 192.0.2.1", "192.0.2.1:5222 starttls\n192.0.2.1:5223 direct")
				s, err := dialWithin(t, 30*time.Second, n.Options)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if n.attempts() != test.tried {
					t.Errorf("%s, want %s", n.attempts(), test.tried)
				}
			})
		})
	}
}

// Why there is no address, and whether DNS says so or could not be asked.
func TestLookupFails(t *testing.T) {
	const host, srv = "example.org", "_xmpp-client._tcp.example.org. SRV 0 0 5222 example.org.\n"
	refused := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "udp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}}
	for name, test := range map[string]struct {
		zone     string
		resolver *net.Resolver
		want     string // in the error
		no       bool   // DNS says no
		took     time.Duration
	}{
		"NXDOMAIN":          {"", nil, "look up example.org:5222: no such host", true, 0},
		"no data":           {"example.org. A NODATA\nexample.org. AAAA NODATA", nil, "look up example.org:5222: no such host", true, 0},
		"target NXDOMAIN":   {srv, nil, "look up example.org:5222: no such host", true, 0},
		"SERVFAIL":          {srv + "example.org. A SERVFAIL\nexample.org. AAAA SERVFAIL", nil, "look up example.org:5222: server misbehaving (asked ", false, 0},
		"SERVFAIL, no data": {srv + "example.org. A SERVFAIL", nil, "look up example.org:5222: server misbehaving (asked ", false, 0},
		"refused":           {srv + "example.org. A REFUSED", nil, "look up example.org:5222: server misbehaving (asked ", false, 0},
		"no answer":         {srv + "example.org. A DROP\nexample.org. AAAA DROP", nil, "look up example.org:5222: no answer from DNS", false, 10 * time.Second},
		"SRV SERVFAIL": {"_xmpp-client._tcp.example.org. SRV SERVFAIL", nil,
			"look up _xmpp-client._tcp.example.org: server misbehaving (asked ", false, 0},
		"no resolver": {"", refused, "connection refused (asked ", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				n := newInternet(t, xmpptest.Config{}, test.zone, "")
				if test.resolver != nil {
					n.Resolver = &net.Resolver{PreferGo: true, Dial: test.resolver.Dial}
				}
				_, err := dialWithin(t, 30*time.Second, n.Options)
				d, _ := errors.AsType[*xmpp.DialError](err)
				if d == nil || d.Op != "dns" || !strings.Contains(d.Addr, host) || notFound(err) != test.no || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v (%+v), want %s", err, d, test.want)
				}
				if errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v is the caller's deadline", err)
				}
				if took := time.Since(n.start); took != test.took {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

// A thousand records, or addresses, are no reason to stall: the best 32 are tried.
func TestThousandRecords(t *testing.T) {
	for name, line := range map[string]string{
		"targets":    "_xmpp-client._tcp.example.org. SRV 7 %[1]d 5222 h%[1]d.example.org.\nh%[1]d.example.org. A 192.0.2.1\n",
		"priorities": "_xmpp-client._tcp.example.org. SRV %[1]d 0 5222 h%[1]d.example.org.\nh%[1]d.example.org. A 192.0.2.1\n",
		"repeated":   "_xmpp-client._tcp.example.org. SRV 0 0 5222 h0.example.org.\nh0.example.org. A 192.0.2.%[2]d\n",
		"no address": "_xmpp-client._tcp.example.org. SRV %[1]d 0 5222 h%[1]d.example.org.\n",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var zone, hosts strings.Builder
				for i := range 1000 {
					zone.WriteString(strings.NewReplacer("%[1]d", fmt.Sprint(i), "%[2]d", fmt.Sprint(i%256)).Replace(line))
					fmt.Fprintf(&hosts, "192.0.2.%d:5222 refuse 10ms\n", i%256)
				}
				n := newInternet(t, xmpptest.Config{}, zone.String(), hosts.String())
				_, err := dialWithin(t, 30*time.Second, n.Options)
				want := 32
				if name == "no address" {
					want = 0
				}
				took := time.Since(n.start)
				if len(n.tried) != want || took != time.Duration(want)*10*time.Millisecond || len(n.dns.questions()) > 2+2*32 {
					t.Errorf("tried %d in %s, %d questions", len(n.tried), took, len(n.dns.questions()))
				}
				if named := strings.Count(fmt.Sprint(err), "example.org:5222"); named != 32 {
					t.Errorf("%d are named: %v", named, err)
				}
			})
		})
	}
}

// loopback makes the server listen on an address, and returns the ports for STARTTLS
// and direct TLS.
func loopback(t testing.TB, s *xmpptest.Server, host string) (starttls, direct string) {
	t.Helper()
	var ports [2]string
	for i := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { l.Close() })
		_, ports[i], _ = net.SplitHostPort(l.Addr().String())
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go s.ServeConn(c, i == 1)
			}
		}()
	}
	return ports[0], ports[1]
}

// A login with nothing but a JID and a password, over UDP, TCP, IPv4 and
// IPv6 as they are; with a truncated answer, and beside a black hole.
func TestLoginByDNS(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		for name, test := range map[string]struct {
			mode xmpp.TLSMode
			more string // of the zone
			tcp  int    // DNS connections over TCP
		}{
			"direct TLS":   {"", "", 0},
			"STARTTLS":     {xmpp.TLSStartTLS, "", 0},
			"1000 records": {"", "%s SRV 9 0 1 h%d.example.org.\n", 1},
			"a black hole": {"", "xmpp.example.org. AAAA 100::1\n", 0},
		} {
			t.Run(host+" "+name, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{Domain: "example.org"})
				starttls, direct := loopback(t, w.Server, host)
				record := "A"
				if host == "::1" {
					record = "AAAA"
				}
				zone := fmt.Sprintf("_xmpp-client._tcp.example.org. SRV 0 0 %s xmpp.example.org.\n_xmpps-client._tcp.example.org. SRV 0 0 %s xmpp.example.org.\nxmpp.example.org. %s %s\n", starttls, direct, record, host)
				if test.tcp > 0 {
					for i := range 1000 {
						zone += fmt.Sprintf(test.more, "_xmpp-client._tcp.example.org.", i)
					}
				} else {
					zone += test.more
				}
				o := w.Options
				var used func() map[string]int
				o.Server, o.TLS = "", test.mode
				o.Resolver, used = newNameserver(t, zone).listen()
				o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if strings.HasPrefix(addr, "[100::1]") {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return new(net.Dialer).DialContext(ctx, network, addr)
				}
				started := time.Now()
				s, err := dialWithin(t, 30*time.Second, o)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("DNS to bound in %s", time.Since(started))
				s.Close()
				if counts := used(); counts["tcp"] != test.tcp || counts["udp"] == 0 {
					t.Errorf("DNS over %v", counts)
				}
			})
		}
	}
}

// HOST[:PORT], with IPv6.
func TestSplitServer(t *testing.T) {
	for in, want := range map[string][2]string{
		"example.org":              {"example.org", ""},
		"example.org:5222":         {"example.org", "5222"},
		"127.0.0.1":                {"127.0.0.1", ""},
		"127.0.0.1:443":            {"127.0.0.1", "443"},
		"::1":                      {"::1", ""},
		"[::1]":                    {"::1", ""},
		"[::1]:5223":               {"::1", "5223"},
		"[fe80::1%eth0]:1":         {"fe80::1%eth0", "1"},
		"2001:db8::5222":           {"2001:db8::5222", ""},
		"b\u00fccher.example":      {"xn--bcher-kva.example", ""},
		"B\u00dcCHER.example:1":    {"xn--bcher-kva.example", "1"},
		"b\u00fccher\u3002example": {"xn--bcher-kva.example", ""},
		"EXAMPLE.org":              {"EXAMPLE.org", ""},
		"x:65535":                  {"x", "65535"},
	} {
		host, port, err := xmpp.SplitServer(in)
		if err != nil || host != want[0] || port != want[1] {
			t.Errorf("%s: %q %q %v", in, host, port, err)
		}
	}
	for _, in := range []string{"", ".", "..:1", ":", ":5222", "x:", "x:0", "x:65536", "x:-1", "x:+1", "x:http", "x:1:2", "[::1", "::1]", "[::1]5222", "[]:1", "a b", "a/b", "a@b", "a\n", "[::1]:0", "\u00fc..example", "a\u2044\u00fc", "\u00fc\xff"} {
		if host, port, err := xmpp.SplitServer(in); err == nil {
			t.Errorf("%s: %q %q", in, host, port)
		}
	}
}
