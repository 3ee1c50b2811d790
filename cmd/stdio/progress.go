package stdio

import (
	"fmt"
	"io"
	"time"
)

// A Progress is one line on a terminal that is written over and over.
type Progress struct {
	w       io.Writer
	started time.Time
	shown   bool
}

// ProgressEvery is how often a line of progress changes.
const ProgressEvery = 200 * time.Millisecond

// NewProgress returns a Progress that writes to w.
func NewProgress(w io.Writer) *Progress { return &Progress{w: w, started: time.Now()} }

// Rate is n a second, since the progress was made.
func (p *Progress) Rate(n int) float64 {
	return float64(n) / max(time.Since(p.started).Seconds(), 0.001)
}

// Show rewrites the line.
func (p *Progress) Show(format string, args ...any) {
	fmt.Fprintf(p.w, "\r%s\x1b[K", fmt.Sprintf(format, args...))
	p.shown = true
}

// Clear erases the line.
func (p *Progress) Clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
