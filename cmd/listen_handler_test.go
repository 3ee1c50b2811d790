//go:build unix

package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/output"
	"xmppkit/xmpp"
)

// A handled result, and what came of it.
type handled struct {
	h        *handler
	out, err bytes.Buffer
}

func newHandled(t *testing.T, args ...string) *handled {
	t.Helper()
	d := new(handled)
	env := &Env{Out: &d.out, Err: &d.err, Getenv: os.Getenv}
	env.open(t.Context())
	path, err := exec.LookPath(args[0])
	if err != nil {
		t.Fatal(err)
	}
	d.h = &handler{env: env, args: args, path: path, environ: handlerEnviron(os.Environ())}
	return d
}

func (d *handled) handle(t *testing.T, r output.Record) error {
	t.Helper()
	return d.h.handle(t.Context(), t.Context(), new(xmpp.Session), r)
}

func chat(text string) *messageRecord {
	return &messageRecord{Kind: "message", Type: "chat", From: "juliet@example.org/x", FromBare: "juliet@example.org", ID: "m1", Body: &text}
}

// What CMD gets to know, and how.
func TestHandlerInput(t *testing.T) {
	for _, name := range []string{"BODY", "ID", "ROOM", "NICK", "PASSWORD", "PASSWORD_FILE", "PASSWORD_COMMAND", "PEER_PASSWORD", "TRY"} {
		t.Setenv("XMPP_"+name, "stale")
	}
	t.Setenv("XMPP_JID", "romeo@example.org")
	for _, r := range []output.Record{
		chat("a \"b\" <c> \u202e\x7f é\nd"), &presenceRecord{Kind: "presence", Type: "available", From: "juliet@example.org/x", Status: "here"},
		&iqRecord{Kind: "iq", Type: "get", ID: "i1", From: "juliet@example.org/x", NS: "urn:xmpp:ping"},
	} {
		var want bytes.Buffer
		p := output.NewPrinter(&want, true, false)
		if err := errors.Join(p.Print(r), p.Flush()); err != nil {
			t.Fatal(err)
		}
		d := newHandled(t, "cat")
		if err := d.handle(t, r); err != nil || d.out.String() != want.String() {
			t.Errorf("%v: CMD got %q, want %q", err, &d.out, &want)
		}
		d = newHandled(t, "env")
		err := d.handle(t, r)
		got := slices.DeleteFunc(strings.SplitAfter(d.out.String(), "\n"), func(v string) bool { return !strings.HasPrefix(v, "XMPP_") })
		vars := "XMPP_JID=romeo@example.org\nXMPP_FROM=juliet@example.org/x\n"
		switch r := r.(type) {
		case *messageRecord:
			line, _, _ := strings.Cut(*r.Body, "\n")
			vars += "XMPP_TYPE=chat\nXMPP_ID=m1\nXMPP_BODY=" + line + "\nXMPP_TRY=1\n"
		case *presenceRecord:
			vars += "XMPP_TYPE=available\nXMPP_ID=\nXMPP_BODY=\nXMPP_TRY=1\n"
		case *iqRecord:
			vars += "XMPP_TYPE=get\nXMPP_ID=i1\nXMPP_BODY=\nXMPP_TRY=1\n"
		}
		if err != nil || strings.Join(got, "") != vars {
			t.Errorf("%v: CMD got %q, want %q", err, got, vars)
		}
	}
	// No shell sees the arguments.
	d := newHandled(t, "printf", "%s|", "$(id)", "a b", ";", "-x")
	if err := d.handle(t, chat("")); err != nil || d.out.String() != "$(id)|a b|;|-x|" {
		t.Errorf("%v, %q", err, &d.out)
	}
}

