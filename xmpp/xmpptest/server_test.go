package xmpptest

import (
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/xmpp"
)

func TestLogin(t *testing.T) {
	s := start(t, Config{})
	cert := s.ClientCertificate("romeo")
	for name, h := range map[string]how{
		"exporter":     {},
		"exporter 1.2": {maxTLS: tls.VersionTLS12},
		"unique":       {binding: "tls-unique", mechanism: "SCRAM-SHA-1-PLUS", maxTLS: tls.VersionTLS12},
		"end point":    {binding: "tls-server-end-point", mechanism: "SCRAM-SHA-512-PLUS"},
		"unbound":      {mechanism: "SCRAM-SHA-1"},
		"resource":     {resource: "orchard"},
		"certificate":  {mechanism: "EXTERNAL", cert: &cert},
	} {
		t.Run(name, func(t *testing.T) {
			direct, plain := connect(t, s.DirectAddr()), connect(t, s.Addr())
			if err := direct.handshake(s, h, true); err != nil {
				t.Fatal(err)
			}
			if err := plain.startTLS(s, h); err != nil {
				t.Fatal(err)
			}
			for _, c := range []*client{direct, plain} {
				if err := c.login("romeo", h); err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(c.jid, "romeo@localhost/"+h.resource) {
					t.Error(c.jid)
				}
				c.send(t, "</stream:stream>")
				if _, err := c.next(); err != io.EOF {
					t.Error("stream not closed:", err)
				}
			}
		})
	}
	if n := s.Attempts(); n != 14 {
		t.Error(n, "attempts")
	}
}

