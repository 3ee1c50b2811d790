//go:build unix

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"xmppkit/xmpp"
	"xmppkit/xmpp/xmpptest"
)

// clusterDomain is the domain of a cluster. Its nodes are found by SRV records.
const clusterDomain = "cluster.example"

// startCluster starts an ejabberd of two nodes, each with a loopback address of its own. They
// have one certificate authority, and all that is stored is in Mnesia at both of them.
//
// Erlang wants one port for its distribution at all addresses, as there is no epmd.
func startCluster(dir string) (nodes []*realServer, stop func(), err error) {
	libraries, err := ejabberdLibraries()
	if err != nil {
		return nil, nil, err
	}
	ca, err := xmpptest.NewAuthority()
	if err != nil {
		return nil, nil, err
	}
	const first = "ej@127.0.0.2"
	cookie := xmpp.NewID()
	distribution, err := freePorts("127.0.0.2", 1)
	if err != nil {
		return nil, nil, err
	}
	stop = func() {
		for _, node := range nodes {
			node.stop()
		}
	}
	for i, ip := range []string{"127.0.0.2", "127.0.0.3"} {
		r := ejabberd(fmt.Sprint("ejabberd-node-", i+1), libraries)
		r.ip, r.domain, r.ca, r.storage = ip, clusterDomain, ca, "mnesia"
		args := []string{
			"-name", "ej@" + ip, "-setcookie", cookie, "-start_epmd", "false", "-erl_epmd_port", fmt.Sprint(distribution[0]),
			"-kernel", "inet_dist_use_interface", "{" + strings.ReplaceAll(ip, ".", ",") + "}",
		}
		if i > 0 {
			args = append(args, "-eval", joinCluster(first))
		}
		args = append(args, "-s", "ejabberd")
		r.command = func(h *home) *exec.Cmd { return h.erlang(libraries, args...) }
		node, _, err := start(dir, r)
		if err != nil {
			stop()
			return nil, nil, err
		}
		nodes = append(nodes, node)
	}
	return nodes, stop, nil
}

// joinCluster is what a node runs before ejabberd, which then makes copies of all tables that
// another node has. Unlike join_cluster of ejabberd it needs no second start. A node that has
// joined before may run it.
func joinCluster(other string) string {
	return fmt.Sprintf(`
		ok = mnesia:start(),
		{ok, [_]} = mnesia:change_config(extra_db_nodes, ['%[1]s']),
		mnesia:change_table_copy_type(schema, node(), disc_copies).`, other)
}

// startNameserver starts a resolver for one domain, whose servers are at these addresses, and
// returns its own address.
func startNameserver(t testing.TB, domain string, servers ...string) string {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, peer, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			answer(&m, domain, servers)
			if b, err := m.Pack(); err == nil {
				conn.WriteTo(b, peer)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// answer makes a message the answer to itself.
func answer(m *dnsmessage.Message, domain string, servers []string) {
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: true, RecursionAvailable: true, RCode: dnsmessage.RCodeNameError}
	m.Additionals = nil
	add := func(r dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: r})
	}
	for i, server := range servers {
		at, err := netip.ParseAddrPort(server)
		if err != nil {
			continue
		}
		host := fmt.Sprintf("node-%d.%s.", i+1, domain)
		switch name := q.Name.String(); name {
		case "_xmpp-client._tcp." + domain + ".":
			m.RCode = dnsmessage.RCodeSuccess
			if q.Type == dnsmessage.TypeSRV {
				add(&dnsmessage.SRVResource{Port: at.Port(), Target: dnsmessage.MustNewName(host)})
			}
		case host:
			m.RCode = dnsmessage.RCodeSuccess
			if q.Type == dnsmessage.TypeA {
				add(&dnsmessage.AResource{A: at.Addr().As4()})
			}
		}
	}
}
