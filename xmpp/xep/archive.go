package xep

import (
	"errors"
	"time"

	"xmppkit/xmpp"
)

// NSArchive is the namespace of message archives (XEP-0313).
const NSArchive = "urn:xmpp:mam:2"

// ErrEndless says, in an ArchiveError, that its pages repeat.
var ErrEndless = errors.New("its pages repeat")

// An ArchiveError is the failure to read an archive.
type ArchiveError struct{ Err error }

func (e *ArchiveError) Error() string { return "read the archive: " + e.Err.Error() }
func (e *ArchiveError) Unwrap() error { return e.Err }

// An ArchiveQuery asks for a page of an archive.
type ArchiveQuery struct {
	Of         xmpp.JID  // whose archive it is: a room, or zero for your account
	With       xmpp.JID  // only the conversation with this bare JID, unless it is zero
	Start, End time.Time // nothing from before and after that, unless they are zero
	Page
}

// IQ makes the request. Its results have the id, until the answer to the request ends them
// (section 4).
func (q ArchiveQuery) IQ() (iq *xmpp.Element, id string) {
	id = xmpp.NewID()
	var fields [][2]string
	if !q.With.IsZero() {
		fields = append(fields, [2]string{"with", q.With.String()})
	}
	if !q.Start.IsZero() {
		fields = append(fields, [2]string{"start", q.Start.UTC().Format("2006-01-02T15:04:05.000Z")})
	}
	if !q.End.IsZero() {
		fields = append(fields, [2]string{"end", q.End.UTC().Format("2006-01-02T15:04:05.000000Z")})
	}
	query := xmpp.Add(xmpp.NewElement(NSArchive, "query", "queryid", id), Submit(NSArchive, fields...), q.Set())
	return xmpp.NewIQ("set", q.Of, query), id
}

// Archived is a message out of the archive.
type Archived struct {
	ID      string
	Message *xmpp.Element // a separate stanza, with the stamp of the archive
}

// IsArchiveResult reports whether a message is a result of any query to the archive of a
// bare JID. It trusts only that JID (section 8).
func IsArchiveResult(own, of xmpp.JID, e *xmpp.Element) bool {
	return e.Tag == "message" && xmpp.Child(e, NSArchive, "result") != nil && comesFrom(own, of, e)
}

// ArchiveResult returns the result of the open query in a stanza, or nil; query is "" if
// no query is open. It trusts only the JID whose archive was queried (section 8).
func ArchiveResult(own, of xmpp.JID, query string, e *xmpp.Element) *xmpp.Element {
	results := xmpp.Children(e, NSArchive, "result")
	if !comesFrom(own, of, e) || len(results) != 1 || query == "" || xmpp.Attr(results[0], "queryid") != query || xmpp.Attr(e, "type") == "error" {
		return nil
	}
	return results[0]
}

// OpenArchived reads a result of the open query. The result must have an id to continue
// from.
func OpenArchived(own, of xmpp.JID, query string, e *xmpp.Element) (Archived, bool) {
	result := ArchiveResult(own, of, query, e)
	if result == nil {
		return Archived{}, false
	}
	a := Archived{ID: xmpp.Attr(result, "id"), Message: forwarded(result)}
	if a.ID == "" || a.Message == nil {
		return Archived{}, false
	}
	adoptDelays(own, a.Message, xmpp.Child(result, NSForward, "forwarded"))
	return a, true
}

// Missed reports whether a session of the account would have received the message, and as
// which kind of carbon copy, if any. Messages that the account has sent arrive only as
// carbon copies. A message to any session of the account counts, because the server
// delivers it to another session if that one is gone (RFC 6121, section 8.5.3.2.1).
func (a Archived) Missed(own xmpp.JID, carbons bool) (carbon string, ok bool) {
	switch {
	case isAccount(own, a.Message, "to"):
		return "", true
	case isAccount(own, a.Message, "from"):
		return "sent", carbons && xmpp.AddressIn(a.Message, "from") != own
	}
	return "", false
}

// ArchiveEnd is what the answer to a query says about its page.
type ArchiveEnd struct {
	Complete    bool   // nothing follows it, in the direction of the query
	First, Last string // the ids of its first and last message, to continue from; "" if the server names none
}

// ArchiveEndOf reads the <fin/> in the answer to a query. It ignores the count of
// messages, which may be an estimate (XEP-0059, section 2.7).
func ArchiveEndOf(answer *xmpp.Element) (end ArchiveEnd, ok bool) {
	fin := xmpp.Child(answer, NSArchive, "fin")
	if fin == nil {
		return ArchiveEnd{}, false
	}
	complete, set := xmpp.Attr(fin, "complete"), ResultSetOf(fin)
	return ArchiveEnd{Complete: complete == "true" || complete == "1", First: set.First, Last: set.Last}, true
}

// comesFrom reports whether a stanza to own comes from a bare JID. A stanza without a sender
// comes from the account, in whose name the server speaks.
func comesFrom(own, of xmpp.JID, e *xmpp.Element) bool {
	from, err := xmpp.Sender(e, own)
	return err == nil && from == of
}
