package xmpp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/sasl"
	"xmppkit/xmpp/xmpptest"
)

var errRefused = errors.New("refused here")

// Where to connect to, and how TLS begins there. The port alone decides where the
// mode is auto.
func TestEndpoint(t *testing.T) {
	for _, test := range []struct {
		jid, server string
		mode        xmpp.TLSMode
		addr        string
		direct      bool
	}{
		{"a@[::1]", "", "", "[::1]:5222", false},
		{"a@example.org", "h", "", "h:5222", false},
		{"a@example.org", "h", xmpp.TLSDirect, "h:5223", true},
		{"a@example.org", "h:5223", xmpp.TLSAuto, "h:5223", true},
		{"a@example.org", "h:443", "", "h:443", true},
		{"a@example.org", "h:5224", xmpp.TLSAuto, "h:5224", false},
		{"a@example.org", "h:5224", xmpp.TLSDirect, "h:5224", true},
		{"a@example.org", "h:443", xmpp.TLSStartTLS, "h:443", false},
		{"a@example.org", "::1", "", "[::1]:5222", false},
		{"a@example.org", "[::1]:443", "", "[::1]:443", true},
	} {
		first := make(chan string, 1)
		var got string
		o := xmpp.Options{JID: mustJID(test.jid), Server: test.server, TLS: test.mode, RootCAs: x509.NewCertPool(),
			DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
				if got != "" {
					return nil, errRefused // once more, to see whether it is for direct TLS
				}
				got = addr
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
		if direct := <-first == "\x16"; got != test.addr || direct != test.direct {
			t.Errorf("%+v: %s, direct %v", test, got, direct)
		}
	}
	o := xmpp.Options{JID: mustJID("a@b"), Server: "x:y", DialContext: func(context.Context, string, string) (net.Conn, error) {
		t.Error("connected")
		return nil, errRefused
	}}
	if _, err := xmpp.Dial(t.Context(), o); err == nil {
		t.Error("a malformed server")
	}
}

// The errors of a connection that does not come about, and its budget.
func TestConnectFails(t *testing.T) {
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	fail := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	for name, test := range map[string]struct {
		dial    func(context.Context, string, string) (net.Conn, error)
		timeout time.Duration
		took    time.Duration
		op      string // of a DialError
		want    string
	}{
		"refused": {fail(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), 30 * time.Second, 0, "connect", "connect to h:5222: connection refused"},
		"no host": {fail(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}}), 30 * time.Second, 0, "dns", "look up h:5222: no such host"},
		"hangs":   {hang, 30 * time.Second, 30 * time.Second, "", "connect to h:5222: context deadline exceeded"},
		"DNS hangs": {func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{UnwrapErr: context.DeadlineExceeded, Err: "i/o timeout", Name: "h", IsTimeout: true}}
		}, 30 * time.Second, 30 * time.Second, "", "connect to h:5222: context deadline exceeded"},
		"hangs beyond the deadline": {hang, 3 * time.Second, 3 * time.Second, "", "connect to h:5222: context deadline exceeded"},
		"its clock is ahead": {func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(2*time.Second - 1)
			return nil, &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
		}, 2 * time.Second, 2 * time.Second, "", "connect to h:5222: context deadline exceeded"},
		"the connection has the deadline": {func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(2*time.Second - 1)
			return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
		}, 2 * time.Second, 2 * time.Second, "", "connect to h:5222: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()
				started := time.Now()
				_, err := xmpp.Dial(ctx, xmpp.Options{JID: mustJID("a@b"), Server: "h", RootCAs: x509.NewCertPool(), DialContext: test.dial})
				var d *xmpp.DialError
				switch {
				case err == nil || err.Error() != test.want:
					t.Errorf("got %v, want %s", err, test.want)
				case errors.As(err, &d) != (test.op != "") || d != nil && d.Op != test.op:
					t.Errorf("%#v", err)
				case (d == nil) != errors.Is(err, context.DeadlineExceeded):
					t.Errorf("%v: only the caller's deadline is one", err)
				case time.Since(started) != test.took:
					t.Errorf("took %s, want %s", time.Since(started), test.took)
				}
			})
		})
	}
}