// A variable is cut between two characters, standard input is whole.
func TestHandlerLong(t *testing.T) {
	d := newHandled(t, "sh", "-c", `printf %s "$XMPP_BODY" | wc -c; printf %s "$XMPP_ID" | wc -c; wc -c`)
	m := chat("x" + strings.Repeat("é", 1<<20))
	m.ID = strings.Repeat("i", maxVariable)
	line, err := output.AppendJSON(nil, m)
	if err := errors.Join(err, d.handle(t, m)); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Fields(d.out.String()), fmt.Sprint("[32767 32768 ", len(line)+1, "]"); fmt.Sprint(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, test := range []struct {
		in   string
		max  int
		want string
	}{{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"aé", 2, "a"}, {"aé", 3, "aé"}, {"\U0001F600", 3, ""}, {"", 0, ""}, {"\x80\x80", 1, ""}} {
		if got := truncate(test.in, test.max); got != test.want {
			t.Errorf("%q cut to %d is %q", test.in, test.max, got)
		}
	}
}

// What CMD does not read, closes or leaves running is its own affair.
func TestHandlerIndifferent(t *testing.T) {
	for _, script := range []string{"true", "exec <&-; true", "head -c 1 >/dev/null", "sleep 20 <&0 &", "sleep 20 &"} {
		for _, reply := range []bool{false, true} {
			d := newHandled(t, "sh", "-c", script)
			d.h.reply = reply
			started := time.Now()
			if err := d.handle(t, chat(strings.Repeat("x", 1<<20))); err != nil {
				t.Errorf("%s: %v", script, err)
			}
			if took := time.Since(started); took > 10*time.Second {
				t.Errorf("%s: took %s", script, took)
			}
		}
	}
}

// The failure of CMD is exit 1 and one line, as text or as an object: no result says it.
func TestHandlerFails(t *testing.T) {
	gone := t.TempDir() + "/gone"
	for _, test := range []struct {
		script, want string
		reply        bool
	}{
		{"echo why >&2; exit 3", "exit status 3", false},
		{"kill -9 $$", "signal: killed", false},
		{"yes | head -c 65537", "it printed more than 64 KiB, too much for a reply", true},
		{"yes", "it printed more than 64 KiB, too much for a reply", true},
		{"sleep 20 & wait", "it took longer than --exec-timeout 100ms", false},
		{"sleep 20 & wait", "it took longer than --exec-timeout 100ms", true},
		{`printf 'a\001b'`, "its output cannot be a reply: ", true},
		{`printf 'a\377b'`, "its output cannot be a reply: ", true},
		{gone, "fork/exec", false},
	} {
		d := newHandled(t, "sh", "-c", test.script)
		d.h.reply = test.reply
		if strings.HasPrefix(test.want, "it took") {
			d.h.timeout = flags.Duration(100 * time.Millisecond)
		}
		if test.script == gone {
			d.h.path = gone
		}
		err := d.handle(t, chat("x"))
		if err == nil || !strings.HasPrefix(err.Error(), "message m1 of juliet@example.org/x: sh: "+test.want) {
			t.Errorf("%s: %v", test.script, err)
			continue
		}
		for _, json := range []bool{false, true} {
			d.err.Reset()
			d.h.env.flags.json = json
			code := d.h.env.report(t.Context(), err)
			text := d.err.String()
			if code != exit.No || strings.Count(text, "\n") != 1 {
				t.Errorf("%s: exit code %d with %s, want 1 with a line", test.script, code, text)
			}
			for _, want := range []string{test.want, "the next listener gets it again"} {
				if !strings.Contains(text, want) {
					t.Errorf("%s: %s, want %q in it", test.script, text, want)
				}
			}
			if fields := `"class":"stanza","ok":false,"exit_code":1,"retryable":false`; json != strings.Contains(text, fields) {
				t.Errorf("%s: --json=%v: %s", test.script, json, text)
			}
		}
	}
	d := newHandled(t, "false")
	if err := d.handle(t, &presenceRecord{Kind: "presence", From: "juliet@example.org/x"}); err == nil || err.Error() != "presence without an id of juliet@example.org/x: false: exit status 1" {
		t.Errorf("%v", err)
	}
}

// A command that fails is run again, after waits that grow, up to so many times. Nothing
// else is a reason to.
func TestHandlerRetry(t *testing.T) {
	for _, test := range []struct {
		retry, works int // at which try it succeeds
		failure      string
		want         int // how often it runs
		fails        bool
	}{
		{0, 1, "stop", 1, false}, {0, 2, "stop", 1, true}, {0, 2, "skip", 1, true}, {3, 1, "stop", 1, false},
		{3, 3, "stop", 3, false}, {3, 4, "stop", 4, false}, {3, 5, "stop", 4, true}, {3, 5, "skip", 4, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newHandled(t, "sh", "-c", `echo $XMPP_TRY; test $XMPP_TRY -ge `+strconv.Itoa(test.works))
			d.h.retry, d.h.failure = test.retry, test.failure
			started := time.Now()
			err := d.handle(t, chat("x"))
			want, least := "", time.Duration(0)
			for try := 1; try <= test.want; try++ {
				want += strconv.Itoa(try) + "\n"
				least += time.Second << (try - 1)
			}
			least -= time.Second << (test.want - 1)
			if (err != nil) != test.fails || d.out.String() != want || time.Since(started) < least {
				t.Errorf("%+v: %v, it has run as %q, in %s", test, err, &d.out, time.Since(started))
			}
			if skips := err == errSkipped; skips != (test.failure == "skip") || skips != (d.err.String() == "xmppkit: message m1 of juliet@example.org/x: sh: exit status 1: skipped\n") {
				t.Errorf("%+v: %q", test, &d.err)
			}
			if d.h.owed != nil {
				t.Error("a reply is owed")
			}
		})
	}
	// Where waiting ends it is the failure of CMD, and where all ends it is that.
	for _, all := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := newHandled(t, "false")
			d.h.retry, d.h.failure = 9, "skip"
			waiting, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, errStop)
			defer cancel()
			ctx := t.Context()
			if all {
				ctx = waiting
			}
			err := d.h.handle(ctx, waiting, new(xmpp.Session), chat("x"))
			if all != (err == errStop) || err == nil || d.err.Len() > 0 {
				t.Errorf("%v, %q", err, &d.err)
			}
		})
	}
}

