package xmpp_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) {
	// Package net reads its configuration at the first lookup, and keeps a channel
	// that must not be one of a bubble.
	none := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errRefused }}
	none.LookupHost(context.Background(), "nothing.invalid.")
	os.Exit(m.Run())
}

// A nameserver answers from a zone and remembers the questions.
type nameserver struct {
	t    testing.TB
	zone map[string]*rrset // by type and name

	mu    sync.Mutex
	asked []string
}

type rrset struct {
	records []dnsmessage.ResourceBody
	rcode   dnsmessage.RCode
	delay   time.Duration
	drop    bool
}

// newNameserver reads a zone: lines of NAME TYPE DATA, where DATA can also be
// SERVFAIL, REFUSED, NODATA, DROP, and DELAY with a duration. All that is not in it
// does not exist.
func newNameserver(t testing.TB, zone string) *nameserver {
	t.Helper()
	d := &nameserver{t: t, zone: make(map[string]*rrset)}
	for line := range strings.Lines(zone) {
		if f := strings.Fields(line); len(f) > 0 {
			d.add(f[0], f[1], f[2:]...)
		}
	}
	return d
}

func (d *nameserver) add(name, qtype string, data ...string) {
	key := qtype + " " + name
	if d.zone[key] == nil {
		d.zone[key] = new(rrset)
	}
	s := d.zone[key]
	switch {
	case data[0] == "SERVFAIL":
		s.rcode = dnsmessage.RCodeServerFailure
	case data[0] == "REFUSED":
		s.rcode = dnsmessage.RCodeRefused
	case data[0] == "DROP":
		s.drop = true
	case data[0] == "NODATA":
	case data[0] == "DELAY":
		s.delay, _ = time.ParseDuration(data[1])
	case qtype == "SRV":
		n := func(i int) uint16 { v, _ := strconv.Atoi(data[i]); return uint16(v) }
		s.records = append(s.records, &dnsmessage.SRVResource{Priority: n(0), Weight: n(1), Port: n(2), Target: dnsmessage.MustNewName(data[3])})
	case qtype == "A":
		s.records = append(s.records, &dnsmessage.AResource{A: netip.MustParseAddr(data[0]).As4()})
	case qtype == "AAAA":
		s.records = append(s.records, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(data[0]).As16()})
	default:
		d.t.Fatalf("zone: %s %s %q", name, qtype, data)
	}
}

// answer returns the answer to a query, nil where there is none; over UDP no more of
// it than fits.
func (d *nameserver) answer(query []byte, udp bool) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		d.t.Errorf("query: %v", err)
		return nil
	}
	q := m.Questions[0]
	key := strings.TrimPrefix(q.Type.String(), "Type") + " " + q.Name.String()
	d.mu.Lock()
	d.asked = append(d.asked, key)
	s := d.zone[key]
	d.mu.Unlock()
	if s == nil {
		s = &rrset{rcode: dnsmessage.RCodeNameError}
	}
	time.Sleep(s.delay)
	if s.drop {
		return nil
	}
	m = dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: true, RecursionAvailable: true, RCode: s.rcode},
		Questions: m.Questions,
	}
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 300}
	for _, r := range s.records {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: r})
	}
	b, err := m.Pack()
	if udp && len(b) > 1232 {
		m.Answers, m.Truncated = nil, true
		b, err = m.Pack()
	}
	if err != nil {
		d.t.Error(err)
	}
	return b
}

func (d *nameserver) questions() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := slices.Clone(d.asked)
	slices.Sort(asked)
	return asked
}

// serve answers the queries of a stream.
func (d *nameserver) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		if b := d.answer(query, false); b != nil {
			c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
		}
	}
}

// resolver asks the nameserver without the network, for a bubble.
func (d *nameserver) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go d.serve(there)
		return here, nil
	}}
}

// listen makes a resolver that asks the nameserver over UDP and TCP, and returns how
// many connections each has had.
func (d *nameserver) listen() (r *net.Resolver, used func() map[string]int) {
	d.t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { udp.Close(); tcp.Close() })
	go func() {
		for {
			b := make([]byte, 4096)
			n, peer, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			go func() { udp.WriteTo(d.answer(b[:n], true), peer) }()
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go d.serve(c)
		}
	}()
	var mu sync.Mutex
	counts := make(map[string]int)
	r = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		addr := udp.LocalAddr().String()
		if network == "tcp" {
			addr = tcp.Addr().String()
		}
		mu.Lock()
		counts[network]++
		mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	return r, func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return counts
	}
}
