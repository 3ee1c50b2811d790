package cmd

import (
	"strconv"
	"strings"
	"time"

	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
)

const (
	nsCorrect = "urn:xmpp:message-correct:0" // XEP-0308
	nsMarkers = "urn:xmpp:chat-markers:0"    // XEP-0333
	nsEME     = "urn:xmpp:eme:0"             // XEP-0380
)

// addressed has the fields that all stanza records share.
type addressed struct {
	when    time.Time
	delayed bool
	typ     string
	id      string
	sender  xmpp.JID // zero if from is not a valid address
	from    string
	bare    string // of from
	to      string
	err     *stanzaError
	XML     string
}

// newAddressed reads the common fields of a stanza that came to the address own. A from
// that is not a valid address is shown unchanged.
func newAddressed(own xmpp.JID, e *xmpp.Element, from xmpp.JID) addressed {
	a := addressed{
		when: time.Now(), typ: xmpp.Attr(e, "type"), id: xmpp.Attr(e, "id"),
		sender: from, from: from.String(), bare: from.Bare().String(), to: xmpp.Attr(e, "to"),
	}
	if from.IsZero() {
		a.from = xmpp.Attr(e, "from")
		a.bare, _, _ = strings.Cut(a.from, "/")
	}
	if a.to == "" {
		a.to = own.String()
	}
	stamp, delayed := xep.SentAt(own, e)
	if a.delayed = delayed; !stamp.IsZero() {
		a.when = stamp
	}
	if a.typ == "error" {
		a.err = newStanzaError(xmpp.ErrorOf(e))
	}
	return a
}

// messageRecord is a message that arrived.
type messageRecord struct {
	Kind             string       `json:"kind"`
	Time             output.Time  `json:"time"`
	Type             string       `json:"type"`
	From             string       `json:"from"`
	FromBare         string       `json:"from_bare"`
	To               string       `json:"to"`
	Delayed          bool         `json:"delayed"`
	Self             bool         `json:"self"`
	ID               string       `json:"id,omitempty"`
	StanzaID         string       `json:"stanza_id,omitempty"` // in the archive of your account
	Body             *string      `json:"body,omitempty"`      // an empty body is not the same as none
	Subject          *string      `json:"subject,omitempty"`
	Thread           string       `json:"thread,omitempty"`
	Lang             string       `json:"lang,omitempty"`
	URL              string       `json:"url,omitempty"`
	ReceiptFor       string       `json:"receipt_for,omitempty"`
	ReceiptRequested bool         `json:"receipt_requested,omitempty"`
	Replaces         string       `json:"replaces,omitempty"`
	Marker           string       `json:"marker,omitempty"` // received, displayed or acknowledged
	MarkerFor        string       `json:"marker_for,omitempty"`
	Carbon           string       `json:"carbon,omitempty"`    // sent or received, by another session
	Encrypted        string       `json:"encrypted,omitempty"` // the namespace of the encryption
	Error            *stanzaError `json:"error,omitempty"`
	XML              string       `json:"xml,omitempty"`
	Room             string       `json:"room,omitempty"`
	Nick             string       `json:"nick,omitempty"` // in the room

	outgoing  bool // the archive has it because the account sent it to another
	attention bool
	payload   string // the namespace of a payload that this program does not know
	nowhere   bool   // its sender is not a valid address, so nothing can be sent there
}

func newMessageRecord(a addressed, own xmpp.JID, e *xmpp.Element) *messageRecord {
	r := &messageRecord{
		Kind: "message", Time: output.Time(a.when), Type: messageType(a.typ), From: a.from, FromBare: a.bare,
		To: a.to, Delayed: a.delayed, Self: a.sender.Bare() == own.Bare(), ID: a.id, Error: a.err, XML: a.XML,
		nowhere: a.sender.IsZero(),
	}
	if a.err != nil {
		return r // the rest is the original message, not the error
	}
	r.Encrypted = encryption(e)
	if body := xmpp.InLang(e, xmpp.NSClient, "body"); body != nil && r.Encrypted == "" {
		r.Body = new(xmpp.TextOf(body))
		r.Lang = xmpp.Lang(body)
	}
	if subject := xmpp.InLang(e, xmpp.NSClient, "subject"); subject != nil {
		r.Subject = new(xmpp.TextOf(subject))
	}
	r.Thread, _ = xmpp.Text(e, xmpp.NSClient, "thread")
	r.URL, _ = xmpp.Text(xmpp.Child(e, nsOOB, "x"), nsOOB, "url")
	r.attention = xmpp.Child(e, nsAttention, "attention") != nil
	r.payload = foreignPayload(e)
	r.refer(e)
	return r
}

