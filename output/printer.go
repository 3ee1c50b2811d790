// Package output writes results: records as text for people or as NDJSON for
// programs. It knows no XMPP.
//
// Everything it prints may come from a stranger, and both forms are safe against
// that: no argument can control the terminal, reorder its line or look like a
// line of its own, and any input becomes one line of valid JSON. Text marks what
// it hides, and is not meant to be parsed; JSON is exact.
//
// It leaves out colours, wrapping to the width of a terminal, and locking.
package output

import (
	"encoding/json"
	"fmt"
	"io"
)

// flushAt is the size beyond which a Printer flushes by itself. It bounds the
// memory of many records before one flush, and needs few system calls.
const flushAt = 32 << 10

// Record is one result. Its exported fields with json tags, in their order and
// starting with Kind string `json:"kind"`, are its JSON form; WriteText writes
// its text form, which may be empty.
type Record interface{ WriteText(*Text) }

// Printer writes records to a stream, all of them as text or all as NDJSON. Records
// reach the stream with Flush; only whole records are written. It is not safe for
// concurrent use.
type Printer struct {
	w    io.Writer
	text Text
	enc  *json.Encoder // appends to text.buf; nil prints text
	err  error         // a *WriteError, once a write has failed
}

// NewPrinter returns a Printer to w of NDJSON or of text. On a terminal the rows of
// text are aligned.
func NewPrinter(w io.Writer, asJSON, terminal bool) *Printer {
	p := &Printer{w: w, text: Text{terminal: terminal}}
	if asJSON {
		p.enc = newEncoder((*jsonSink)(&p.text.buf))
	}
	return p
}

// Print appends r to what the next Flush writes, and flushes by itself beyond 32 KiB. A
// text form without a final line break gets one. Print returns the error of that flush.
// It also returns an error, and prints nothing, if r has no JSON form (a NaN, a
// channel).
func (p *Printer) Print(r Record) error {
	if p.err != nil {
		return p.err
	}
	if p.enc == nil {
		r.WriteText(&p.text)
		p.text.endLine()
	} else if err := p.enc.Encode(r); err != nil {
		return fmt.Errorf("encoding a result as JSON: %w", err)
	}
	if len(p.text.buf) > flushAt {
		return p.Flush()
	}
	return nil
}

// Flush writes what was printed since the last Flush, in one Write. If nothing
// was printed, it writes nothing. A failed or short write is final: nobody knows
// how much of a record was written, so nothing may follow it. From then on every
// Print and Flush returns the same *WriteError.
func (p *Printer) Flush() error {
	p.text.align()
	buf := p.text.buf
	if p.err != nil || len(buf) == 0 {
		return p.err
	}
	p.text.buf, p.text.table = buf[:0], 0
	if cap(buf) > 4*flushAt {
		p.text.buf = nil // one huge record must not keep its memory for ever
	}
	n, err := p.w.Write(buf)
	if err == nil && n < len(buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		p.err = &WriteError{Err: err}
	}
	return p.err
}

// WriteError says that results could not be written.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "writing results: " + e.Err.Error() }

// Unwrap returns the error of the stream, such as EPIPE or ENOSPC.
func (e *WriteError) Unwrap() error { return e.Err }

// A Writer writes text that is not a record, such as help, and keeps the error:
// its callers do not check for one.
type Writer struct {
	W   io.Writer
	Err error // a *WriteError, once there was one
}

func (w *Writer) Write(b []byte) (int, error) {
	n, err := w.W.Write(b)
	if err != nil && w.Err == nil {
		w.Err = &WriteError{err}
	}
	return n, err
}
