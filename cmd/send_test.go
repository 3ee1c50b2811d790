package cmd

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
	"xmppkit/xmpp/deliver"
	"xmppkit/xmpp/xep"
	"xmppkit/xmpp/xmpptest"
)

// What package deliver lets be in flight: see there.
const (
	windowSize = 1000
)

// A stage is the embedded server, and programs in this process that use it over pipes.
type stage struct {
	*xmpptest.Server
	options xmpp.Options

	mu      sync.Mutex
	dialing sync.Mutex // conns; one that holds mu can cut, too
	heard   string     // what the server has read
	conns   []net.Conn
	then    func(heard string) // is called when there is more of that
}

const stagePassword = "Wherefore art thou?"

func newStage(t *testing.T, faults ...xmpptest.Fault) *stage {
	s := new(stage)
	var err error
	s.Server, err = xmpptest.New(xmpptest.Config{
		Accounts: map[string]string{"romeo": stagePassword, "juliet": stagePassword, "mallory": stagePassword},
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
	s.options = xmpp.Options{Password: stagePassword, RootCAs: roots, Server: "server.example:5223", DialContext: s.dial}
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
	o.JID = jid(who)
	other, err := xmpp.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	if err := other.Send(t.Context(), newPresence("", "", 0)); err != nil {
		t.Fatal(err)
	}
	return other
}

// A run is what came of a program.
type run struct {
	code     int
	out, err string
}

// records are its results.
func (r run) records(t *testing.T) []sentRecord {
	t.Helper()
	var all []sentRecord
	for line := range strings.Lines(r.out) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		s := sentRecord{To: m["to"].(string), ID: m["id"].(string), OK: m["ok"].(bool), Ack: m["ack"].(string)}
		if e, ok := m["error"].(map[string]any); ok {
			s.Error = &stanzaError{Condition: e["condition"].(string), Type: e["type"].(string)}
		}
		all = append(all, s)
	}
	return all
}

func (r run) ids(t *testing.T, which func(sentRecord) bool) []string {
	var ids []string
	for _, s := range r.records(t) {
		if which(s) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// run runs the program until it ends.
func (s *stage) run(ctx context.Context, in io.Reader, args ...string) run {
	var out, err bytes.Buffer
	env := &Env{
		In: in, Out: &out, Err: &err,
		Getenv: func(name string) string {
			return map[string]string{"XMPP_JID": "romeo@localhost/r", "XMPP_PASSWORD": stagePassword}[name]
		},
		Dial: func(ctx context.Context, o xmpp.Options) (*xmpp.Session, error) {
			o.RootCAs, o.Server, o.DialContext = s.options.RootCAs, s.options.Server, s.options.DialContext
			return xmpp.Dial(ctx, o)
		},
	}
	code := Main(ctx, env, append([]string{args[0], "--no-cache"}, args[1:]...))
	return run{code, out.String(), err.String()}
}

// Lines are numbers, without an end.
type lines struct {
	n    int
	max  int // 0 for none
	left []byte
}

func (l *lines) Read(b []byte) (int, error) {
	for len(l.left) < len(b) && (l.max == 0 || l.n < l.max) {
		l.n++
		l.left = fmt.Appendf(l.left, "line %d\n", l.n)
	}
	n := copy(b, l.left)
	l.left = l.left[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// The connection is lost in the middle. What is confirmed is, and exactly the rest
// is named; nothing that was not written is said to have been.
func TestLost(t *testing.T) {
	for _, format := range []string{"--json", "--json=false"} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			s.then = func(heard string) {
				if strings.Count(heard, "<message") > 550 {
					s.cut()
				}
			}
			r := s.run(t.Context(), &lines{max: 5000}, "send", "--lines", format, "juliet@localhost")
			if r.code != exit.Temporary {
				t.Fatalf("%d: %s", r.code, r.err)
			}
			if format != "--json" {
				var n, from, to int
				_, err := fmt.Sscanf(r.err[strings.Index(r.err, "sent: ")+6:], "%d message", &n)
				_, named := fmt.Sscanf(r.err[strings.Index(r.err, "\n")+1:], "xmppkit: lines %d-%d are not confirmed", &from, &to)
				if err != nil || named != nil || to-from+1 != n {
					t.Errorf("%d are named in %s", to-from+1, r.err)
				}
				// More may have been read by then, or not.
				after := fmt.Sprintf("\nxmppkit: lines %d-", to+1)
				if n := strings.Count(r.err, "\n"); n != 2 && n != 3 || strings.Contains(r.err, after) != (n == 3) {
					t.Errorf("the rest that was read is not mentioned in %s", r.err)
				}
				return
			}
			confirmed := r.ids(t, func(s sentRecord) bool { return s.OK })
			unknown := r.ids(t, func(s sentRecord) bool { return s.Error != nil && s.Error.Condition == "undefined-condition" })
			unsent := r.ids(t, func(s sentRecord) bool { return s.Error != nil && s.Error.Condition == "recipient-unavailable" })
			if len(confirmed) == 0 || len(unknown) == 0 || len(confirmed)+len(unknown)+len(unsent) != len(r.records(t)) {
				t.Errorf("%d confirmed, %d unknown, %d unsent", len(confirmed), len(unknown), len(unsent))
			}
			for _, id := range confirmed {
				if s.count(id) != 1 {
					t.Fatalf("%s is confirmed and was not read", id)
				}
			}
			for _, id := range unsent {
				if s.count(id) != 0 {
					t.Fatalf("%s was read", id)
				}
			}
		})
	}
}

// With --retry every line comes, with the id it had, through several losses: resumed
// where the server does, else bound anew. The time between is not less than a second.
func TestRetry(t *testing.T) {
	for _, fault := range []xmpptest.Fault{"", "no-resume"} {
		synctest.Test(t, func(t *testing.T) {
			var faults []xmpptest.Fault
			if fault != "" {
				faults = append(faults, fault)
			}
			s := newStage(t, faults...)
			next := 150
			s.then = func(heard string) {
				if n := strings.Count(heard, "<message"); n > next && next < 2000 {
					next = n + 400
					s.cut()
				}
			}
			started := time.Now()
			r := s.run(t.Context(), &lines{max: 2000}, "send", "--lines", "--json", "--retry", "2", "juliet@localhost")
			ids := r.ids(t, func(s sentRecord) bool { return s.OK })
			slices.Sort(ids)
			if r.code != 0 || len(slices.Compact(ids)) != 2000 || len(r.records(t)) != 2000 {
				t.Fatalf("%d, %d of %d: %.1000s", r.code, len(slices.Compact(ids)), len(r.records(t)), r.err)
			}
			if resumed := s.count("<resume ") > 0; resumed != (fault == "") {
				t.Errorf("%q: resumed is %v", fault, resumed)
			}
			losses := len(s.conns) - 1
			if took := time.Since(started); losses < 2 || took < time.Duration(losses)*time.Second || took > time.Duration(losses)*2*time.Second {
				t.Errorf("%d losses, %s", losses, took)
			}
			for n := range 2000 {
				if s.count(fmt.Sprintf("<body>line %d</body>", n+1)) == 0 {
					t.Errorf("line %d is lost", n+1)
				}
			}
			for _, id := range ids {
				if s.count(`<origin-id xmlns="urn:xmpp:sid:0" id="`+id+`"/>`) == 0 {
					t.Errorf("%s is no origin-id", id)
				}
			}
			if again := s.count("<message") - 2000; again < 0 || again > losses*windowSize {
				t.Errorf("%d were sent again", again)
			}
		})
	}
}

// What a session that was lost may have brought is not said to be unsent, although
// the next one was lost before it came to it.
func TestLostTwice(t *testing.T) {
	for _, format := range []string{"--json", "--json=false"} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, "silence@confirm", "no-resume")
			s.then = func(heard string) {
				if n := strings.Count(heard, "<message"); n == windowSize && len(s.conns) == 1 || n > windowSize {
					s.cut()
				}
			}
			r := s.run(t.Context(), &lines{max: windowSize}, "send", "--lines", format, "--retry", "1", "juliet@localhost")
			unknown := 0
			if strings.HasSuffix(r.err, fmt.Sprintf("\nxmppkit: lines 1-%d are not confirmed\n", windowSize)) {
				unknown = windowSize
			}
			if format == "--json" {
				unknown = len(r.ids(t, func(s sentRecord) bool { return s.Error.Condition == "undefined-condition" }))
			}
			if r.code != exit.Temporary || len(s.conns) != 2 || unknown != windowSize || strings.Contains(r.out+r.err, "not sent") {
				t.Errorf("%d, %d are unknown: %.1000s", r.code, unknown, r.err)
			}
		})
	}
}