func TestLoginFails(t *testing.T) {
	cert := start(t, Config{}).ClientCertificate("romeo") // of another authority
	for name, test := range map[string]struct {
		config Config
		h      how
		want   string
	}{
		"password":         {Config{}, how{password: "x"}, "Invalid username or password"},
		"PLAIN password":   {Config{Mechanisms: []string{"PLAIN"}}, how{mechanism: "PLAIN", password: "x"}, "Invalid username or password"},
		"PLAIN":            {Config{}, how{mechanism: "PLAIN"}, "invalid-mechanism"},
		"unique on 1.3":    {Config{}, how{binding: "tls-unique"}, "Invalid channel binding"},
		"y":                {Config{}, how{mechanism: "SCRAM-SHA-1", flagY: true}, "Server does support channel binding"},
		"y, stripped":      {Config{Faults: []Fault{"strip-plus"}}, how{mechanism: "SCRAM-SHA-1", flagY: true}, "Server does support channel binding"},
		"legacy exporter":  {Config{Legacy: true}, how{mechanism: "SCRAM-SHA-1-PLUS"}, "Invalid channel binding"},
		"other authority":  {Config{}, how{mechanism: "EXTERNAL", cert: &cert}, "invalid-mechanism"},
		"sasl-failure":     {Config{Faults: []Fault{"sasl-failure=account-disabled"}}, how{}, "account-disabled"},
		"wrong-signature":  {Config{Faults: []Fault{"wrong-signature"}}, how{}, "server validation failed"},
		"no-signature":     {Config{Faults: []Fault{"no-signature"}}, how{}, "error parsing"},
		"early-success":    {Config{Faults: []Fault{"early-success"}}, how{}, "not enough fields"},
		"low-iterations":   {Config{Faults: []Fault{"low-iterations"}}, how{}, "iterations"},
		"message-in-sasl":  {Config{Faults: []Fault{"message-in-sasl"}}, how{}, "injected"},
		"bind-error":       {Config{Faults: []Fault{"bind-error=not-allowed"}}, how{}, "not-allowed"},
		"bind-conflict":    {Config{Faults: []Fault{"bind-conflict"}}, how{resource: "x"}, "conflict"},
		"only-plain":       {Config{Faults: []Fault{"only-plain"}}, how{}, "invalid-mechanism"},
		"TLS 1.3 required": {Config{MinTLS: tls.VersionTLS13}, how{maxTLS: tls.VersionTLS12}, "protocol version"},
		"wrong-cert":       {Config{Faults: []Fault{"wrong-cert"}}, how{}, "valid for other.example"},
		"expired-cert":     {Config{Faults: []Fault{"expired-cert"}}, how{}, "expired"},
		"self-signed":      {Config{Faults: []Fault{"self-signed"}}, how{}, "unknown authority"},
		"untrusted-ca":     {Config{Faults: []Fault{"untrusted-ca"}}, how{}, "unknown authority"},
		"wrong-ns":         {Config{Faults: []Fault{"bad-header=wrong-ns"}}, how{}, "no features"},
		"http":             {Config{Faults: []Fault{"bad-header@secure-header=http"}}, how{}, "not-well-formed"},
		"see-other-host":   {Config{Faults: []Fault{"stream-error@restart=see-other-host:[::1]:22"}}, how{}, ">[::1]:22</see-other-host>"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, test.config)
			err := dial(s, connect(t, s.DirectAddr()), "romeo", test.h)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestLoginDespiteFaults(t *testing.T) {
	for _, f := range []Fault{"strip-types", "final-challenge", "byte-by-byte", "one-segment", "bad-header=no-id", "first=0", "forged-reply"} {
		t.Run(string(f), func(t *testing.T) {
			loggedIn(t, start(t, Config{Faults: []Fault{f}}), "romeo", how{})
		})
	}
	loggedIn(t, start(t, Config{Legacy: true}), "romeo", how{mechanism: "SCRAM-SHA-1-PLUS", binding: "tls-unique", maxTLS: tls.VersionTLS12})
	loggedIn(t, start(t, Config{Legacy: true}), "romeo", how{mechanism: "SCRAM-SHA-1", flagY: true})
	loggedIn(t, start(t, Config{Mechanisms: []string{"PLAIN"}}), "romeo", how{mechanism: "PLAIN"})
	loggedIn(t, start(t, Config{Faults: []Fault{"no-signature", "first=0"}}), "romeo", how{})
}

// A connection that a fault ends must end, at the phase named and as named.
func TestEndingFaults(t *testing.T) {
	for _, phase := range phases() {
		for _, name := range []string{"close", "reset"} {
			t.Run(name+"@"+phase, func(t *testing.T) {
				s := start(t, Config{Faults: []Fault{Fault(name + "@" + phase)}})
				nc, err := net.Dial("tcp", s.Addr())
				if err != nil { // reset that early
					return
				}
				c := attach(t, nc)
				if err = c.startTLS(s, how{}); err == nil {
					err = c.login("romeo", how{})
				}
				if late := phase == "session" || phase == "confirm" || phase == "ack"; late != (err == nil) {
					t.Fatal("login:", err)
				}
				if err == nil {
					c.send(t, "<enable xmlns='urn:xmpp:sm:3'/><iq type='get' id='1' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq><r xmlns='urn:xmpp:sm:3'/>")
					for err == nil {
						_, err = c.next()
					}
				}
				if err == io.EOF && phase != "handshake" || strings.Contains(err.Error(), "timeout") {
					t.Error(err)
				}
			})
		}
	}
}

func TestSilence(t *testing.T) {
	for _, fault := range []Fault{"silence@accept", "silence@header", "silence@proceed", "drip@handshake", "silence@confirm", "drip@session"} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{Faults: []Fault{fault}})
			c := connect(t, s.Addr())
			c.nc.SetDeadline(time.Now().Add(300 * time.Millisecond))
			err := c.startTLS(s, how{})
			if err == nil {
				err = c.login("romeo", how{})
			}
			if err == nil {
				c.send(t, "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>")
				_, err = c.next()
			}
			if timeout, ok := err.(net.Error); (!ok || !timeout.Timeout()) && fault != "drip@handshake" {
				t.Error(err)
			}
		})
	}
}

