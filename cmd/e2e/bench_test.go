package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// The benchmarks run the whole program, as a script does:
//
//	go test -run '^$' -bench . -benchtime 10x ./cmd/e2e

// access is the way to a server.
type access struct {
	server, direct string
	ca             string   // a file
	environ        []string // with which xmppkit finds it
}

// startServer starts an embedded server for a test.
func startServer(t testing.TB, c xmpptest.Config) (*xmpptest.Server, access) {
	t.Helper()
	server, err := xmpptest.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	dir := t.TempDir()
	environ, err := server.Environ(dir)
	if err != nil {
		t.Fatal(err)
	}
	return server, access{server.Addr(), server.DirectAddr(), filepath.Join(dir, "ca.pem"), environ}
}

// access is the way to a real server, with a directory for state.
func (s *realServer) access(state string) access {
	environ := []string{"XMPP_SERVER=" + s.starttls, "XMPP_CA_FILE=" + s.caFile, "XMPP_STATE_DIR=" + state}
	return access{s.starttls, s.direct, s.caFile, environ}
}

// command is one of romeo, or of the account that its arguments name.
func (a access) command(args ...string) *exec.Cmd {
	c := exec.Command("xmppkit", args...)
	jid := "XMPP_JID=romeo@localhost"
	if slices.Contains(args, "-j") { // of another account the environment would not count
		jid = "XMPP_JID="
	}
	c.Env = append(append(os.Environ(), jid, "XMPP_PASSWORD="+scriptPassword, "XMPP_CONFIG="+os.DevNull), a.environ...)
	c.Stderr = os.Stderr
	return c
}

func benchEmbedded(b *testing.B, faults ...xmpptest.Fault) access {
	_, a := startServer(b, xmpptest.Config{Accounts: map[string]string{"romeo": scriptPassword, "juliet": scriptPassword}, Faults: faults})
	return a
}

func benchReal(b *testing.B, start func(string) (*realServer, func(), error)) access {
	server, stop, err := start(b.TempDir())
	if errors.Is(err, errNotInstalled) {
		b.Skip(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(stop)
	for _, user := range []string{"romeo", "juliet"} {
		if err := server.register(user, scriptPassword); err != nil {
			b.Fatal(err)
		}
	}
	return server.access(b.TempDir())
}

// usage adds up what processes took.
type usage struct {
	cpu time.Duration
	rss int64 // KiB, the most of any
}

// run starts a process, calls meanwhile, and waits for the end.
func (u *usage) run(c *exec.Cmd, meanwhile func()) error {
	if err := c.Start(); err != nil {
		return err
	}
	ended, sampled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sampled)
		u.sample(c.Process.Pid, ended)
	}()
	meanwhile()
	err := c.Wait()
	close(ended)
	<-sampled
	u.cpu += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	return err
}