// The result of each message and the exit code agree, whatever came before the session
// ended without confirming anything: a receipt proves that the message arrived, a bounce
// that it did not.
func TestLostBeforeConfirmation(t *testing.T) {
	const juliet, mallory, nobody = "juliet@localhost/x", "mallory@localhost", "nobody@localhost"
	for _, test := range []struct {
		to      []string
		retries string
		receipt bool
		code    int
		acks    string // with ! where it failed
		dials   int
	}{
		{[]string{juliet}, "0", true, 0, "receipt", 1},
		{[]string{juliet}, "1", true, 0, "receipt", 1},
		{[]string{juliet}, "0", false, exit.Temporary, "!none", 1},
		{[]string{juliet}, "1", false, 0, "server", 2},
		{[]string{juliet, mallory}, "0", true, exit.Temporary, "receipt !none", 1},
		{[]string{mallory, juliet}, "1", true, exit.Timeout, "receipt !server", 2},
		{[]string{mallory}, "0", true, exit.Temporary, "!none", 1},
		{[]string{nobody}, "0", true, exit.NoUser, "!none", 1},
		{[]string{nobody}, "0", false, exit.NoUser, "!none", 1},
		{[]string{nobody}, "1", false, exit.NoUser, "!none", 1},
		{[]string{nobody, juliet}, "0", true, exit.No, "receipt !none", 1},
		{[]string{juliet, nobody}, "1", false, exit.No, "!none server", 2},
		{[]string{juliet, nobody, mallory}, "0", true, exit.Temporary, "receipt !none !none", 1},
	} {
		for _, stream := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, "first=2", "silence@confirm")
				reply(t, s.session(t, juliet), func(m *xmpp.Element, _ int) []*xmpp.Element {
					if xmpp.Child(m, xep.NSReceipts, "request") == nil {
						return nil
					}
					return []*xmpp.Element{receiptFor(m)}
				})
				go func() {
					time.Sleep(time.Second)
					s.cut()
				}()
				args := []string{"send", "-m", "a"}
				if stream {
					args = []string{"send", "--lines"}
				}
				args = append(args, "--json", "--retry", test.retries, fmt.Sprintf("--receipt=%v", test.receipt))
				r := s.run(t.Context(), strings.NewReader("a\n"), append(args, test.to...)...)
				var acks []string
				for _, m := range r.records(t) {
					acks = append(acks, map[bool]string{false: "!"}[m.OK]+m.Ack)
				}
				if got := strings.Join(acks, " "); r.code != test.code || got != test.acks || len(s.conns)-1 != test.dials {
					t.Errorf("%v: %d, %s, %d connections\n%s", test, r.code, got, len(s.conns)-1, r.err)
				}
			})
		}
	}
}