func TestPlaintext(t *testing.T) {
	s := start(t, Config{})
	for request, want := range map[string]string{
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>hello":                         "policy-violation",
		"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>": "encryption-required",
		"<message/>": "not-authorized",
		"<!-- -->":   "restricted-xml",
	} {
		c := connect(t, s.Addr())
		if _, err := c.open(openTag + request); err != nil {
			t.Fatal(err)
		}
		if e, err := c.next(); err != nil || !strings.Contains(text(e), want) {
			t.Errorf("%s: %v, want %s", request, err, want)
		}
	}
	for header, want := range map[string]string{
		strings.Replace(openTag, "localhost", "evil.example", 1): "host-unknown",
		strings.Replace(openTag, "jabber:client", "jabber:c", 1): "invalid-namespace",
		strings.Replace(openTag, "version='1.0' xml", "xml", 1):  "unsupported-version",
		"GET / HTTP/1.1\r\n": "not-well-formed",
	} {
		if _, err := connect(t, s.Addr()).open(header); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", header, err, want)
		}
	}
	s.SetFaults("no-starttls")
	if err := connect(t, s.Addr()).startTLS(s, how{}); err == nil || !strings.Contains(err.Error(), "<failure") {
		t.Error("no-starttls:", err)
	}
	s.SetFaults("inject-proceed")
	if err := connect(t, s.Addr()).startTLS(s, how{}); err == nil || err.Error() != "data behind proceed" {
		t.Error("inject-proceed:", err)
	}
}

func TestMessages(t *testing.T) {
	s := start(t, Config{})
	romeo, juliet := loggedIn(t, s, "romeo", how{resource: "r"}), loggedIn(t, s, "juliet", how{resource: "j"})
	juliet.send(t, "<presence/>")
	juliet.expect(t, "<presence from='juliet@localhost/j' to='juliet@localhost'/>")

	romeo.send(t, "<message to='juliet@localhost' type='chat' id='1'><body>one</body></message>"+
		"<message to='juliet@localhost/gone' id='2'><body>two</body></message>"+
		"<message to='juliet@localhost' type='groupchat' id='3'/>"+
		"<message to='juliet@localhost/gone' type='headline' id='4'/>"+
		"<message to='nobody@localhost' type='error' id='5'/>"+
		"<message to='nobody@localhost' id='6'/>"+
		"<message to='elsewhere.example' id='7'/>"+
		"<message to='@' id='8'/>"+
		"<presence to='nobody@localhost'/>"+
		"<iq to='nobody@localhost' type='get' id='9'><ping xmlns='urn:xmpp:ping'/></iq>"+
		"<iq to='juliet@localhost/gone' type='get' id='10'><ping xmlns='urn:xmpp:ping'/></iq>"+
		"<iq to='localhost' type='get' id='11'><unknown xmlns='x'/></iq>"+
		"<iq to='juliet@localhost/j' type='get' id='12'><ping xmlns='urn:xmpp:ping'/></iq>"+
		"<iq type='get' id='ping' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	bounce := func(tag, id, from, kind, condition string) {
		t.Helper()
		romeo.expect(t, "<"+tag+" type='error' id='"+id+"' from='"+from+"' to='romeo@localhost/r'><error type='"+kind+"'><"+
			condition+" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></"+tag+">")
	}
	bounce("message", "3", "juliet@localhost", "cancel", "service-unavailable")
	bounce("message", "6", "nobody@localhost", "cancel", "service-unavailable")
	bounce("message", "7", "elsewhere.example", "cancel", "remote-server-not-found")
	bounce("message", "8", "localhost", "modify", "jid-malformed")
	bounce("iq", "9", "nobody@localhost", "cancel", "service-unavailable")
	bounce("iq", "10", "juliet@localhost/gone", "cancel", "service-unavailable")
	bounce("iq", "11", "localhost", "cancel", "service-unavailable")
	romeo.expect(t, "<iq type='result' id='ping' from='localhost' to='romeo@localhost/r'/>")

	juliet.expect(t, "<message to='juliet@localhost' type='chat' id='1' from='romeo@localhost/r'><body>one</body><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@localhost' id='*'/></message>")
	if e, err := juliet.next(); err != nil || xmpp.Lang(e) != "de" || xmpp.Attr(e, "id") != "2" {
		t.Error("the language of the stream is not that of the stanza:", err, e)
	}
	juliet.expect(t, "<iq to='juliet@localhost/j' type='get' id='12' from='romeo@localhost/r'><ping xmlns='urn:xmpp:ping'/></iq>")
	juliet.send(t, "<iq type='result' id='12' to='romeo@localhost/r'/>")
	romeo.expect(t, "<iq type='result' id='12' to='romeo@localhost/r' from='juliet@localhost/j'/>")

	romeo.send(t, "<message from='juliet@localhost' to='juliet@localhost'/>")
	if e, err := romeo.next(); err != nil || xmpp.Child(e, xmpp.NSStreams, "invalid-from") == nil {
		t.Error("forged from:", err)
	}
	juliet.ping(t)
}