// refer reads a reference to an earlier message. Whether the sender may refer to it is
// for the reader to decide (XEP-0308, section 5).
func (r *messageRecord) refer(e *xmpp.Element) {
	idOf := func(ns, name string) string {
		if c := xmpp.Child(e, ns, name); c != nil {
			return xmpp.Attr(c, "id")
		}
		return ""
	}
	r.ReceiptFor = idOf(xep.NSReceipts, "received")
	r.ReceiptRequested = xmpp.Child(e, xep.NSReceipts, "request") != nil
	r.Replaces = idOf(nsCorrect, "replace")
	for _, name := range []string{"received", "displayed", "acknowledged"} {
		if id := idOf(nsMarkers, name); id != "" {
			r.Marker, r.MarkerFor = name, id
		}
	}
}

// wantsReceipt reports whether a message asks for a receipt and may have one (XEP-0184,
// section 5). Errors, receipts, messages in rooms and carbon copies get none. A stored
// message gets one, because it is delivered only now.
func (r *messageRecord) wantsReceipt() bool {
	return r.ReceiptRequested && r.ReceiptFor == "" && r.ID != "" && len(r.ID) <= maxReceiptID &&
		r.Error == nil && r.Type != "groupchat" && r.Carbon == "" && !r.nowhere
}

// maxReceiptID limits the ids that are sent back. An id is in the stanza twice, and
// every server must accept the stanza.
const maxReceiptID = 1 << 10

func newReceipt(m *messageRecord) *xmpp.Element { return xep.Receipt(m.From, m.Type, m.ID) }

// encryption returns the namespace of the encryption of a message, or "". The body of
// such a message is not the sender's text but a note for clients without encryption.
func encryption(message *xmpp.Element) string {
	announced := xmpp.Child(message, nsEME, "encryption")
	if announced != nil && xmpp.Attr(announced, "namespace") != "" {
		return xmpp.Attr(announced, "namespace")
	}
	for e := range xmpp.Elements(message) {
		switch ns := xmpp.Namespace(e); ns {
		case "eu.siacs.conversations.axolotl", "urn:xmpp:omemo:0", "urn:xmpp:omemo:1", "urn:xmpp:omemo:2", // XEP-0384
			"urn:xmpp:openpgp:0", "jabber:x:encrypted": // XEP-0373, XEP-0027
			return ns
		}
	}
	if announced != nil {
		return nsEME // with a method that it does not name
	}
	return ""
}

// messageType is the type; it is normal if the type is missing or unknown (RFC 6121,
// section 5.2.2).
func messageType(typ string) string {
	switch typ {
	case "chat", "error", "groupchat", "headline":
		return typ
	}
	return "normal"
}

// foreignPayload returns the namespace of the first payload that this program does not
// know, or "". It ignores payloads that mean nothing without a text, and copies of other
// messages, which are only the sender's claim.
func foreignPayload(message *xmpp.Element) string {
	for e := range xmpp.Elements(message) {
		switch ns := xmpp.Namespace(e); ns {
		case xmpp.NSClient, xep.NSReceipts, nsMarkers, nsCorrect, nsOOB, nsAttention, nsEME, xep.NSStanzaID, xep.NSDelay,
			"http://jabber.org/protocol/chatstates", "jabber:x:event", // XEP-0085, XEP-0022
			xep.NSOldDelay, "urn:xmpp:hints", "http://jabber.org/protocol/shim", // XEP-0334, XEP-0131
			"http://jabber.org/protocol/nick", "http://jabber.org/protocol/address", // XEP-0172, XEP-0033
			"urn:xmpp:reply:0", "urn:xmpp:fallback:0", "urn:xmpp:styling:0", // XEP-0461, XEP-0428, XEP-0393
			"urn:xmpp:occupant-id:0", "urn:xmpp:sec-label:0", "jabber:x:signed", // XEP-0421, XEP-0258, XEP-0027
			"urn:xmpp:mam:tmp", xep.NSArchive, xep.NSCarbons, xep.NSForward: // XEP-0313, XEP-0280, XEP-0297
		case "http://jabber.org/protocol/muc#user":
			for range xmpp.Elements(e) {
				return ns // an invitation; empty it only marks a private message (XEP-0045, section 7.5)
			}
		default:
			return ns
		}
	}
	return ""
}

// is reports whether a message is of one of the kinds. A receipt or marker is a message
// with no other content. A message without content is of no kind.
func (r *messageRecord) is(kinds map[string]bool) bool {
	switch {
	case r.Error != nil:
		return kinds["error"]
	case r.speaks():
		return kinds["message"]
	case r.ReceiptFor != "" || r.Marker != "":
		return kinds["receipt"] && r.ReceiptFor != "" || kinds["marker"] && r.Marker != ""
	}
	return kinds["message"] && r.payload != ""
}