// While bounces of another server are waited for, a loss leaves it open whether there
// was one: the result and the exit code say so.
func TestLostBeforeGrace(t *testing.T) {
	for retries, want := range map[string]int{"0": exit.Temporary, "1": 0} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			go func() {
				time.Sleep(time.Second)
				s.cut()
			}()
			r := s.run(t.Context(), nil, "send", "-m", "a", "--grace", "5s", "--json", "--retry", retries, "juliet@localhost")
			if got := r.records(t); r.code != want || len(got) != 1 || got[0].OK != (want == 0) || got[0].Ack != "server" {
				t.Errorf("%d, %s%s", r.code, r.out, r.err)
			}
		})
	}
}

// All fail: each is named, and the code is that of the errors, in any order, or 1 where
// they differ.
func TestAllFail(t *testing.T) {
	const one, two, full = "nobody@localhost", "no-one@localhost", "juliet@localhost/x"
	for _, test := range []struct {
		to   []string
		code int
	}{
		{[]string{one, two}, exit.NoUser},
		{[]string{one, full}, exit.No},
		{[]string{full, one}, exit.No},
		{[]string{one, two, full}, exit.No},
	} {
		for _, stream := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				reply(t, s.session(t, full), func(m *xmpp.Element, _ int) []*xmpp.Element {
					return []*xmpp.Element{xmpp.Refusal(m, "cancel", xmpp.Gone)}
				})
				args := []string{"send", "-m", "a", "--grace", "1s"}
				if stream {
					args = []string{"send", "--lines", "--grace", "1s"}
				}
				args = append(args, test.to...)
				r := s.run(t.Context(), strings.NewReader("a\n"), args...)
				if named := strings.Count(r.err, "message to "); r.code != test.code || named != len(test.to) || strings.Count(r.err, "\n") != named+1 {
					t.Errorf("%v: %d, %s", test.to, r.code, r.err)
				}
				if sum := fmt.Sprintf("\nxmppkit: romeo@localhost: %d of %[1]d messages failed", len(test.to)); !strings.Contains(r.err, sum) {
					t.Errorf("%v: %s", test.to, r.err)
				}
				r = s.run(t.Context(), strings.NewReader("a\n"), append(args, "--json")...)
				if object := strings.Contains(r.err, fmt.Sprintf(`"exit_code":%d`, test.code)); r.code != test.code || object != (test.code != exit.No) {
					t.Errorf("%v: %d, %s", test.to, r.code, r.err)
				}
			})
		}
	}
}