func TestPriority(t *testing.T) {
	s := start(t, Config{})
	low, high, hidden := loggedIn(t, s, "juliet", how{}), loggedIn(t, s, "juliet", how{}), loggedIn(t, s, "juliet", how{})
	sender := loggedIn(t, s, "romeo", how{})
	present := func(c *client, priority string, others int) {
		t.Helper()
		c.send(t, "<presence><priority>"+priority+"</priority></presence>")
		for range 1 + others {
			if e, err := c.next(); err != nil || e.Tag != "presence" {
				t.Fatal(err)
			}
		}
	}
	present(hidden, "-1", 0)
	sender.send(t, "<message to='juliet@localhost' id='1'/><message to='juliet@localhost' id='2' type='headline'/>")
	sender.ping(t)
	hidden.ping(t) // has got neither
	present(low, "1", 1)
	low.expect(t, "<message to='juliet@localhost' id='1' from='"+sender.jid+"'><delay xmlns='urn:xmpp:delay' from='localhost' stamp='*'/></message>")
	present(high, "2", 2)
	sender.send(t, "<message to='juliet@localhost' id='3'/>")
	high.expect(t, "<message to='juliet@localhost' id='3' from='"+sender.jid+"'/>")
}

func TestConflict(t *testing.T) {
	s := start(t, Config{Friends: true})
	old := loggedIn(t, s, "romeo", how{resource: "r"})
	loggedIn(t, s, "romeo", how{resource: "r"}).ping(t)
	e, err := old.next()
	if err != nil || xmpp.Child(e, xmpp.NSStreams, "conflict") == nil {
		t.Fatal(err)
	}
	if _, err := old.next(); err != io.EOF {
		t.Error(err)
	}
}

func TestPresence(t *testing.T) {
	s := start(t, Config{Friends: true})
	romeo, juliet := loggedIn(t, s, "romeo", how{resource: "r"}), loggedIn(t, s, "juliet", how{resource: "j"})
	romeo.send(t, "<presence><show>away</show></presence>")
	romeo.expect(t, "<presence from='romeo@localhost/r' to='romeo@localhost'><show>away</show></presence>")
	juliet.send(t, "<presence/>")
	juliet.expect(t, "<presence from='juliet@localhost/j' to='juliet@localhost'/>")
	juliet.expect(t, "<presence from='romeo@localhost/r' to='juliet@localhost'><show>away</show></presence>")
	romeo.expect(t, "<presence from='juliet@localhost/j' to='romeo@localhost'/>")
	romeo.nc.Close()
	juliet.expect(t, "<presence type='unavailable' from='romeo@localhost/r' to='juliet@localhost'/>")
	juliet.ping(t)
}

