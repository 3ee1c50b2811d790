package flags

import (
	"testing"
	"time"
)

// A point in time is RFC 3339, a date, or how long ago, and its end is that of what is shown.
func TestMoment(t *testing.T) {
	for s, want := range map[string][2]string{
		"2026-11-20T21:41:28Z":      {"2026-11-20T21:41:28Z", "2026-11-20T21:41:28.999999Z"},
		"2026-11-20t21:41:28z":      {"2026-11-20T21:41:28Z", "2026-11-20T21:41:28.999999Z"},
		"2026-11-20T21:41:28.5Z":    {"2026-11-20T21:41:28.5Z", "2026-11-20T21:41:28.500999Z"},
		"2026-11-20T23:41:28+02:00": {"2026-11-20T21:41:28Z", "2026-11-20T21:41:28.999999Z"},
		"2026-11-20":                {"2026-11-20T00:00:00Z", "2026-11-20T00:00:00.000999Z"},
	} {
		var m Moment
		if err := m.Set(s); err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		got := [2]string{time.Time(m).UTC().Format(time.RFC3339Nano), m.End().UTC().Format(time.RFC3339Nano)}
		if got != want {
			t.Errorf("%s: %v, want %v", s, got, want)
		}
	}
	for s, ago := range map[string]time.Duration{"0": 0, "90": 90 * time.Second, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "1.5h": 90 * time.Minute} {
		var m Moment
		if err := m.Set(s); err != nil {
			t.Errorf("%s: %v", s, err)
		} else if d := time.Since(time.Time(m)) - ago; d < 0 || d > time.Minute {
			t.Errorf("%s: %s", s, d)
		}
	}
	for _, s := range []string{"", "yesterday", "-1h", "0s", "2026-13-01", "2026-02-30T00:00:00Z", "2026-11-20T10:00:00", "2026-11-20 10:00:00Z", "10:00", "1w", " 1h", "NaN", "1e300d", "0001-01-01", "9999-12-31T23:59:59-23:59"} {
		var m Moment
		if err := m.Set(s); err == nil {
			t.Errorf("%q is %s", s, time.Time(m))
		}
	}
	if !new(Moment).End().IsZero() {
		t.Error("the zero moment has an end")
	}
}

// Whatever is typed is refused, or is a time that can be written in a query.
func FuzzMoment(f *testing.F) {
	for _, s := range []string{"2026-11-20T21:41:28Z", "2026-11-20", "7d", "1e9", "9999-12-31T23:59:59-23:59", "0000-01-01", "290y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var m Moment
		if m.Set(s) != nil {
			return
		}
		const layout = "2006-01-02T15:04:05.000000Z"
		for _, when := range []time.Time{time.Time(m), m.End()} {
			if _, err := time.Parse(layout, when.UTC().Format(layout)); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
	})
}
