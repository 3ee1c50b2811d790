package xmpp

import (
	"context"
	"crypto/tls"
)

// A ProbeResult is what a server reveals without a login.
type ProbeResult struct {
	Addr     string              // host:port, with the address in parentheses where the host was looked up
	Mode     TLSMode             // TLSDirect or TLSStartTLS
	TLS      tls.ConnectionState // with the certificate, which was verified
	Features *Element            // of the stream inside TLS, such as the mechanisms of a login
}

// Probe connects as Dial does, reads the stream features inside TLS, and closes the
// stream. It does not log in: it uses only the domain of o.JID, and tells the server no
// account. Its errors are those of Dial.
func Probe(ctx context.Context, o Options) (*ProbeResult, error) {
	o.prepare()
	var p *ProbeResult
	err := reach(ctx, o, func(n *negotiation) error {
		err := n.bounded(func() error {
			features, err := n.secure(JID{})
			if err == nil {
				p = &ProbeResult{n.addr, n.o.TLS, n.conn.(*tls.Conn).ConnectionState(), features}
			}
			return err
		})
		n.close(err)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}