func TestRoster(t *testing.T) {
	c := loggedIn(t, start(t, Config{}), "romeo", how{resource: "r"})
	result := func(id, payload string) {
		t.Helper()
		if payload == "" {
			c.expect(t, "<iq type='result' id='"+id+"' to='romeo@localhost/r'/>")
			return
		}
		c.expect(t, "<iq type='result' id='"+id+"' to='romeo@localhost/r'>"+payload+"</iq>")
	}
	push := func(payload string) {
		t.Helper()
		c.expect(t, "<iq type='set' id=\"*\" to='romeo@localhost/r'>"+payload+"</iq>")
	}
	c.send(t, "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>"+
		"<iq type='set' id='2'><query xmlns='jabber:iq:roster'><item jid='juliet@localhost' name='J'><group>G</group></item></query></iq>"+
		"<iq type='get' id='3'><query xmlns='jabber:iq:roster' ver='1'/></iq>"+
		"<iq type='get' id='4'><query xmlns='jabber:iq:roster' ver='0'/></iq>"+
		"<iq type='set' id='5'><query xmlns='jabber:iq:roster'><item jid='juliet@localhost' subscription='remove'/></query></iq>"+
		"<iq type='set' id='6'><query xmlns='jabber:iq:roster'><item jid='juliet@localhost' subscription='remove'/></query></iq>")
	item := "<item jid='juliet@localhost' subscription='none' name='J'><group>G</group></item>"
	result("1", "<query xmlns='jabber:iq:roster' ver='0'/>")
	push("<query xmlns='jabber:iq:roster' ver='1'>" + item + "</query>")
	result("2", "")
	result("3", "")
	result("4", "<query xmlns='jabber:iq:roster' ver='1'>"+item+"</query>")
	push("<query xmlns='jabber:iq:roster' ver='2'><item jid='juliet@localhost' subscription='remove'/></query>")
	result("5", "")
	if e, err := c.next(); err != nil || !strings.Contains(text(e), "item-not-found") {
		t.Error(err)
	}
}

func TestSubscription(t *testing.T) {
	s := start(t, Config{})
	romeo := loggedIn(t, s, "romeo", how{resource: "r"})
	state := func(c *client, want string) {
		t.Helper()
		e, err := c.next()
		item := xmpp.Child(xmpp.Child(e, nsRoster, "query"), nsRoster, "item")
		if err != nil || item == nil {
			t.Fatalf("no push but %v, %v", e, err)
		}
		if got := xmpp.Attr(item, "subscription") + xmpp.Attr(item, "ask") + xmpp.Attr(item, "approved"); got != want {
			t.Errorf("state %s, want %s", got, want)
		}
	}
	presence := func(c *client, kind, from string) {
		t.Helper()
		e, err := c.next()
		if err != nil || e.Tag != "presence" || xmpp.Attr(e, "type") != kind || xmpp.Attr(e, "from") != from {
			t.Fatalf("%v, %v, want %s from %s", err, e, kind, from)
		}
	}
	roster := "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>"
	romeo.send(t, roster+"<presence/><presence to='juliet@localhost' type='subscribe'/>")
	romeo.next()
	presence(romeo, "", "romeo@localhost/r")
	state(romeo, "nonesubscribe")

	juliet := loggedIn(t, s, "juliet", how{resource: "j"})
	juliet.send(t, roster+"<presence/>")
	juliet.next()
	presence(juliet, "", "juliet@localhost/j")
	presence(juliet, "subscribe", "romeo@localhost")
	juliet.send(t, "<presence to='romeo@localhost' type='subscribed'/>")
	state(juliet, "from")
	state(romeo, "to")
	presence(romeo, "subscribed", "juliet@localhost")
	presence(romeo, "", "juliet@localhost/j")

	romeo.send(t, "<presence to='juliet@localhost' type='subscribed'/>") // before she asks
	state(romeo, "totrue")
	juliet.send(t, "<presence to='romeo@localhost' type='subscribe'/>")
	state(juliet, "fromsubscribe")
	state(romeo, "both")
	state(juliet, "both")
	presence(juliet, "subscribed", "romeo@localhost")
	presence(juliet, "", "romeo@localhost/r")

	romeo.send(t, "<iq type='set' id='6'><query xmlns='jabber:iq:roster'><item jid='juliet@localhost' subscription='remove'/></query></iq>")
	state(juliet, "to")
	presence(juliet, "unsubscribe", "romeo@localhost")
	state(juliet, "none")
	presence(juliet, "unsubscribed", "romeo@localhost")
	presence(juliet, "unavailable", "romeo@localhost/r")
	presence(romeo, "unavailable", "juliet@localhost/j")
	state(romeo, "remove")
}

