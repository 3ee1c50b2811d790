package cmd

import (
	"io"
	"syscall"
	"testing"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/cmd/stdio"
	"xmppkit/output"
)

// A duration is one of Go or plain seconds.
func TestDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "2m": 2 * time.Minute, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond, "1.5s": 1500 * time.Millisecond,
		"30": 30 * time.Second, "0.5": 500 * time.Millisecond, ".5": 500 * time.Millisecond, "0": 0, "0s": 0, "+1": time.Second, "1e3": 1000 * time.Second,
		"86400": 24 * time.Hour, "999999999": 999999999 * time.Second,
		"7d": 7 * 24 * time.Hour, "1.5d": 36 * time.Hour, "0d": 0, "0e5": 0, "1ns": time.Nanosecond, "1e-9": time.Nanosecond,
	} {
		var d flags.Duration
		if err := d.Set(in); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %s, %v", in, &d, err)
		}
	}
	for _, in := range []string{"", " ", "-1", "-1s", "soon", "1 s", "30 ", "d", "-1d", "1d2h", "1dd", "100000d", "1e-10", "-1e-10", "0.0000000001s", "0.1ns", "1e-400", "1e-15d", "0x1p-2", "inf", "-inf", "nan", "1e9", "1e400", "9999999999", "0x10", "1,5", "3000000h"} {
		d := flags.Duration(42)
		if err := d.Set(in); err == nil || d != 42 {
			t.Errorf("%q is %s", in, &d)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0", time.Second: "1s", 30 * time.Second: "30s", 2 * time.Minute: "2m", 90 * time.Second: "1m30s", 500 * time.Millisecond: "500ms",
	} {
		if got := (*flags.Duration)(&d).String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// What cannot be written is the answer only where there is no better one.
func TestOutcome(t *testing.T) {
	gone, full := error(syscall.EPIPE), error(syscall.ENOSPC)
	no, refused := exit.Negative("no"), exit.Dataf("bad")
	for _, test := range []struct {
		name      string
		err, lost error
		want      int
	}{
		{"fine", nil, nil, 0},
		{"what lists has no reader any more", &output.WriteError{Err: gone}, nil, 0},
		{"what lists has no reader any more, as was noticed", errReaderGone, nil, 0},
		{"what lists cannot be written", &output.WriteError{Err: full}, nil, exit.Output},
		{"what changes lost a result", nil, gone, exit.Output},
		{"what changes lost a result to a full disk", nil, full, exit.Output},
		{"it has an answer", no, gone, exit.No},
		{"its answer is in what was lost", no, full, exit.Output},
		{"it failed", refused, gone, exit.Data},
		{"it failed, and the disk is full", refused, full, exit.Data},
	} {
		env := &Env{Out: io.Discard, Err: io.Discard}
		env.open(t.Context())
		if test.lost != nil {
			env.stdout = stdio.NewStdout(t.Context(), brokenOutput{test.lost})
			env.stdout.Finish()
			io.WriteString(env.stdout, "a result")
		}
		if got := env.report(t.Context(), env.outcome(test.err)); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// A brokenOutput takes nothing.
type brokenOutput struct{ error }

func (b brokenOutput) Write([]byte) (int, error) { return 0, b.error }