// speaks reports whether a message has content for a reader.
func (r *messageRecord) speaks() bool {
	return said(r.Body) || said(r.Subject) || r.URL != "" || r.Replaces != "" || r.Encrypted != "" || r.attention
}

func said(text *string) bool { return text != nil && *text != "" }

func (r *messageRecord) WriteText(t *output.Text) {
	prefix := r.Time.String() + " " + r.FromBare
	if r.Error != nil || r.Nick != "" {
		prefix = r.Time.String() + " " + r.From
	}
	if r.Carbon == "sent" || r.outgoing {
		to, _, _ := strings.Cut(r.To, "/")
		prefix += " -> " + to
	}
	if r.Replaces != "" {
		prefix += " (corrects " + r.Replaces + ")"
	}
	if said(r.Subject) {
		t.Printf("%s [%s]", prefix, output.Words(*r.Subject))
		prefix = ""
	}
	var lines []string
	switch {
	case r.Error != nil:
		lines = append(lines, r.Error.String())
	case r.Encrypted != "":
		lines = append(lines, "(encrypted, "+r.Encrypted+")")
	case said(r.Body):
		lines = append(lines, *r.Body)
	case r.attention:
		lines = append(lines, "(asks for attention)")
	}
	if r.URL != "" && (r.Body == nil || *r.Body != r.URL) {
		lines = append(lines, r.URL)
	}
	if r.ReceiptFor != "" {
		lines = append(lines, "(receipt for "+output.Clean(r.ReceiptFor)+")")
	}
	if r.Marker != "" {
		lines = append(lines, "("+r.Marker+" "+output.Clean(r.MarkerFor)+")")
	}
	if len(lines) == 0 && !r.speaks() && r.payload != "" {
		lines = append(lines, "(payload "+output.Clean(r.payload)+")")
	}
	if r.XML != "" {
		lines = append(lines, r.XML)
	}
	t.Block(prefix+": ", strings.Join(lines, "\n"))
}

func (e *stanzaError) String() string {
	s := "error: " + e.Condition
	if e.Address != "" {
		s += ", new address " + output.Clean(e.Address)
	}
	if e.Text != "" {
		s += " (" + e.Text + ")"
	}
	return s
}

// presenceRecord is a presence that arrived.
type presenceRecord struct {
	Kind      string       `json:"kind"`
	Time      output.Time  `json:"time"`
	Type      string       `json:"type"`
	From      string       `json:"from"`
	FromBare  string       `json:"from_bare"`
	To        string       `json:"to"`
	Available bool         `json:"available"`
	ID        string       `json:"id,omitempty"`
	Show      string       `json:"show,omitempty"`
	Status    string       `json:"status,omitempty"`
	Priority  *int         `json:"priority,omitempty"`
	Error     *stanzaError `json:"error,omitempty"`
	XML       string       `json:"xml,omitempty"`
}

func newPresenceRecord(a addressed, e *xmpp.Element) *presenceRecord {
	r := &presenceRecord{
		Kind: "presence", Time: output.Time(a.when), Type: a.typ, From: a.from, FromBare: a.bare,
		To: a.to, Available: a.typ == "", ID: a.id, Error: a.err, XML: a.XML,
	}
	if r.Type == "" {
		r.Type = "available"
	}
	if r.Error != nil {
		return r
	}
	if status := xmpp.InLang(e, xmpp.NSClient, "status"); status != nil {
		r.Status = xmpp.TextOf(status)
	}
	if !r.Available {
		return r
	}
	r.Show = "online"
	switch show, _ := xmpp.Text(e, xmpp.NSClient, "show"); show {
	case "chat", "away", "xa", "dnd":
		r.Show = show
	}
	if text, ok := xmpp.Text(e, xmpp.NSClient, "priority"); ok {
		if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 8); err == nil {
			r.Priority = new(int(n))
		}
	}
	return r
}

// cost is roughly the memory that a record takes.
func (r *presenceRecord) cost() int {
	n := 512 + 3*len(r.From) + len(r.To) + len(r.ID) + len(r.Status)
	if r.Error != nil {
		n += len(r.Error.Text) + len(r.Error.By) + len(r.Error.Address)
	}
	return n
}

// knownPresence reports whether a type is one of RFC 6121, section 4.7.1.
func knownPresence(typ string) bool {
	switch typ {
	case "", "error", "probe", "subscribe", "subscribed", "unavailable", "unsubscribe", "unsubscribed":
		return true
	}
	return false
}

