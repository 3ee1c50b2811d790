package xmpp

import (
	"net"
	"syscall"
)

// quickAck makes the kernel acknowledge each segment without delay. A server that
// leaves Nagle's algorithm on (Prosody 0.12) holds its next small segment until the
// last one is acknowledged, which a delayed acknowledgement puts off by 40 ms per round
// trip. The kernel can reset this at any time, so it is renewed at each read (tcp(7),
// TCP_QUICKACK).
func quickAck(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	return &quickAckConn{tcp, raw}
}

type quickAckConn struct {
	*net.TCPConn
	raw syscall.RawConn
}

func (c *quickAckConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	// A failure costs time, not correctness.
	_ = c.raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
	})
	return n, err
}
