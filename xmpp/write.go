package xmpp

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"xmppkit/xmpp/internal/wire"
)

const (
	// lastWord is how long to wait, after a failed write, for the server's reason for
	// closing the connection.
	lastWord = 200 * time.Millisecond
	// writeBudget limits a write to a peer that has stopped reading.
	writeBudget = 30 * time.Second
)

// Send writes elements in one flight. It does not wait for the server to accept them: see
// Ping.
func (s *Session) Send(ctx context.Context, elements ...*Element) error {
	_, _, err := s.flight(ctx, elements...)
	return err
}

// flight writes elements in one flight. It returns the number of the flight, from 1, and
// the time of the write.
func (s *Session) flight(ctx context.Context, elements ...*Element) (int, time.Time, error) {
	b, err := s.encode(elements)
	if err != nil {
		return 0, time.Time{}, err
	}
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return 0, time.Time{}, context.Cause(ctx)
	}
	defer func() { <-s.writing }()
	if s.closed {
		return 0, time.Time{}, s.reason()
	}
	if ctx.Err() != nil {
		return 0, time.Time{}, context.Cause(ctx)
	}
	number, before, after := s.manage(elements)
	for _, e := range slices.Concat(before, elements, after) {
		s.o.traceElement(true, e)
	}
	started, err := s.writeBytes(ctx, slices.Concat(ownXML(before), b, ownXML(after)))
	return number, started, err
}

// safeSize is the stanza size that every server accepts (RFC 6120, section 13.12).
const safeSize = 10_000

// encode refuses a stanza that is larger than the server accepts (XEP-0478).
func (s *Session) encode(elements []*Element) ([]byte, error) {
	var b []byte
	for _, e := range elements {
		start := len(b)
		var err error
		if b, err = wire.Append(b, e); err != nil {
			return nil, err
		}
		size := len(b) - start
		if s.maxSize > 0 && size > s.maxSize {
			return nil, fmt.Errorf("%w: it has %d bytes, and the server accepts %d", ErrTooLarge, size, s.maxSize)
		}
		if s.maxSize == 0 && size > safeSize {
			s.o.trace("a stanza of %d bytes: a server need not accept more than %d", size, safeSize)
		}
	}
	return b, nil
}

// maxSize returns the limit that the features of a stream announce, or 0.
func maxSize(features *Element) int {
	text, _ := Text(Child(features, NSLimits, "limits"), NSLimits, "max-bytes")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < safeSize {
		return 0 // less is not allowed (XEP-0478, section 3)
	}
	return n
}

// writeBytes is for the holder of the token. A write that is interrupted breaks the
// stream.
func (s *Session) writeBytes(ctx context.Context, b []byte) (time.Time, error) {
	stop := context.AfterFunc(ctx, func() { s.raw.Close() })
	defer stop()
	started := time.Now()
	s.wrote = started
	err := writeWithin(s.conn, b, writeBudget)
	if err == nil {
		return started, nil
	}
	s.closed = true
	if ctx.Err() == nil {
		select {
		case <-s.done:
		case <-time.After(lastWord):
		}
	}
	s.mu.Lock()
	if s.err == nil {
		s.err = s.lost(err)
	}
	err = s.err
	s.resumeReading()
	s.mu.Unlock()
	s.raw.Close()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return started, err
}

// end writes the end of a stream.
func (o *Options) end(c net.Conn, xml string) error {
	o.traceTag(true, xml)
	return writeWithin(c, []byte(xml), closeBudget)
}
