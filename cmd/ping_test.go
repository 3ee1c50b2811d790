package cmd

import (
	"bytes"
	"testing"
	"time"

	"xmppkit/output"
	"xmppkit/xmpp"
)

// The summary against numbers worked out by hand.
func TestPingStats(t *testing.T) {
	const lost = -1
	for _, test := range []struct {
		rtts []float64
		json string
		text string
	}{
		{[]float64{10, 20, lost, 30},
			`{"kind":"ping_stats","jid":"h","sent":4,"received":3,"loss_pct":25,"min_ms":10,"avg_ms":20,"max_ms":30,"mdev_ms":8.165}`,
			"--- h ---\n4 sent, 3 received, 25% loss\nrtt min/avg/max/mdev = 10.0/20.0/30.0/8.2 ms\n"},
		{[]float64{12.345},
			`{"kind":"ping_stats","jid":"h","sent":1,"received":1,"loss_pct":0,"min_ms":12.345,"avg_ms":12.345,"max_ms":12.345,"mdev_ms":0}`,
			"--- h ---\n1 sent, 1 received, 0% loss\nrtt min/avg/max/mdev = 12.3/12.3/12.3/0.0 ms\n"},
		{[]float64{2, 4, 4, 4, 5, 5, 7, 9}, // the standard deviation of these is 2
			`{"kind":"ping_stats","jid":"h","sent":8,"received":8,"loss_pct":0,"min_ms":2,"avg_ms":5,"max_ms":9,"mdev_ms":2}`,
			"--- h ---\n8 sent, 8 received, 0% loss\nrtt min/avg/max/mdev = 2.0/5.0/9.0/2.0 ms\n"},
		{[]float64{lost, 1, lost},
			`{"kind":"ping_stats","jid":"h","sent":3,"received":1,"loss_pct":66.7,"min_ms":1,"avg_ms":1,"max_ms":1,"mdev_ms":0}`,
			"--- h ---\n3 sent, 1 received, 66.7% loss\nrtt min/avg/max/mdev = 1.0/1.0/1.0/0.0 ms\n"},
		{[]float64{lost, lost},
			`{"kind":"ping_stats","jid":"h","sent":2,"received":0,"loss_pct":100}`,
			"--- h ---\n2 sent, 0 received, 100% loss\n"},
	} {
		s := &pingStats{Kind: "ping_stats", JID: "h"}
		for _, rtt := range test.rtts {
			s.add(pingRecord{OK: rtt != lost, RTT: &rtt})
		}
		for json, want := range map[bool]string{true: test.json + "\n", false: test.text} {
			var b bytes.Buffer
			p := output.NewPrinter(&b, json, false)
			if err := p.Print(s); err != nil {
				t.Fatal(err)
			}
			if p.Flush(); b.String() != want {
				t.Errorf("%v:\n got %s\nwant %s", test.rtts, b.String(), want)
			}
		}
	}
	if got := output.Milliseconds(1234567 * time.Nanosecond); got != 1.235 {
		t.Error(got)
	}
}

// What an error says about the other side.
func TestWhoAnswered(t *testing.T) {
	for _, test := range []struct {
		to        xmpp.JID
		condition xmpp.Condition
		want      string
	}{
		{xmpp.JID{Domain: "h"}, xmpp.ServiceUnavailable, "it exists, but does not answer pings"},
		{xmpp.JID{Domain: "h"}, xmpp.FeatureNotImplemented, "it exists, but does not answer pings"},
		{xmpp.JID{Local: "a", Domain: "h"}, xmpp.ServiceUnavailable, "the server answers; the account does not exist, or does not answer pings"},
		{xmpp.JID{Local: "a", Domain: "h", Resource: "r"}, xmpp.ServiceUnavailable, "it is offline, or it does not answer pings"},
		{xmpp.JID{Local: "a", Domain: "h"}, xmpp.RemoteServerNotFound, "your server cannot reach h"},
		{xmpp.JID{Local: "a", Domain: "h"}, xmpp.RemoteServerTimeout, "your server cannot reach h"},
		{xmpp.JID{Domain: "h"}, xmpp.Gone, "it is no longer at this address"},
		{xmpp.JID{Domain: "h"}, "forbidden", ""},
	} {
		if got := whoAnswered(test.to, &xmpp.StanzaError{Condition: test.condition}); got != test.want {
			t.Errorf("%s of %s: %q", test.condition, test.to, got)
		}
	}
}