// A login that was refused is not tried again, at this server or another.
func TestOneAttempt(t *testing.T) {
	for _, mode := range []string{"5222", "5223"} {
		for _, failure := range []string{"", "sasl-failure=temporary-auth-failure", "sasl-failure=account-disabled", "stream-error@success=host-unknown",
			"stream-error@challenge=policy-violation", "bind-error=not-allowed", "sasl-failure=not-authorized", "wrong-signature", "close@success", "stream-error@restart=not-authorized",
			"stream-error@secure-header=see-other-host:127.0.0.1:99999", "stream-error@success=see-other-host:a b"} {
			t.Run(mode+failure, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					var c xmpptest.Config
					if failure != "" {
						c.Faults = []xmpptest.Fault{xmpptest.Fault(failure)}
					}
					w := newWorld(t, c)
					o := w.Options
					o.Server = "server.example:" + mode
					if failure == "" {
						o.Password = "wrong"
					}
					if _, err := xmpp.Dial(t.Context(), o); err == nil {
						t.Fatal("a session")
					}
					attempts := 1
					if strings.Contains(failure, "secure-header") {
						attempts = 0
					}
					if w.Attempts() != attempts || w.connections() != 1 {
						t.Errorf("%d attempts on %d connections", w.Attempts(), w.connections())
					}
				})
			})
		}
	}
}

// A server can redirect (RFC 6120, section 4.9.3.19), inside TLS and twice. The certificate is still to
// be that of the domain, and what comes before TLS is not from the server.
func TestSeeOtherHost(t *testing.T) {
	for name, test := range map[string]struct {
		faults []xmpptest.Fault
		dialed []string
		err    string // "" is a session
	}{
		"once":       {[]xmpptest.Fault{"stream-error@secure-header=see-other-host:[::1]:5223", "first=1"}, []string{"server.example:5223", "[::1]:5223"}, ""},
		"its port":   {[]xmpptest.Fault{"stream-error@success=see-other-host:other.example", "first=1"}, []string{"server.example:5223", "other.example:5222"}, ""},
		"twice":      {[]xmpptest.Fault{"stream-error@restart=see-other-host:127.0.0.1:5222", "first=2"}, []string{"server.example:5223", "127.0.0.1:5222", "127.0.0.1:5222"}, ""},
		"for ever":   {[]xmpptest.Fault{"stream-error@bind=see-other-host:127.0.0.1:5223"}, []string{"server.example:5223", "127.0.0.1:5223", "127.0.0.1:5223"}, "stream error see-other-host (127.0.0.1:5223)"},
		"before TLS": {[]xmpptest.Fault{"stream-error@header=see-other-host:127.0.0.1:5223"}, []string{"server.example:5222"}, "stream error see-other-host (127.0.0.1:5223)"},
		"no host":    {[]xmpptest.Fault{"stream-error@restart=see-other-host:a b"}, []string{"server.example:5223"}, "stream error see-other-host (a b)"},
		"impostor":   {[]xmpptest.Fault{"stream-error@secure-header=see-other-host:127.0.0.1:5223", "wrong-cert"}, []string{"server.example:5223"}, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, xmpptest.Config{Faults: test.faults})
				o := w.Options
				o.Server = test.dialed[0]
				var dialed []string
				o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					dialed = append(dialed, addr)
					return w.dial(ctx, network, addr)
				}
				s, err := xmpp.Dial(t.Context(), o)
				if err == nil {
					s.Close()
				}
				if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
					t.Errorf("%v", err)
				}
				if !slices.Equal(dialed, test.dialed) {
					t.Errorf("dialed %q", dialed)
				}
			})
		})
	}
}

// A secret, and whatever holds one, does not show it.
func TestSecret(t *testing.T) {
	const canary = "hunter2"
	check := func(t *testing.T, x any) {
		t.Helper()
		for _, verb := range "vsqxXdTbcoUeEfFgGt" { // not %p and %w, which no type can help and vet refuses
			for _, flag := range []string{"", "+", "#", "-20", "020", " ", ".3"} {
				got := fmt.Sprintf("%"+flag+string(verb), x)
				for _, leak := range []string{canary, hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary))), "hun", "104 117", "0x68, 0x75", "U+0068"} {
					if strings.Contains(got, leak) {
						t.Errorf("%%%s%c of %T shows %s", flag, verb, x, leak)
					}
				}
			}
		}
		for _, got := range []string{fmt.Sprint(x), fmt.Sprintln(x)} {
			if strings.Contains(got, canary) {
				t.Errorf("fmt.Print of %T shows it", x)
			}
		}
		if b, _ := json.Marshal(x); strings.Contains(string(b), canary) {
			t.Errorf("JSON of %T: %s", x, b)
		}
	}
	secret := xmpp.Secret(canary)
	check(t, secret)
	check(t, &secret)
	check(t, []xmpp.Secret{secret})
	check(t, map[string]xmpp.Secret{"password": secret})
	check(t, struct{ O xmpp.Options }{xmpp.Options{Password: secret}})
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Accounts: map[string]string{"romeo": canary}})
		o := w.Options
		o.Password = secret
		s := w.login(t, o)
		s.Close()
		synctest.Wait()
		if got := fmt.Sprintf("%+v", s); strings.Contains(got, canary) {
			t.Error("a session shows it")
		}
	})
	bubble(t, func(t *testing.T) { // nor does an error
		w := newWorld(t, xmpptest.Config{Accounts: map[string]string{"romeo": "other"}})
		o := w.Options
		o.Password = secret
		_, err := xmpp.Dial(t.Context(), o)
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), canary) {
			t.Error("an error shows it")
		}
		o.Password = canary + "\x07"
		_, err = xmpp.Dial(t.Context(), o)
		if !errors.Is(err, sasl.ErrPassword) || strings.Contains(fmt.Sprintf("%v %+v", err, err), canary) {
			t.Errorf("%v", err)
		}
	})
}