func TestDisco(t *testing.T) {
	c := loggedIn(t, start(t, Config{}), "romeo", how{})
	for to, want := range map[string]string{"localhost": `category="server"`, "romeo@localhost": `category="account"`, "juliet@localhost": "service-unavailable"} {
		c.send(t, "<iq type='get' id='1' to='"+to+"'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
		if e, err := c.next(); err != nil || !strings.Contains(text(e), want) {
			t.Errorf("%s: %v, %v", to, e, err)
		}
	}
}

func TestDiscoTree(t *testing.T) {
	ask := func(node, set string, faults ...Fault) string {
		c := loggedIn(t, start(t, Config{Faults: append(faults, "disco-tree=3x2")}), "romeo", how{})
		c.send(t, "<iq type='get' id='1' to='localhost'><query xmlns='http://jabber.org/protocol/disco#items' node='"+node+"'>"+set+"</query></iq>")
		e, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		return text(e)
	}
	after := func(n string) string {
		return "<set xmlns='http://jabber.org/protocol/rsm'><max>2</max><after>" + n + "</after></set>"
	}
	for _, c := range []struct{ got, want, not string }{
		{ask("", ""), `<item node="3" name="Item 3" jid="localhost"/></query>`, "<set"},
		{ask("1", ""), `node="1.3"`, "<set"},
		{ask("1.3", ""), `node="1.3"`, "<item "},
		{ask("1.3.1", ""), "item-not-found", "<item "},
		{ask("", after("")), "<first>1</first><last>2</last><count>3</count></set>", `node="3"`},
		{ask("", after("2")), "<first>3</first><last>3</last><count>3</count></set>", `node="2"`},
		{ask("", after("3")), "<count>3</count></set>", "<item "},
		{ask("", after("2"), "disco-pages=again"), "<first>1</first><last>2</last>", `node="3"`},
		{ask("", after("2"), "disco-pages=endless"), "<first>3</first><last>4</last>", "<count"},
		{ask("1.3", "", "disco-loop"), `<item node="1.3" jid="localhost"/><item jid="localhost"/>`, ""},
		{ask("1.2", "", "disco-refuse=forbidden"), "<forbidden", ""},
		{ask("", "", "disco-text=x"), `name="x"`, "Item"},
	} {
		if !strings.Contains(c.got, c.want) || c.not != "" && strings.Contains(c.got, c.not) {
			t.Errorf("got %s, want %s and not %s", c.got, c.want, c.not)
		}
	}
}

func TestSessionFaults(t *testing.T) {
	request := "<iq type='get' id='1' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"
	for fault, want := range map[Fault]string{
		"stream-error=reset":                        "<reset",
		"malformed=<a></b>":                         "end tag",
		"inject=<message><body>hi</body></message>": "<body>hi</body>",
		"endless-stanza":                            "too large",
		"forged-reply":                              `from="mallory@localhost/x"`,
		"echo":                                      `type="get"`,
	} {
		t.Run(string(fault), func(t *testing.T) {
			c := loggedIn(t, start(t, Config{Faults: []Fault{fault}}), "romeo", how{})
			c.send(t, request)
			e, err := c.next()
			if err == nil && !strings.Contains(text(e), want) || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, %v", e, err)
			}
		})
	}
	for fault, want := range map[Fault]string{
		"bounce-late=20":     `id="ping"`,
		"bounce-wrong-id":    "service-unavailable",
		"bounce-third-party": "mallory@evil.example",
		"rate-limit=0":       "policy-violation",
	} {
		t.Run(string(fault), func(t *testing.T) {
			c := loggedIn(t, start(t, Config{Faults: []Fault{fault}}), "romeo", how{})
			c.send(t, "<message to='nobody@localhost' id='m'/><iq type='get' id='ping' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
			for i := range 2 {
				e, err := c.next()
				if err != nil || i == 0 && (!strings.Contains(text(e), want) || fault == "bounce-wrong-id" && xmpp.Attr(e, "id") == "m") {
					t.Errorf("%v, %v", e, err)
				}
			}
		})
	}
}

func TestParseFault(t *testing.T) {
	for _, line := range Faults() {
		usage, _, _ := strings.Cut(line, "\t")
		usage, value, hasValue := strings.Cut(usage, "=")
		usage = strings.NewReplacer("[@PHASE]", "", "PHASE", "bind").Replace(usage)
		if hasValue {
			value, _, _ = strings.Cut(value, "|")
			switch value {
			case "N", "MS":
				value = "1"
			case "WIDTHxDEPTH":
				value = "3x2"
			}
			usage += "=" + value
		}
		if _, err := ParseFault(usage); err != nil {
			t.Errorf("%s: %v", usage, err)
		}
	}
	for _, s := range []string{"", "nonsense", "silence", "silence@never", "no-starttls@bind", "no-starttls=1", "stream-error", "first=x", "bad-header=odd", "disco-tree=3", "disco-tree=0x1", "disco-tree=3x2x1"} {
		if _, err := ParseFault(s); err == nil {
			t.Errorf("%q parses", s)
		}
	}
}

// One write for each flight: what counts on links with long round trips.
func TestFlights(t *testing.T) {
	var mu sync.Mutex
	var flights []string
	s := start(t, Config{Trace: func(_ int, in bool, b []byte) {
		mu.Lock()
		defer mu.Unlock()
		flights = append(flights, map[bool]string{true: "in ", false: "out "}[in]+string(b))
	}})
	c := connect(t, s.Addr())
	if err := c.startTLS(s, how{}); err != nil {
		t.Fatal(err)
	}
	if err := c.login("romeo", how{}); err != nil {
		t.Fatal(err)
	}
	c.send(t, "<message to='nobody@localhost'/><iq type='get' id='ping' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	c.next()
	c.next()
	mu.Lock()
	defer mu.Unlock()
	want := []string{"in <?xml", "out <?xml", "in <?xml", "out <?xml", "in <auth", "out <challenge", "in <response", "out <success",
		"in <?xml", "out <?xml", "in <message", "out <message"}
	if len(flights) != len(want) {
		t.Fatalf("%d flights: %q", len(flights), flights)
	}
	for i := range want {
		if !strings.HasPrefix(flights[i], want[i]) {
			t.Errorf("%q, want %q", flights[i], want[i])
		}
	}
}

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Accounts: map[string]string{"romeo": "secret of romeo"}})
		if err != nil {
			t.Fatal(err)
		}
		there, here := net.Pipe()
		go s.ServeConn(there, true)
		c := attach(t, here)
		if err := dial(s, c, "romeo", how{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		c.ping(t)
		s.Close()
	})
}

