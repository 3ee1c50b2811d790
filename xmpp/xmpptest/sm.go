package xmpptest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"xmppkit/xmpp"
)

const nsSM = "urn:xmpp:sm:3" // XEP-0198

// hibernation is how long a session without a connection can be resumed at most.
const hibernation = time.Minute

// management implements XEP-0198. Resumption takes the place of binding: see bind.
func management() feature {
	return feature{
		offer: func(c *conn) []*xmpp.Element {
			if c.faults.has("no-sm") {
				return nil
			}
			return []*xmpp.Element{xmpp.NewElement(nsSM, "sm")}
		},
		ns:     nsSM,
		stream: manage,
		faults: []kind{
			{"no-sm", "", "", "does not offer stream management (XEP-0198) and refuses it"},
			{"no-resume", "", "", "manages streams, but does not let sessions be resumed"},
			{"resume-failed", "", "", "refuses to resume any session, as if it did not exist"},
			{"ack-too-high", "", "", "acknowledges more stanzas than were sent (XEP-0198)"},
			{"bad-resumed", "", "too-high|no-count|other", "resumes sessions with such a count, or with the id of another session"},
			{"long-sm-id", "", "N", "its session ids are N bytes longer"},
		},
	}
}

// ask requests an acknowledgement if there are new stanzas, with one request at a time,
// as Prosody does.
func (c *conn) ask(there *session) {
	sent := there.acked + uint32(len(there.queue))
	if len(there.queue) == 0 || there.waiting || there.asked == sent {
		return
	}
	there.waiting, there.asked = true, sent
	c.put(there.conn, []byte("<r xmlns='"+nsSM+"'/>"))
}

func ack(h uint32) *xmpp.Element {
	return xmpp.NewElement(nsSM, "a", "h", strconv.FormatUint(uint64(h), 10))
}

// manage handles XEP-0198 inside a session.
func manage(c *conn, e *xmpp.Element) error {
	if e.Tag == "r" {
		if _, mute := c.faults.at("silence", "ack"); mute {
			return nil
		}
		if err := c.at("ack"); err != nil {
			return err
		}
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	there := c.bound
	switch {
	case there == nil:
		return errGone
	case c.faults.has("no-sm"):
	case e.Tag == "enable" && !there.managed:
		enable(c, e)
		return nil
	case e.Tag == "enable" || e.Tag == "resume":
		refuse(c, "unexpected-request")
		return nil
	case e.Tag == "r" && there.managed:
		h := there.handled
		if c.faults.has("ack-too-high") {
			h += 1000
		}
		c.emit(ack(h))
		return nil
	case e.Tag == "a" && there.managed:
		there.waiting = false
		if err := acknowledged(c, e); err != nil {
			return err
		}
		c.ask(there)
		return nil
	}
	return streamError{condition: "unsupported-stanza-type"}
}

// refuse answers <enable/> or <resume/> with that reason.
func refuse(c *conn, condition string, attrs ...string) {
	c.emit(xmpp.Add(xmpp.NewElement(nsSM, "failed", attrs...), xmpp.NewElement(xmpp.NSStanzas, condition)))
}

// enable implements XEP-0198, section 3.
func enable(c *conn, e *xmpp.Element) {
	there := c.bound
	there.managed, there.handled = true, 0
	enabled := xmpp.NewElement(nsSM, "enabled")
	resume := xmpp.Attr(e, "resume")
	if (resume == "true" || resume == "1") && !c.faults.has("no-resume") {
		long, _ := c.faults.number("long-sm-id")
		there.id, there.max = xmpp.NewID()+strings.Repeat("x", long), hibernation
		if n, err := strconv.ParseUint(xmpp.Attr(e, "max"), 10, 16); err == nil && n > 0 {
			there.max = min(time.Duration(n)*time.Second, hibernation)
		}
		enabled.CreateAttr("id", there.id)
		enabled.CreateAttr("resume", "true")
		enabled.CreateAttr("max", strconv.Itoa(int(there.max/time.Second)))
	}
	c.emit(enabled)
}

// acknowledged drops what the client has handled, by the h of e (section 4). A client
// that acknowledges stanzas that it was not sent cannot continue.
func acknowledged(c *conn, e *xmpp.Element) error {
	there := c.bound
	h, err := strconv.ParseUint(xmpp.Attr(e, "h"), 10, 32)
	if err != nil {
		return streamError{"invalid-xml", "Missing or invalid 'h' attribute"}
	}
	if n := uint32(h) - there.acked; n <= uint32(len(there.queue)) {
		there.queue = slices.Delete(there.queue, 0, int(n))
		there.acked += n
		return nil
	}
	there.id = ""
	sent := strconv.FormatUint(uint64(there.acked)+uint64(len(there.queue)), 10)
	c.end(closing(streamError{"undefined-condition", "Client acknowledged more stanzas than sent by server"},
		xmpp.NewElement(nsSM, "handled-count-too-high", "h", xmpp.Attr(e, "h"), "send-count", sent)))
	return errGone
}

// reconnect resumes a session of an earlier connection, even if that has not noticed
// yet that it is lost, and reports whether there is such a session (section 5).
func reconnect(c *conn, e *xmpp.Element) (bool, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	id := xmpp.Attr(e, "previd")
	there := c.user.resumable(id)
	if there == nil || c.faults.has("resume-failed") {
		var attrs []string
		if h, ok := c.user.ended[id]; ok {
			attrs = []string{"h", strconv.FormatUint(uint64(h), 10)}
		}
		refuse(c, "item-not-found", attrs...)
		return false, nil
	}
	there.wake()
	if old := there.conn; old != nil {
		old.bound = nil
		old.end(closing(streamError{"conflict", "Resumed by new connection"}))
	}
	there.conn, c.bound = c, there
	if err := acknowledged(c, e); err != nil {
		return false, err
	}
	resumed := xmpp.NewElement(nsSM, "resumed", "previd", id, "h", strconv.FormatUint(uint64(there.handled), 10))
	switch wrong, _ := c.faults.value("bad-resumed"); wrong {
	case "too-high":
		resumed.CreateAttr("h", strconv.FormatUint(uint64(there.handled)+1000, 10))
	case "no-count":
		resumed.RemoveAttr("h")
	case "other":
		resumed.CreateAttr("previd", "other")
	}
	c.emit(resumed)
	for _, e := range there.queue {
		c.emit(e)
	}
	there.waiting, there.asked = false, there.acked
	c.ask(there)
	return true, nil
}

func (a *account) resumable(id string) *session {
	for _, there := range a.sessions {
		if there.id == id && id != "" {
			return there
		}
	}
	return nil
}