// The table of what a user reads has a row for each fate of a message. What is left of a
// delivery is told as such, and a refusal with the words of who refused.
func TestVerdicts(t *testing.T) {
	for fate := deliver.Unsent; fate <= deliver.Overdue; fate++ {
		v, ok := verdicts[fate]
		final := fate >= deliver.Accepted
		theirs := fate == deliver.Refused || fate == deliver.Bounced || fate == deliver.Returned
		if !ok || v.ack == "" || (v.left == "" || v.sum == "") != final || v.ok != (fate == deliver.Accepted || fate == deliver.Received) {
			t.Errorf("%d: %+v", fate, v)
		}
		if own := v.condition != "" && v.text != ""; own != (!v.ok && !theirs) {
			t.Errorf("%d: whose error is it? %+v", fate, v)
		}
	}
}

// Lines are named as ranges, and as many as there are do not make the text long.
func TestRanges(t *testing.T) {
	for _, test := range []struct {
		lines []int
		want  string
	}{
		{[]int{7}, "line 7 is"},
		{[]int{7, 7}, "line 7 is"},
		{[]int{3, 4, 4, 5, 9, 11, 12}, "lines 3-5, 9, 11-12 are"},
	} {
		var all []*deliver.Message
		for _, n := range test.lines {
			all = append(all, &deliver.Message{First: n, Last: n})
		}
		if got := ranges(all); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
	var all []*deliver.Message
	for n := range 1000 {
		all = append(all, &deliver.Message{First: 2*n + 1, Last: 2*n + 1})
	}
	if got := ranges(all); len(got) > 200 || !strings.HasSuffix(got, "39, and others up to 1999 are") {
		t.Error(got)
	}
	if got := ranges([]*deliver.Message{{First: 1, Last: 3}, {First: 4, Last: 4}}); got != "lines 1-4 are" {
		t.Error(got)
	}
}

// reply answers each message that comes to other, by what answer makes of it, until the
// test ends.
func reply(t *testing.T, other *xmpp.Session, answer func(m *xmpp.Element, n int) []*xmpp.Element) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n := 0
		for e, err := range other.Stanzas(t.Context()) {
			if err != nil {
				return
			}
			if e.Tag == "message" {
				n++
				_ = other.Send(t.Context(), answer(e, n)...)
			}
		}
	}()
	t.Cleanup(func() { <-ended })
}

