package deliver

import (
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
)

func jid(s string) xmpp.JID {
	j, err := xmpp.ParseJID(s)
	if err != nil {
		panic(err)
	}
	return j
}

// Who has refused a message for the rate, and so who is to wait.
func TestLimits(t *testing.T) {
	d := &Delivery{account: jid("romeo@here.example")}
	for _, test := range []struct {
		to, by    string
		condition xmpp.Condition
		early     bool
		want      bool
	}{
		{"a@here.example", "a@here.example", xmpp.PolicyViolation, true, true},
		{"a@here.example", "a@here.example/x", xmpp.PolicyViolation, true, false}, // a client, or in its name
		{"a@there.example", "a@there.example", xmpp.PolicyViolation, true, true},
		{"a@there.example/x", "a@there.example/x", xmpp.PolicyViolation, true, true},
		{"a@there.example", "a@there.example", xmpp.PolicyViolation, false, false},
		{"a@there.example", "there.example", xmpp.PolicyViolation, false, false},
		{"a@there.example", "here.example", xmpp.PolicyViolation, false, true},
		{"a@there.example", "romeo@here.example", xmpp.ResourceConstraint, false, true},
		{"a@there.example", "here.example", "remote-server-timeout", true, false},
		{"a@here.example", "a@here.example", xmpp.ResourceConstraint, true, false}, // its store is full
		{"a@here.example", "a@here.example", xmpp.RecipientUnavailable, true, false},
		{"romeo@here.example", "romeo@here.example", xmpp.ResourceConstraint, true, false},
		{"romeo@here.example", "romeo@here.example", xmpp.PolicyViolation, true, true},
	} {
		m := &Message{To: jid(test.to), bounce: &bounce{&xmpp.StanzaError{Type: "wait", Condition: test.condition}, jid(test.by), test.early}}
		if got := d.limits(m); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// A pace pauses once for what was under way together, longer each time, and gives up
// after as many tries in a row.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(100)
		for range 2 {
			for _, least := range []time.Duration{1, 2, 4} {
				if !p.refuse(3, 7) || !p.refuse(3, 8) || p.window != 7 {
					t.Errorf("%+v", p)
				}
				if wait := time.Until(p.until); wait < least*time.Second || wait > least*time.Second*3/2 {
					t.Errorf("waits %s, want %d s", wait, least)
				}
				time.Sleep(time.Until(p.until))
			}
			if p.refuse(3, 7) {
				t.Error("there is another try")
			}
			p.recover()
		}
	})
}

// What has its receipt is not sent again, although the flight with its next copy was not
// sent.
func TestTakeBack(t *testing.T) {
	d := New(Options{Receipt: true})
	for received, want := range map[bool]int{false: 1, true: 0} {
		m := &Message{To: jid("a@there.example"), Stanza: xmpp.NewElement(xmpp.NSClient, "message", "id", "1")}
		m.on(launch)
		if received {
			m.on(receive)
		}
		d.takeBack(spare, m)
		if got := d.queue.len(); got != want {
			t.Errorf("received %v: %d are to be sent again", received, got)
		}
		d.queue = queue{}
	}
}