// The end of listen is the end of all of CMD, whether it likes that or not, and
// not its failure.
func TestHandlerStopped(t *testing.T) {
	for _, script := range []string{`trap "" TERM; sleep 60 & echo ready; wait`, `trap "exit 0" TERM; sleep 60 & echo ready; wait`} {
		ctx, cancel := context.WithCancelCause(t.Context())
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		d := newHandled(t, "sh", "-c", script)
		d.h.env.Out = w
		gone := make(chan error, 1)
		go func() {
			_, err := io.ReadFull(r, make([]byte, len("ready\n")))
			cancel(errStop)
			r.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, e := io.Copy(io.Discard, r); err == nil { // to the end of the last one that could write
				err = e
			}
			gone <- err
		}()
		if err := d.h.handle(ctx, ctx, new(xmpp.Session), chat("x")); err != errStop {
			t.Errorf("%s: %v", script, err)
		}
		w.Close()
		if err := <-gone; err != nil {
			t.Errorf("%s: %v", script, err)
		}
		if err := d.h.handle(ctx, ctx, new(xmpp.Session), chat("x")); err != errStop {
			t.Errorf("begun after the end: %v", err)
		}
		r.Close()
	}
}

// RFC 6120, section 8.3.1: an error is never answered; nor is what would make a loop
// with ourselves, goes to many or says nothing.
func TestAnswerable(t *testing.T) {
	text, none := "a", ""
	for _, test := range []struct {
		m    messageRecord
		want bool
	}{
		{messageRecord{Type: "chat", Body: &text}, true}, {messageRecord{Type: "normal", Body: &text}, true},
		{messageRecord{Type: "chat", Body: &text, Delayed: true}, true}, {messageRecord{Type: "normal", Subject: &text}, true},
		{messageRecord{Type: "chat", Encrypted: "urn:xmpp:omemo:2"}, true}, {messageRecord{Type: "chat", attention: true}, true},
		{messageRecord{Type: "chat", Body: &text, Self: true}, false}, {messageRecord{Type: "error", Body: &text}, false},
		{messageRecord{Type: "headline", Body: &text}, false}, {messageRecord{Type: "groupchat", Body: &text}, false},
		{messageRecord{Type: "chat", XML: "<message/>"}, false}, {messageRecord{Type: "chat", payload: "urn:x"}, false},
		{messageRecord{Type: "chat", Body: &none}, false}, {messageRecord{Type: "chat", Body: &none, Subject: &text}, false},
		{messageRecord{Type: "normal", Subject: &none}, false}, {messageRecord{Type: "chat", Replaces: "m1"}, false},
		{messageRecord{Type: "chat", ReceiptFor: "m1"}, false}, {messageRecord{Type: "chat", Marker: "displayed", MarkerFor: "m1"}, false},
	} {
		if got := test.m.answerable(); got != test.want {
			t.Errorf("%+v: %v", test.m, got)
		}
	}
	m := chat("x")
	m.Thread = "t<1"
	reply := newReply(m, "a & b")
	id := xmpp.Attr(reply, "id")
	b, err := xmpp.XML(reply)
	want := `<message xmlns="jabber:client" to="juliet@example.org/x" type="chat" id="` + id + `"><body>a &amp; b</body><thread>t&lt;1</thread></message>`
	if err != nil || string(b) != want || id == "" {
		t.Errorf("%v\n%s, want\n%s", err, b, want)
	}
}
