package xep

import (
	"strings"
	"time"
)

// NSTime is the namespace of requests for the time of an entity (XEP-0202).
const NSTime = "urn:xmpp:time"

// ParseTime reads a time of XEP-0082, or of XEP-0091, whose times are in UTC. It returns
// zero if it is malformed.
func ParseTime(s string) time.Time {
	s = strings.ToUpper(strings.TrimSpace(s))
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "20060102T15:04:05", "20060102T15:04:05Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}
