package cmd

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
)

// A progress is one line on a terminal that is written over and over.
type progress struct {
	talk    *talker
	started time.Time
	shown   bool
}

// progressEvery is how often it changes.
const progressEvery = 200 * time.Millisecond

// newProgress returns nil where nobody would see it, and on a terminal where something
// else appears: results, the steps of the connection, or what a person types.
func (env *Env) newProgress() *progress {
	in, isFile := env.In.(*os.File)
	typed := isFile && term.IsTerminal(int(in.Fd()))
	if !env.ErrTerminal || env.Terminal && env.flags.json || typed || env.flags.quiet || env.flags.verbose > 0 {
		return nil
	}
	return &progress{talk: env.talk, started: time.Now()}
}

func (p *progress) show(sent, unconfirmed int) {
	rate := float64(sent) / max(time.Since(p.started).Seconds(), 0.001)
	fmt.Fprintf(p.talk, "\r%d sent, %.0f/s, %d unconfirmed\x1b[K", sent, rate, unconfirmed)
	p.shown = true
}

// clear makes place for something else.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.talk, "\r\x1b[K")
		p.shown = false
	}
}
