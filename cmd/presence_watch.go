package cmd

import (
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"xmppkit/output"
	"xmppkit/xmpp/receive"
)

func newPresenceWatchCmd(env *Env) *cobra.Command {
	l := newListener(env)
	l.want.only, l.want.others, l.priority = []string{"presence"}, true, onlooker
	l.watch = new(watched)
	cmd := &cobra.Command{
		Use:  "watch [flags] [JID...]",
		RunE: l.run,
	}
	cmd.Flags().IntVarP(&l.count, "count", "c", 0, "stop after `N` results")
	cmd.Flags().Var(&l.clocks.total, "for", "stop after `DURATION`")
	return cmd
}

// A watched remembers which presences were shown, so that only changes are shown after
// a lost connection.
type watched struct {
	shown map[string]*presenceRecord // who is available, or has answered with an error, by from
	stale map[string]bool            // those of them not seen in this session yet
	asks  map[string]bool            // who has asked to see the account, by bare address
	cost  int                        // of the stored presences, about
	again bool                       // this session repeats what an earlier one has reported
}

// begin is called when a session starts to deliver presences.
func (w *watched) begin() {
	if w.shown == nil { // it is the first
		w.shown, w.stale, w.asks = make(map[string]*presenceRecord), make(map[string]bool), make(map[string]bool)
		return
	}
	w.again = true
	for from := range w.shown {
		w.stale[from] = true
	}
}

// isNews stores a presence, and reports whether it differs from what was shown before.
func (w *watched) isNews(r output.Record) bool {
	p, ok := r.(*presenceRecord)
	if !ok {
		return true
	}
	switch p.Type {
	case "available", "error":
		old, told := w.shown[p.From], w.stale[p.From]
		w.forget(p.From)
		if w.cost+p.cost() <= presenceRoom {
			w.shown[p.From] = p
			w.cost += p.cost()
		}
		return !told || !p.says(old)
	case "unavailable":
		return w.left(p)
	case "subscribe":
		known := w.asks[p.FromBare]
		if len(w.asks) < maxAsks {
			w.asks[p.FromBare] = true
		}
		return !known || !w.again
	}
	return true
}

// maxAsks is how many requests to see the account are remembered.
const maxAsks = 10_000

// left notes that a resource, or a whole account, is gone, and reports whether that is news.
// When a session begins, Prosody 0.12 reports each whole account as unavailable; settled
// then reports who was online before, one by one.
func (w *watched) left(p *presenceRecord) bool {
	if p.From != p.FromBare {
		known := w.shown[p.From] != nil
		w.forget(p.From)
		return known || !w.again
	}
	for from, old := range w.shown {
		if old.FromBare != p.FromBare {
			continue
		}
		if w.again {
			w.stale[from] = true
		} else {
			w.forget(from)
		}
	}
	return !w.again
}

func (w *watched) forget(from string) {
	if old := w.shown[from]; old != nil {
		w.cost -= old.cost()
		delete(w.shown, from)
	}
	delete(w.stale, from)
}

// settled returns those who have left since the previous session. Everyone still online
// has been seen by now.
func (w *watched) settled() (gone []*presenceRecord) {
	w.again = false
	for _, from := range slices.Sorted(maps.Keys(w.stale)) {
		if old := w.shown[from]; old.Available {
			gone = append(gone, &presenceRecord{
				Kind: "presence", Time: output.Time(time.Now()), Type: "unavailable", From: old.From, FromBare: old.FromBare, To: old.To,
			})
		}
		w.forget(from)
	}
	return gone
}

// says reports whether two presences say the same.
func (r *presenceRecord) says(old *presenceRecord) bool {
	return old != nil && r.Type == old.Type && r.Show == old.Show && r.Status == old.Status &&
		priorityOf(r) == priorityOf(old) && (r.Error == nil || *r.Error == *old.Error)
}

// priorityOf is 0 where a presence has none (RFC 6121, section 4.7.2.3).
func priorityOf(r *presenceRecord) int {
	if r.Priority == nil {
		return 0
	}
	return *r.Priority
}

// printGone prints who left while the connection was lost.
func (l *listener) printGone() (receive.Verdict, error) {
	var v receive.Verdict
	for _, r := range l.watch.settled() {
		if err := l.env.out.Print(r); err != nil {
			return v, err
		}
		if l.printed++; l.printed == l.count {
			v.Enough = true
			break
		}
	}
	return v, l.env.out.Flush()
}