// sample watches the peak of the resident set, where /proc tells it. The resource
// usage of a process that has ended tells no less than what its parent had.
func (u *usage) sample(pid int, ended <-chan struct{}) {
	for {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if _, peak, ok := bytes.Cut(status, []byte("VmHWM:")); ok {
			var kib int64
			fmt.Sscan(string(peak), &kib)
			u.rss = max(u.rss, kib)
		}
		select {
		case <-ended:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func (u *usage) report(b *testing.B, per int, unit string) {
	b.ReportMetric(float64(u.cpu.Microseconds())/float64(per), unit)
	b.ReportMetric(float64(u.rss)/1024, "MB-rss")
}

func BenchmarkStart(b *testing.B) {
	for _, args := range [][]string{{"true"}, {"xmppkit", "--help"}} {
		b.Run(args[0], func(b *testing.B) {
			for b.Loop() {
				if err := exec.Command(args[0], args[1:]...).Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchTargets() map[string]func(*testing.B) access {
	return map[string]func(*testing.B) access{
		"embedded": func(b *testing.B) access { return benchEmbedded(b) },
		"prosody":  func(b *testing.B) access { return benchReal(b, startProsody) },
		"ejabberd": func(b *testing.B) access { return benchReal(b, startEjabberd) },
	}
}

func BenchmarkSend(b *testing.B) {
	for name, account := range benchTargets() {
		b.Run(name, func(b *testing.B) {
			a := account(b)
			var u usage
			for b.Loop() {
				c := a.command("send", "-m", "hello", "juliet@localhost")
				if err := u.run(c, func() {}); err != nil {
					b.Fatal(err)
				}
			}
			u.report(b, b.N, "µs-cpu/op")
		})
	}
}

const linkRTT = 100 * time.Millisecond

// BenchmarkLink sends over a link whose round trip takes 100 ms, and reports how
// many of them a confirmed send takes, TCP and TLS included.
func BenchmarkLink(b *testing.B) {
	a := benchEmbedded(b)
	for name, server := range map[string]string{"starttls": a.server, "direct": a.direct} {
		b.Run(name, func(b *testing.B) {
			link := startLink(b, server, linkRTT)
			send := func(server string) time.Duration {
				started := time.Now()
				c := a.command("send", "--server", server, "--tls", name, "-m", "hello", "juliet@localhost")
				if err := c.Run(); err != nil {
					b.Fatal(err)
				}
				return time.Since(started)
			}
			var waited time.Duration
			for b.Loop() {
				// The proxy is on the loopback interface, so the round trip of a new
				// TCP connection does not show.
				waited += linkRTT + send(link) - send(server)
			}
			b.ReportMetric(float64(waited)/float64(b.N)/float64(linkRTT), "roundtrips/op")
		})
	}
}

// startLink returns the address of a proxy that delays all bytes, both ways, by half
// a round trip, without limiting how many are on their way.
func startLink(b *testing.B, server string, rtt time.Duration) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			go delay(upstream, client, rtt/2)
			go delay(client, upstream, rtt/2)
		}
	}()
	return l.Addr().String()
}

func delay(to io.WriteCloser, from io.Reader, by time.Duration) {
	type piece struct {
		at time.Time
		b  []byte
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			pieces <- piece{time.Now().Add(by), b[:n]}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.at) - 2*time.Millisecond) // timers are late by up to one
		for time.Now().Before(p.at) {
			runtime.Gosched()
		}
		if _, err := to.Write(p.b); err != nil {
			break
		}
	}
	to.Close()
}

// BenchmarkDiscoTree asks 1,000 items for theirs over a link whose round trip takes 50
// ms; one operation is all of them, login included.
func BenchmarkDiscoTree(b *testing.B) {
	const items, rtt = 1000, 50 * time.Millisecond
	a := benchEmbedded(b, xmpptest.Fault(fmt.Sprintf("disco-tree=%dx1", items)))
	a.environ = append(a.environ, "XMPP_SERVER="+startLink(b, a.server, rtt))
	var u usage
	for b.Loop() {
		var out bytes.Buffer
		c := a.command("disco", "--tree")
		c.Stdout = &out
		if err := u.run(c, func() {}); err != nil || bytes.Count(out.Bytes(), []byte{'\n'}) != items {
			b.Fatalf("%v\n%s", err, out.Bytes())
		}
	}
	u.report(b, b.N, "µs-cpu/op")
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(rtt), "roundtrips/op")
}

// BenchmarkListen prints 10,000 messages as JSON; one operation is all of them.
func BenchmarkListen(b *testing.B) {
	const messages = 10_000
	a := benchEmbedded(b)
	var u usage
	lost := 0
	for b.Loop() {
		var out bytes.Buffer
		c := a.command("listen", "-j", "juliet@localhost", "--json", "--count", strconv.Itoa(messages), "--for", "60s")
		c.Stdout = &out
		// The server keeps what comes before the listener is there.
		if err := u.run(c, func() { flood(b, a, messages) }); err != nil {
			b.Error(err)
		}
		lost += messages - bytes.Count(out.Bytes(), []byte{'\n'})
	}
	u.report(b, b.N*messages, "µs-cpu/message")
	b.ReportMetric(float64(lost), "lost")
}

// BenchmarkHistory prints an archive of 50,000 messages as JSON; one operation is all of them.
// How long that takes on Prosody, with its own storage, grows with the square of their number.
func BenchmarkHistory(b *testing.B) {
	for name, account := range benchTargets() {
		b.Run(name, func(b *testing.B) {
			messages := 50_000
			if name == "prosody" {
				messages = 5_000
			}
			a := account(b)
			flood(b, a, messages)
			var u usage
			for b.Loop() {
				var out bytes.Buffer
				c := a.command("history", "--all", "--json")
				c.Stdout = &out
				if err := u.run(c, func() {}); err != nil || bytes.Count(out.Bytes(), []byte{'\n'}) != messages {
					b.Fatalf("%v, %d messages", err, bytes.Count(out.Bytes(), []byte{'\n'}))
				}
			}
			u.report(b, b.N*messages, "µs-cpu/message")
			b.ReportMetric(float64(b.N*messages)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkSendLines sends 10,000 lines as messages; one operation is all of them, login
// included. They are headlines to somebody who is not there, which servers drop. The
// ceiling is what a session does that is handed them ready, and only once waits.
func BenchmarkSendLines(b *testing.B) {
	const messages = 10_000
	var in bytes.Buffer
	var ready []*xmpp.Element
	for i := range messages {
		text := fmt.Sprintf("line %d of a log, about as long as those are", i)
		fmt.Fprintln(&in, text)
		m := xmpp.NewElement(xmpp.NSClient, "message", "to", "juliet@localhost", "type", "headline", "id", xmpp.NewID())
		ready = append(ready, xmpp.Add(m, xmpp.NewText(xmpp.NSClient, "body", text)))
	}
	for name, account := range benchTargets() {
		b.Run(name, func(b *testing.B) {
			a := account(b)
			b.Run("ceiling", func(b *testing.B) {
				for b.Loop() {
					s := benchSession(b, a)
					for flight := range slices.Chunk(ready, 100) {
						if err := s.Send(context.Background(), flight...); err != nil {
							b.Fatal(err)
						}
					}
					if _, err := s.Ping(context.Background(), s.Server()); err != nil {
						b.Fatal(err)
					}
					s.Close()
				}
				b.ReportMetric(float64(b.N*messages)/b.Elapsed().Seconds(), "messages/s")
			})
			for name, args := range map[string][]string{"text": nil, "json": {"--json"}, "retry": {"--json", "--retry", "3"}} {
				b.Run(name, func(b *testing.B) {
					var u usage
					lost := 0
					for b.Loop() {
						var out bytes.Buffer
						c := a.command(append([]string{"send", "--lines", "--type", "headline", "juliet@localhost"}, args...)...)
						c.Stdin, c.Stdout = bytes.NewReader(in.Bytes()), &out
						if err := u.run(c, func() {}); err != nil {
							b.Error(err)
						}
						if len(args) > 0 {
							lost += messages - bytes.Count(out.Bytes(), []byte(`"ok":true`))
						}
					}
					b.ReportMetric(float64(b.N*messages)/b.Elapsed().Seconds(), "messages/s")
					u.report(b, b.N*messages, "µs-cpu/message")
					b.ReportMetric(float64(lost), "lost")
				})
			}
		})
	}
}

func flood(b *testing.B, a access, messages int) {
	s := benchSession(b, a)
	defer s.Close()
	for i := 0; i < messages; {
		var flight []*xmpp.Element
		for range 50 {
			m := xmpp.NewElement(xmpp.NSClient, "message", "to", "juliet@localhost", "type", "chat", "id", fmt.Sprint("m", i))
			flight = append(flight, xmpp.Add(m, xmpp.NewText(xmpp.NSClient, "body", fmt.Sprintf("line %d of a log, about as long as those are", i))))
			i++
		}
		if _, err := s.Ping(context.Background(), s.Server(), flight...); err != nil {
			b.Fatal(err)
		}
	}
}

func benchSession(b *testing.B, a access) *xmpp.Session {
	roots, err := os.ReadFile(a.ca)
	if err != nil {
		b.Fatal(err)
	}
	s, err := xmpp.Dial(context.Background(), xmpp.Options{JID: xmpp.JID{Local: "romeo", Domain: "localhost"}, Password: scriptPassword, Server: a.server, RootCAs: pool(roots)})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkEndlessStanza is refused; what it costs until then is in MB-rss.
func BenchmarkEndlessStanza(b *testing.B) {
	a := benchEmbedded(b, "endless-stanza")
	var u usage
	for b.Loop() {
		c := a.command("listen")
		c.Stderr = nil
		if err := u.run(c, func() {}); c.ProcessState.ExitCode() != 76 {
			b.Fatalf("%v, want exit code 76", err)
		}
	}
	u.report(b, b.N, "µs-cpu/op")
}

// BenchmarkBuild reports the size of the binary as it is released.
func BenchmarkBuild(b *testing.B) {
	file := filepath.Join(b.TempDir(), "xmppkit")
	for b.Loop() {
		if out, err := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, root).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/1e6, "MB")
}

// BenchmarkRoster lists rosters, login and all: sent as a whole, and known already.
func BenchmarkRoster(b *testing.B) {
	for _, contacts := range []int{10, 1000, 10_000} {
		a := benchEmbedded(b)
		befriend(b, a, contacts)
		for name, args := range map[string][]string{"cold": {"roster", "--no-cache"}, "cached": {"roster"}} {
			b.Run(fmt.Sprintf("%d/%s", contacts, name), func(b *testing.B) {
				var u usage
				lost := 0
				if err := a.command("roster").Run(); err != nil { // fills the cache
					b.Fatal(err)
				}
				for b.Loop() {
					var out bytes.Buffer
					c := a.command(args...)
					c.Stdout = &out
					if err := u.run(c, func() {}); err != nil {
						b.Fatal(err)
					}
					lost += contacts - bytes.Count(out.Bytes(), []byte{'\n'})
				}
				u.report(b, b.N, "µs-cpu/op")
				b.ReportMetric(float64(lost), "lost")
			})
		}
	}
}

func befriend(b *testing.B, a access, contacts int) {
	s := benchSession(b, a)
	defer s.Close()
	for i := 0; i < contacts; {
		var flight []*xmpp.Element
		for range 10 {
			jid := xmpp.JID{Local: fmt.Sprint("contact", i), Domain: "example.org"}
			flight = append(flight, xmpp.SetContact(xmpp.Contact{JID: jid, Name: fmt.Sprint("Contact ", i), Groups: []string{fmt.Sprint("Group ", i%20)}}))
			i++
		}
		if _, err := s.Ping(context.Background(), s.Server(), flight...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkThroughput is about 10,000 messages of one account to another, through each
// server: what a client of canned bytes can write (ceiling/send: until the server
// has answered a ping behind them) and read (ceiling/listen: until the last one is
// there), and what send --lines and listen --json make of it. The other side is
// always the client of canned bytes. Accounts are new for each run and keep no
// archive, which would slow the server down more with every run.
func BenchmarkThroughput(b *testing.B) {
	for _, server := range []string{"embedded", "prosody", "ejabberd"} {
		b.Run(server, func(b *testing.B) {
			t := newThroughput(b, server)
			b.Run("ceiling", t.ceiling)
			b.Run("send", t.send)
			b.Run("listen", t.listen)
		})
	}
}

const throughputMessages = 10_000

// throughput is a server that is measured.
type throughput struct {
	access
	register func(user, password string) error
	accounts int
}

func newThroughput(b *testing.B, name string) *throughput {
	if name == "embedded" {
		server, a := startServer(b, xmpptest.Config{Mechanisms: []string{"SCRAM-SHA-256", "PLAIN"}})
		return &throughput{access: a, register: server.AddAccount}
	}
	server, stop, err := map[string]func(string) (*realServer, func(), error){"prosody": startProsody, "ejabberd": startEjabberd}[name](b.TempDir())
	if errors.Is(err, errNotInstalled) {
		b.Skip(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(stop)
	return &throughput{access: server.access(b.TempDir()), register: server.register}
}

// account makes one that keeps no archive (XEP-0313, section 6), and returns a session
// of it.
func (t *throughput) account(b *testing.B) (string, *rawClient) {
	t.accounts++
	user := fmt.Sprint("user", t.accounts)
	if err := t.register(user, scriptPassword); err != nil {
		b.Fatal(err)
	}
	r, err := dialRaw(t.direct, t.ca, user)
	if err == nil {
		err = r.request("set", "archive-none", "<prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs>")
	}
	if err != nil {
		b.Fatal(err)
	}
	return user, r
}

// reader is an account that is available, and reads.
func (t *throughput) reader(b *testing.B) (string, *rawClient) {
	user, r := t.account(b)
	err := r.write([]byte("<presence/>"))
	if err == nil {
		err = r.request("get", "there", "<ping xmlns='urn:xmpp:ping'/>")
	}
	if err != nil {
		b.Fatal(err)
	}
	return user + "@localhost", r
}

// flow runs what sends and what reads, and reports how many messages there were in a
// second until the first, and until both, have come to their end.
func flow(b *testing.B, send, read func() error) (sent, both time.Duration) {
	started := time.Now()
	done := make(chan error, 1)
	go func() { done <- read() }()
	err := send()
	sent = time.Since(started)
	if err := errors.Join(err, <-done); err != nil {
		b.Fatal(err)
	}
	return sent, time.Since(started)
}

// paced sends canned messages, no more ahead of the lines that come out than a server
// keeps for a session that has not acknowledged them: ejabberd ends it at 5,000.
func paced(writer *rawClient, to string, lines *bufio.Reader) error {
	const step, ahead = 500, 2000
	flight := canned(to, step)
	for sent, got := 0, 0; got < throughputMessages; {
		if sent < throughputMessages && sent-got < ahead {
			if err := writer.write(flight); err != nil {
				return err
			}
			sent += step
			continue
		}
		if _, err := lines.ReadBytes('\n'); err != nil {
			return err
		}
		got++
	}
	return nil
}

func perSecond(b *testing.B, d time.Duration, unit string) {
	b.ReportMetric(float64(b.N*throughputMessages)/d.Seconds(), unit)
}

// flood sends canned messages, and waits until the server has taken them.
func (r *rawClient) flood(to string) error {
	err := r.write(canned(to, throughputMessages))
	if err == nil {
		err = r.request("get", "taken", "<ping xmlns='urn:xmpp:ping'/>")
	}
	return err
}

func (t *throughput) ceiling(b *testing.B) {
	var sent, both time.Duration
	for b.Loop() {
		to, reader := t.reader(b)
		_, writer := t.account(b)
		s, a := flow(b, func() error { return writer.flood(to) }, func() error { return reader.await("</message>", throughputMessages) })
		sent, both = sent+s, both+a
		writer.close()
		reader.close()
	}
	perSecond(b, sent, "sent/s")
	perSecond(b, both, "read/s")
}

func (t *throughput) send(b *testing.B) {
	var u usage
	var sent, both time.Duration
	var lines bytes.Buffer
	for i := range throughputMessages {
		fmt.Fprintf(&lines, "line %d of a log, about as long as those are\n", i)
	}
	for b.Loop() {
		to, reader := t.reader(b)
		from, raw := t.account(b)
		raw.close()
		c := t.command("send", "-j", from+"@localhost", "--lines", to)
		c.Stdin = bytes.NewReader(lines.Bytes())
		s, a := flow(b, func() error { return u.run(c, func() {}) }, func() error { return reader.await("</message>", throughputMessages) })
		sent, both = sent+s, both+a
		reader.close()
	}
	perSecond(b, sent, "sent/s")
	perSecond(b, both, "read/s")
	u.report(b, b.N*throughputMessages, "µs-cpu/message")
}

func (t *throughput) listen(b *testing.B) {
	var u usage
	var both time.Duration
	for b.Loop() {
		to, raw := t.account(b)
		raw.close()
		_, writer := t.account(b)
		c := t.command("listen", "-v", "-j", to+"@localhost", "--json", "--count", strconv.Itoa(throughputMessages+1))
		out, err := c.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		c.Stderr = nil
		talk, err := c.StderrPipe()
		if err != nil {
			b.Fatal(err)
		}
		err = u.run(c, func() {
			// A headline is for who is there. The flood begins when the first has come through.
			for steps := bufio.NewScanner(talk); steps.Scan() && !strings.Contains(steps.Text(), "listening"); {
			}
			go io.Copy(io.Discard, talk)
			time.Sleep(100 * time.Millisecond)
			lines := bufio.NewReader(out)
			if err := writer.write(canned(to+"@localhost", 1)); err != nil {
				b.Fatal(err)
			}
			if _, err := lines.ReadBytes('\n'); err != nil {
				b.Fatal(err)
			}
			started := time.Now()
			if err := paced(writer, to+"@localhost", lines); err != nil {
				b.Fatal(err)
			}
			both += time.Since(started)
		})
		if err != nil {
			b.Fatal(err)
		}
		writer.close()
	}
	perSecond(b, both, "read/s")
	u.report(b, b.N*throughputMessages, "µs-cpu/message")
}