func (r *presenceRecord) WriteText(t *output.Text) {
	state := r.Type
	switch {
	case r.Error != nil:
		state = r.Error.String()
	case r.Available:
		state = r.Show
	}
	if r.Status != "" {
		state += " (" + r.Status + ")"
	}
	if r.XML != "" {
		state += "\n" + r.XML
	}
	t.Block(r.Time.String()+" "+r.From+": ", state)
}

// subscriptionRecord is a presence about a subscription, and the state that resulted.
type subscriptionRecord struct {
	presenceRecord
	Subscription string `json:"subscription"`
	Ask          string `json:"ask"`
	Approved     bool   `json:"approved"`
}

func newSubscriptionRecord(typ string, account xmpp.JID, c xmpp.Contact) *subscriptionRecord {
	r := &subscriptionRecord{Subscription: c.Subscription, Ask: ask(c), Approved: c.Approved}
	r.presenceRecord = presenceRecord{
		Kind: "presence", Time: output.Time(time.Now()), Type: typ, From: account.String(), FromBare: account.String(), To: c.JID.String(),
	}
	return r
}

func (r *subscriptionRecord) WriteText(t *output.Text) {
	t.Printf("%s: subscription %s", r.To, r.Subscription)
	if r.Ask != "" {
		t.Printf(", asked")
	}
	if r.Approved {
		t.Printf(", pre-approved")
	}
	t.Printf("\n")
}

// ask is the attribute of a roster item (RFC 6121, section 2.1.2.2).
func ask(c xmpp.Contact) string {
	if c.Ask {
		return "subscribe"
	}
	return ""
}

// rosterItem is a contact.
type rosterItem struct {
	Kind         string     `json:"kind"`
	JID          string     `json:"jid"`
	Name         string     `json:"name"`
	Subscription string     `json:"subscription"`
	Ask          string     `json:"ask"`
	Approved     bool       `json:"approved"`
	Groups       []string   `json:"groups"`
	Resources    []resource `json:"resources,omitzero"` // none is not the same as not asked for
}

// resource is where a contact is online.
type resource struct {
	Resource string `json:"resource"`
	Show     string `json:"show"`
	Status   string `json:"status,omitempty"`
	Priority *int   `json:"priority,omitempty"`
}

func newRosterItem(c xmpp.Contact) *rosterItem {
	return &rosterItem{
		Kind: "roster_item", JID: c.JID.String(), Name: c.Name, Subscription: c.Subscription,
		Ask: ask(c), Approved: c.Approved, Groups: append([]string{}, c.Groups...),
	}
}

func (r *rosterItem) WriteText(t *output.Text) {
	row := []any{r.JID, output.Words(r.Name), r.Subscription, output.Words(strings.Join(r.Groups, ", "))}
	if r.Resources != nil {
		var there []string
		for _, res := range r.Resources {
			there = append(there, strings.TrimSpace(res.Resource+" ("+res.Show+")"))
		}
		row = append(row, strings.Join(there, ", "))
	}
	t.Row(row...)
}

// iqRecord is a request that arrived.
type iqRecord struct {
	Kind     string       `json:"kind"`
	Time     output.Time  `json:"time"`
	Type     string       `json:"type"`
	ID       string       `json:"id"`
	From     string       `json:"from"`
	FromBare string       `json:"from_bare"`
	To       string       `json:"to"`
	NS       string       `json:"ns,omitempty"`
	XML      string       `json:"xml,omitempty"`
	Error    *stanzaError `json:"error,omitempty"`
}

func newIQRecord(a addressed, e *xmpp.Element) *iqRecord {
	r := &iqRecord{
		Kind: "iq", Time: output.Time(a.when), Type: a.typ, ID: a.id, From: a.from, FromBare: a.bare,
		To: a.to, XML: a.XML, Error: a.err,
	}
	for payload := range xmpp.Elements(e) {
		r.NS = xmpp.Namespace(payload)
		break
	}
	return r
}

func (r *iqRecord) WriteText(t *output.Text) {
	text := "iq " + r.Type + " " + r.NS
	if r.XML != "" {
		text += "\n" + r.XML
	}
	t.Block(r.Time.String()+" "+r.From+": ", text)
}

// maxQuote is how much text from others an error quotes, in bytes.
const maxQuote = 200

// quote shortens an address, a name or an id from others for an error.
func quote(s string) string { return xmpp.Clip(s, maxQuote) }

// stanzaError is the error of a stanza in JSON.
type stanzaError struct {
	Condition string `json:"condition"`
	Type      string `json:"type"`
	Text      string `json:"text,omitempty"`
	By        string `json:"by,omitempty"`
	Address   string `json:"address,omitempty"` // the new one, of gone and redirect
}

func newStanzaError(e *xmpp.StanzaError) *stanzaError {
	return &stanzaError{string(e.Condition), e.Type, e.Text, e.By, e.Address}
}