// A server as ejabberd 23.01 offers -PLUS on TLS 1.3 without naming its types, and
// accepts tls-unique only: one reconnection on TLS 1.2, which is remembered.
func TestLegacyBinding(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Legacy: true})
		o := w.Options
		o.Memory = new(xmpp.Memory)
		var steps []string
		o.Trace = func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }
		w.login(t, o)
		if w.Attempts() != 2 || w.connections() != 2 || *o.Memory != (xmpp.Memory{NoPlain: true, TLSUnique: true}) {
			t.Errorf("%d attempts, %d connections, %+v", w.Attempts(), w.connections(), *o.Memory)
		}
		if log := strings.Join(steps, "\n"); !strings.Contains(log, "logged in by SCRAM-SHA-1-PLUS (tls-unique)") {
			t.Error(log)
		}
		w.login(t, o)
		if w.Attempts() != 3 || w.connections() != 3 || !o.Memory.TLSUnique {
			t.Errorf("the next login: %d attempts, %d connections", w.Attempts(), w.connections())
		}
		o.Password = "wrong"
		var a *xmpp.AuthError
		if _, err := xmpp.Dial(t.Context(), o); !errors.As(err, &a) || a.Condition != xmpp.NotAuthorized || w.Attempts() != 4 {
			t.Errorf("wrong password: %v, %d attempts", err, w.Attempts())
		}
	})
	// A wrong password is refused for the binding first. Two attempts, and no third.
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Legacy: true})
		o := w.Options
		o.Password, o.Memory = "wrong", new(xmpp.Memory)
		var a *xmpp.AuthError
		if _, err := xmpp.Dial(t.Context(), o); !errors.As(err, &a) || a.Condition != xmpp.NotAuthorized || w.Attempts() != 2 || *o.Memory != (xmpp.Memory{}) {
			t.Errorf("%v, %d attempts, %+v", err, w.Attempts(), *o.Memory)
		}
	})
	// A refusal that is about the password is not about the binding.
	for text, want := range map[string]int{"": 2, "Invalid channel binding": 2, "Invalid username or password": 1} {
		bubble(t, func(t *testing.T) {
			attempts := 0
			o := scripted(t, func(p *peer) {
				p.handshake()
				p.open()
				p.write(streamTag + "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1-PLUS</mechanism></mechanisms></stream:features>")
				if p.next() != nil {
					attempts++
				}
				p.write("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text>" + text + "</text></failure>")
				p.next()
			})
			if _, err := xmpp.Dial(t.Context(), o); err == nil {
				t.Fatal("a session")
			}
			if synctest.Wait(); attempts != want {
				t.Errorf("%q: %d attempts, want %d", text, attempts, want)
			}
		})
	}
	// The server has been updated since: TLS 1.3 again, without a failed login.
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{})
		o := w.Options
		o.Memory = &xmpp.Memory{TLSUnique: true}
		w.login(t, o)
		if w.Attempts() != 1 || w.connections() != 1 || o.Memory.TLSUnique {
			t.Errorf("%d attempts, %d connections, %+v", w.Attempts(), w.connections(), *o.Memory)
		}
	})
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{MinTLS: tls.VersionTLS13})
		o := w.Options
		o.Memory = &xmpp.Memory{TLSUnique: true}
		w.login(t, o)
		if w.Attempts() != 1 || w.connections() != 2 || o.Memory.TLSUnique {
			t.Errorf("%d attempts, %d connections, %+v", w.Attempts(), w.connections(), *o.Memory)
		}
	})
}

