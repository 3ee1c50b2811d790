package deliver

import (
	"fmt"
	"testing"
)

// Each state and each event: what is not listed changes nothing.
func TestState(t *testing.T) {
	type row struct {
		from  state
		event event
		to    state
	}
	var table []row
	for _, past := range []past{fresh, refused, doubtful} {
		atLeast := max(past, refused)
		for _, receipt := range []bool{false, true} {
			s := func(at stage) state { return state{at, past, receipt} }
			over := map[bool]stage{false: accepted, true: overdue}[receipt]
			table = append(table,
				row{s(pending), launch, s(written)},
				row{s(written), spare, s(pending)},
				row{s(written), lose, state{pending, doubtful, receipt}},
				row{s(written), confirm, s(confirmed)},
				row{s(written), putOff, state{pending, atLeast, receipt}},
				row{s(written), refuse, s(bounced)},
				row{s(written), receive, s(received)},
				row{s(confirmed), putOff, state{pending, atLeast, receipt}},
				row{s(confirmed), refuse, s(returned)},
				row{s(confirmed), receive, s(received)},
				row{s(confirmed), silence, s(over)},
			)
		}
	}
	seen := 0
	for at := pending; at <= overdue; at++ {
		for past := fresh; past <= doubtful; past++ {
			for _, receipt := range []bool{false, true} {
				for e := launch; e <= silence; e++ {
					from := state{at, past, receipt}
					want := from
					for _, r := range table {
						if r.from == from && r.event == e {
							want = r.to
							seen++
						}
					}
					if got := from.on(e); got != want {
						t.Errorf("%+v on %d: %+v, want %+v", from, e, got, want)
					}
				}
			}
		}
	}
	if seen != len(table) {
		t.Errorf("%d of %d rows were tried", seen, len(table))
	}
}

// What is known of a message after what has happened to it.
func TestFate(t *testing.T) {
	for _, test := range []struct {
		events  []event
		want    Fate
		receipt Fate // where one is asked for
	}{
		{nil, Unsent, Unsent},
		{[]event{launch}, Unconfirmed, Unconfirmed},
		{[]event{launch, spare}, Unsent, Unsent},
		{[]event{launch, lose}, Unconfirmed, Unconfirmed},
		{[]event{launch, lose, launch, spare}, Unconfirmed, Unconfirmed}, // the first copy may have come
		{[]event{launch, lose, launch, confirm, putOff}, Unconfirmed, Unconfirmed},
		{[]event{launch, confirm}, MayBounce, Unreceived},
		{[]event{launch, confirm, silence}, Accepted, Overdue},
		{[]event{launch, confirm, lose}, MayBounce, Unreceived}, // the server has it
		{[]event{launch, confirm, putOff}, Refused, Refused},
		{[]event{launch, putOff, launch, spare}, Refused, Refused},
		{[]event{launch, putOff, launch, confirm, silence}, Accepted, Overdue},
		{[]event{launch, refuse}, Bounced, Bounced},
		{[]event{launch, confirm, refuse}, Returned, Returned},
		{[]event{launch, receive, confirm}, Received, Received},
		{[]event{launch, confirm, receive, silence}, Received, Received},
		{[]event{launch, confirm, silence, receive, refuse}, Accepted, Overdue}, // too late
	} {
		for receipt, want := range map[bool]Fate{false: test.want, true: test.receipt} {
			s := state{receipt: receipt}
			for _, e := range test.events {
				s = s.on(e)
			}
			if got := s.fate(); got != want {
				t.Errorf("%s: %d, want %d", fmt.Sprint(test.events), got, want)
			}
		}
	}
}
