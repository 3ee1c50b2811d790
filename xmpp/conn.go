package xmpp

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A connReader reads from a connection, and counts its reads.
type connReader struct {
	io.Reader
	before func()       // called before each read, which may have to wait
	active atomic.Bool  // something has arrived since this was last set to false
	reads  atomic.Int64 // how often something has arrived
	first  []byte       // the first bytes that arrived; belongs to the goroutine that reads
}

// firstBytes is how many of the first bytes are kept, for an error.
const firstBytes = 80

func (c *connReader) Read(b []byte) (int, error) {
	if c.before != nil {
		c.before()
	}
	n, err := c.Reader.Read(b)
	if n > 0 {
		c.active.Store(true)
		c.first = append(c.first, b[:min(n, firstBytes-len(c.first))]...)
		c.reads.Add(1)
	}
	return n, err
}

// writeWithin writes b with one call of Write, within a time limit. Every write goes
// through here.
func writeWithin(c net.Conn, b []byte, budget time.Duration) error {
	if err := c.SetWriteDeadline(time.Now().Add(budget)); err != nil {
		return err
	}
	defer c.SetWriteDeadline(time.Time{})
	_, err := c.Write(b)
	return err
}