// What is remembered does not multiply attempts. A connection that is lost in the TLS
// handshake may be one that wants TLS 1.3; one that is lost later has cost an attempt.
func TestLegacyLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, xmpptest.Config{Legacy: true, Faults: []xmpptest.Fault{"close@success"}})
		o := w.Options
		o.Memory = &xmpp.Memory{TLSUnique: true}
		if _, err := xmpp.Dial(t.Context(), o); !errors.Is(err, xmpp.ErrLost) || w.Attempts() != 1 || w.connections() != 1 {
			t.Errorf("%v, %d attempts on %d connections", err, w.Attempts(), w.connections())
		}
	})
	for name, first := range map[string]func(p *peer){
		"closes":    func(p *peer) { p.conn.Read(make([]byte, 1000)) },
		"is silent": func(p *peer) { io.Copy(io.Discard, p.conn) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var connections atomic.Int32
				o := scripted(t, func(p *peer) {
					if connections.Add(1) == 1 {
						first(p)
						return
					}
					p.bind(p.authenticate(""), "romeo@localhost/r")
					p.next()
				})
				o.Memory = &xmpp.Memory{TLSUnique: true}
				s, err := xmpp.Dial(t.Context(), o)
				if err != nil || o.Memory.TLSUnique || connections.Load() != 2 {
					t.Fatalf("%v on %d connections, %+v", err, connections.Load(), *o.Memory)
				}
				s.Close()
			})
		})
	}
}

// between puts somebody with a certificate that the client trusts between it and the
// server, who changes what the server says.
func between(w *world, change func(string) string) xmpp.Options {
	ca, cert := handmade()
	roots := ca.Pool()
	roots.AppendCertsFromPEM(w.CA())
	o := w.Options
	o.RootCAs = roots
	o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		server, _ := w.dial(ctx, network, addr)
		there, here := newLink(0)
		go func() {
			out := tls.Client(server, &tls.Config{InsecureSkipVerify: true})
			in := tls.Server(there, &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true})
			go func() {
				io.Copy(out, in)
				server.Close()
			}()
			b := make([]byte, 64<<10)
			for {
				n, err := out.Read(b)
				if n > 0 {
					_, err = io.WriteString(in, change(string(b[:n])))
				}
				if err != nil {
					there.Close()
					return
				}
			}
		}()
		return here, nil
	}
	return o
}

// Somebody in between (XEP-0474) whom the client's roots vouch for gets no login,
// whatever he takes out of the server's offer.
func TestManInTheMiddle(t *testing.T) {
	cut := func(s, from, to string) string {
		head, rest, ok := strings.Cut(s, from)
		_, tail, ok2 := strings.Cut(rest, to)
		if !ok || !ok2 {
			return s
		}
		return head + tail
	}
	types := func(s string) string { return cut(s, "<sasl-channel-binding", "</sasl-channel-binding>") }
	plus := func(s string) string {
		for _, m := range []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"} {
			s = strings.Replace(s, "<mechanism>"+m+"</mechanism>", "", 1)
		}
		return s
	}
	for name, test := range map[string]struct {
		change   func(string) string
		attempts int
	}{
		"nothing":        {func(s string) string { return s }, 1},
		"types":          {types, 2},
		"plus":           {plus, 0},
		"plus and types": {func(s string) string { return plus(types(s)) }, 1},
		"all but PLAIN": {func(s string) string {
			if head, _, ok := strings.Cut(types(s), "<mechanism>"); ok {
				return head + "<mechanism>PLAIN</mechanism></mechanisms></stream:features>"
			}
			return s
		}, 0},
		"all but endpoint": {func(s string) string {
			s = strings.Replace(s, "tls-exporter", "x", 1)
			return strings.Replace(s, "tls-unique", "x", 1)
		}, 1},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t, xmpptest.Config{MaxTLS: version})
					o := between(w, test.change)
					o.Memory = new(xmpp.Memory)
					if _, err := xmpp.Dial(t.Context(), o); err == nil {
						t.Fatal("logged in")
					}
					if w.Attempts() > test.attempts || *o.Memory != (xmpp.Memory{}) {
						t.Errorf("%d attempts, %+v", w.Attempts(), *o.Memory)
					}
					w.mu.Lock()
					defer w.mu.Unlock()
					if all := strings.Join(w.sent, ""); strings.Contains(all, "<success") {
						t.Error("the server accepted it")
					}
				})
			})
		}
	}
	bubble(t, func(t *testing.T) { // the one in between is one that works
		w := newWorld(t, xmpptest.Config{Mechanisms: []string{"SCRAM-SHA-256"}})
		o := between(w, func(s string) string { return s })
		w.login(t, o)
	})
}