func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	s := start(t, Config{Faults: []Fault{"drip@session"}})
	bound, dripping := loggedIn(t, s, "romeo", how{}), loggedIn(t, s, "juliet", how{})
	connect(t, s.Addr())
	connect(t, s.DirectAddr())
	dripping.send(t, "<presence/>")
	begin := time.Now()
	s.Close()
	if d := time.Since(begin); d > time.Second {
		t.Error("Close took", d)
	}
	if e, err := bound.next(); err != nil || xmpp.Child(e, xmpp.NSStreams, "system-shutdown") == nil {
		t.Error(e, err)
	}
	s.Close()
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{Domain: "a b"}, {Domain: "a@b"}, {Accounts: map[string]string{"a/b": "x"}}, {Faults: []Fault{"x"}}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
	if _, err := New(Config{Domain: "bücher.example"}); err != nil {
		t.Error(err)
	}
}

func BenchmarkLogin(b *testing.B) {
	s := start(b, Config{})
	for b.Loop() {
		c := connect(b, s.DirectAddr())
		if err := dial(s, c, "romeo", how{mechanism: "SCRAM-SHA-1"}); err != nil {
			b.Fatal(err)
		}
		c.nc.Close()
	}
}

func BenchmarkRoute(b *testing.B) {
	s := start(b, Config{})
	romeo, juliet := loggedIn(b, s, "romeo", how{}), loggedIn(b, s, "juliet", how{})
	juliet.send(b, "<presence/>")
	juliet.next()
	go func() {
		batch := strings.Repeat("<message to='juliet@localhost' type='chat' id='1'><body>one of many</body></message>", 100)
		for romeo.write(batch) == nil {
		}
	}()
	for b.Loop() {
		if _, err := juliet.next(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		s, err := Start(Config{})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
