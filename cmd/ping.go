package cmd

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/flags"
	"xmppkit/output"
	"xmppkit/xmpp"
)

// pingRecord is one answer, or a missing one.
type pingRecord struct {
	Kind  string       `json:"kind"`
	Time  output.Time  `json:"time"`
	JID   string       `json:"jid"`
	Seq   int          `json:"seq"`
	OK    bool         `json:"ok"`
	RTT   *float64     `json:"rtt_ms,omitempty"`
	Error *stanzaError `json:"error,omitempty"`

	note string // what an error reveals about the other side
}

func (r pingRecord) WriteText(t *output.Text) {
	t.Printf("%s: seq=%d", r.JID, r.Seq)
	if r.RTT != nil {
		t.Printf(" time=%.1f ms", *r.RTT)
	}
	if r.Error != nil {
		t.Printf(" %s", output.Words(r.Error.String()))
	}
	if r.note != "" {
		t.Printf(": %s", r.note)
	}
	t.Printf("\n")
}

// pingStats sums up several pings, in the terms of ping(8).
type pingStats struct {
	Kind     string   `json:"kind"`
	JID      string   `json:"jid"`
	Sent     int      `json:"sent"`
	Received int      `json:"received"`
	Loss     float64  `json:"loss_pct"`
	Min      *float64 `json:"min_ms,omitempty"`
	Avg      *float64 `json:"avg_ms,omitempty"`
	Max      *float64 `json:"max_ms,omitempty"`
	MDev     *float64 `json:"mdev_ms,omitempty"`

	sum, squares float64
}

func (s *pingStats) add(r pingRecord) {
	s.Sent++
	if r.OK {
		rtt := *r.RTT
		s.Received++
		s.sum += rtt
		s.squares += rtt * rtt
		if s.Min == nil {
			s.Min, s.Max = new(rtt), new(rtt)
		}
		*s.Min, *s.Max = min(*s.Min, rtt), max(*s.Max, rtt)
		avg := s.sum / float64(s.Received)
		s.Avg = new(round(avg))
		s.MDev = new(round(math.Sqrt(max(0, s.squares/float64(s.Received)-avg*avg))))
	}
	s.Loss = math.Round(1000*float64(s.Sent-s.Received)/float64(s.Sent)) / 10
}

func (s *pingStats) WriteText(t *output.Text) {
	t.Printf("--- %s ---\n%d sent, %d received, %v%% loss\n", s.JID, s.Sent, s.Received, s.Loss)
	if s.Received > 0 {
		t.Printf("rtt min/avg/max/mdev = %.1f/%.1f/%.1f/%.1f ms\n", *s.Min, *s.Avg, *s.Max, *s.MDev)
	}
}

// round returns milliseconds as they are printed, rounded to the microsecond.
func round(ms float64) float64 { return math.Round(ms*1000) / 1000 }

type pinger struct {
	env      *Env
	to       xmpp.JID
	count    int
	interval flags.Duration
	wait     flags.Duration
}

func newPingCmd(env *Env) *cobra.Command {
	p := &pinger{env: env, interval: flags.Duration(time.Second), wait: flags.Duration(5 * time.Second)}
	cmd := &cobra.Command{
		Use:  "ping [flags] [JID]",
		Args: flags.Args(0, 1, "JID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.count < 1 {
				return exit.Usagef("--count: want at least 1")
			}
			targets, err := env.targets(args)
			if err != nil {
				return err
			}
			if err := env.needOutput(); err != nil {
				return err
			}
			o, err := env.account(cmd.Context())
			if err != nil {
				return err
			}
			o.Take = takeNothing
			p.to = xmpp.JID{Domain: o.JID.Domain}
			if len(targets) > 0 {
				p.to = targets[0].jid
			}
			env.noteNames(o.JID, p.to)
			return env.withSession(cmd.Context(), o, p.run)
		},
	}
	cmd.Flags().IntVarP(&p.count, "count", "c", 1, "send `N` pings")
	cmd.Flags().VarP(&p.interval, "interval", "i", "send a ping every `DURATION`")
	cmd.Flags().VarP(&p.wait, "wait", "W", "wait `DURATION` for each answer")
	return cmd
}

func (p *pinger) run(ctx context.Context, s *xmpp.Session) error {
	if p.count > 1 { // a long-running command must notice immediately, not at its next line
		var stop context.CancelFunc
		ctx, stop = p.env.whileRead(ctx)
		defer stop()
	}
	stats := &pingStats{Kind: "ping_stats", JID: p.to.String()}
	var last pingRecord
	var err error
	for seq, next := 1, time.Now(); seq <= p.count; seq++ {
		if err = pause(ctx, time.Until(next)); err != nil {
			break
		}
		next = time.Now().Add(time.Duration(p.interval))
		if last, err = p.ping(ctx, s, seq); err != nil {
			break
		}
		stats.add(last)
		if err = p.env.print(last); err != nil {
			break
		}
	}
	if p.count > 1 && stats.Sent > 0 {
		if e := p.env.print(stats); err == nil {
			err = e
		}
	}
	if err == nil && stats.Received == 0 {
		return exit.Negative("") // the lines above say it
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ping returns an error only if it makes no sense to continue.
func (p *pinger) ping(ctx context.Context, s *xmpp.Session, seq int) (pingRecord, error) {
	wait, cancel := withTimeout(ctx, p.wait)
	defer cancel()
	rtt, err := s.Ping(wait, p.to)
	r := pingRecord{Kind: "ping", Time: output.Time(time.Now()), JID: p.to.String(), Seq: seq, OK: err == nil}
	if rtt > 0 {
		r.RTT = new(output.Milliseconds(rtt))
	}
	refused, answered := failedAnswer(err)
	switch {
	case err == nil:
	case answered:
		r.Error = newStanzaError(refused)
		r.note = whoAnswered(p.to, refused)
	case ctx.Err() == nil && wait.Err() != nil:
		r.Error = &stanzaError{Condition: string(xmpp.RemoteServerTimeout), Type: "wait", Text: fmt.Sprintf("no answer within %s", &p.wait)}
	default:
		return r, err
	}
	return r, nil
}

// whoAnswered explains what an error answer reveals about the entity.
func whoAnswered(to xmpp.JID, e *xmpp.StanzaError) string {
	switch e.Condition {
	case xmpp.RemoteServerNotFound, xmpp.RemoteServerTimeout:
		return "your server cannot reach " + to.Domain
	case xmpp.Gone:
		return "it is no longer at this address"
	case xmpp.ServiceUnavailable, xmpp.FeatureNotImplemented:
		switch {
		case to.Resource != "":
			return "it is offline, or it does not answer pings"
		case to.Local != "":
			return "the server answers; the account does not exist, or does not answer pings"
		}
		return "it exists, but does not answer pings"
	}
	return ""
}