func receiptFor(m *xmpp.Element) *xmpp.Element {
	r := xmpp.NewElement(xmpp.NSClient, "message", "to", xmpp.Attr(m, "from"))
	return xmpp.Add(r, xmpp.NewElement(xep.NSReceipts, "received", "id", xmpp.Attr(m, "id")))
}

// A receipt counts from the recipient, whatever its resource, and from nobody else (XEP-0184).
func TestReceipt(t *testing.T) {
	for from, want := range map[string]int{"juliet@localhost/other": 0, "mallory@localhost/juliet": exit.Timeout, "romeo@localhost/x": exit.Timeout} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			there := s.session(t, "juliet@localhost/x")
			forger := s.session(t, from)
			reply(t, there, func(m *xmpp.Element, _ int) []*xmpp.Element {
				if xmpp.Child(m, xep.NSReceipts, "request") == nil {
					t.Error("no receipt was asked for")
				}
				_ = forger.Send(t.Context(), receiptFor(m))
				wrong := receiptFor(m)
				xmpp.Child(wrong, xep.NSReceipts, "received").CreateAttr("id", "another")
				return []*xmpp.Element{wrong}
			})
			for _, args := range [][]string{{"send", "-m", "a"}, {"send", "--lines"}} {
				r := s.run(t.Context(), strings.NewReader("a\n"), append(args, "--receipt", "--timeout", "5", "--json", "juliet@localhost/x")...)
				ack := "server"
				if want == 0 {
					ack = "receipt"
				}
				if got := r.records(t); r.code != want || len(got) != 1 || got[0].OK != (want == 0) || got[0].Ack != ack {
					t.Errorf("%s: %d, %s%s, want %d and %s", from, r.code, r.out, r.err, want, ack)
				}
			}
		})
	}
}

// A signal: what is under way has half a second, the rest is not sent.
func TestSignalInTheMiddle(t *testing.T) {
	for fault, ok := range map[xmpptest.Fault]bool{"one-segment": true, "silence@confirm": false} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, fault)
			ctx, stop := context.WithCancel(t.Context())
			in, feed := io.Pipe()
			go func() {
				fmt.Fprintln(feed, "a")
				fmt.Fprintln(feed, "b")
				time.Sleep(time.Second)
				if ok {
					fmt.Fprintln(feed, "c")
					synctest.Wait()
				}
				stop()
				<-t.Context().Done()
				feed.Close()
			}()
			started := time.Now()
			r := s.run(ctx, in, "send", "--lines", "--json", "juliet@localhost")
			confirmed := r.ids(t, func(s sentRecord) bool { return s.OK })
			want := [2]int{2, 0} // all, and confirmed
			if ok {
				want = [2]int{3, 3}
			}
			if got := [2]int{len(r.records(t)), len(confirmed)}; r.code != exit.Interrupt || got != want {
				t.Errorf("%s: %d, %v results and confirmed, want %v: %s%s", fault, r.code, got, want, r.out, r.err)
			}
			if took := time.Since(started); took > 3*time.Second {
				t.Errorf("took %s", took)
			}
			if strings.Contains(r.err, "kind") {
				t.Error(r.err)
			}
		})
	}
}
