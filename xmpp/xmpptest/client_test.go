package xmpptest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"xmppkit/xmpp"
	"xmppkit/xmpp/internal/wire"
)

// A client is a raw one: it writes text and reads elements. It believes everything,
// so that the tests see what the server really does.
type client struct {
	nc     net.Conn
	r      *wire.Reader
	domain string
	jid    string
	header *xmpp.Element
}

// how a client logs in.
type how struct {
	mechanism string // SCRAM-SHA-256-PLUS if empty
	binding   string // tls-exporter if empty
	password  string
	resource  string
	flagY     bool
	maxTLS    uint16
	cert      *tls.Certificate
}

const openTag = `<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xml:lang='de' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`

func connect(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return attach(t, nc)
}

func attach(t testing.TB, nc net.Conn) *client {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	return &client{nc: nc, domain: "localhost"}
}

func (c *client) write(text string) error {
	_, err := io.WriteString(c.nc, text)
	return err
}

func (c *client) next() (*xmpp.Element, error) {
	e, _, err := c.r.Next()
	return e, err
}

// open writes text that begins with a header, and reads up to the features.
func (c *client) open(text string) (*xmpp.Element, error) {
	if err := c.write(text); err != nil {
		return nil, err
	}
	c.r = wire.NewReader(c.nc, wire.Limits{Stanza: 1 << 20})
	var err error
	if c.header, err = c.r.Header(); err != nil {
		return nil, err
	}
	return c.features()
}

func (c *client) features() (*xmpp.Element, error) {
	e, err := c.next()
	if err == nil && !xmpp.Is(e, xmpp.NSStream, "features") {
		err = errors.New("no features: " + text(e))
	}
	return e, err
}

func text(e *xmpp.Element) string {
	b, _ := xmpp.XML(e)
	return string(b)
}

func (c *client) startTLS(s *Server, h how) error {
	if _, err := c.open(openTag + "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
		return err
	}
	e, err := c.next()
	if err != nil {
		return err
	}
	if !xmpp.Is(e, xmpp.NSTLS, "proceed") {
		return errors.New("no proceed: " + text(e))
	}
	if c.r.Buffered() > 0 {
		return errors.New("data behind proceed")
	}
	return c.handshake(s, h, false)
}

func (c *client) handshake(s *Server, h how, direct bool) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA())
	config := &tls.Config{ServerName: s.Domain, RootCAs: roots, MaxVersion: h.maxTLS}
	if direct {
		config.NextProtos = []string{"xmpp-client"}
	}
	if h.cert != nil {
		config.Certificates = []tls.Certificate{*h.cert}
	}
	conn := tls.Client(c.nc, config)
	c.nc = conn
	return conn.Handshake()
}

// login authenticates and binds, with header and bind in one segment.
func (c *client) login(local string, h how) error {
	if _, err := c.open(openTag); err != nil {
		return err
	}
	if err := c.authenticate(local, h); err != nil {
		return err
	}
	resource := ""
	if h.resource != "" {
		resource = "<resource>" + h.resource + "</resource>"
	}
	if _, err := c.open(openTag + "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>" + resource + "</bind></iq>"); err != nil {
		return err
	}
	for {
		e, err := c.next()
		if err != nil {
			return err
		}
		if xmpp.Attr(e, "from") != "" {
			continue // forged
		}
		jid, ok := xmpp.Text(xmpp.Child(e, xmpp.NSBind, "bind"), xmpp.NSBind, "jid")
		if !ok {
			return errors.New("no bind: " + text(e))
		}
		c.jid = jid
		return nil
	}
}

func (c *client) authenticate(local string, h how) error {
	if h.password == "" {
		h.password = "secret of " + local
	}
	if h.mechanism == "" {
		h.mechanism = "SCRAM-SHA-256-PLUS"
	}
	var conversation *scram.ClientConversation
	step := func(string) (string, error) { return "", nil }
	switch {
	case h.mechanism == "PLAIN":
		step = func(string) (string, error) { return "\x00" + local + "\x00" + h.password, nil }
	case strings.HasPrefix(h.mechanism, "SCRAM-"):
		var err error
		if conversation, err = c.scram(local, h); err != nil {
			return err
		}
		step = conversation.Step
	}
	out, err := step("")
	if err != nil {
		return err
	}
	e := xmpp.NewElement(xmpp.NSSASL, "auth", "mechanism", h.mechanism)
	for {
		e.SetText("=")
		if out != "" {
			e.SetText(base64.StdEncoding.EncodeToString([]byte(out)))
		}
		if err := c.write(text(e)); err != nil {
			return err
		}
		answer, err := c.next()
		if err != nil {
			return err
		}
		in, _ := base64.StdEncoding.DecodeString(xmpp.TextOf(answer))
		switch {
		case xmpp.Is(answer, xmpp.NSSASL, "success"):
			if conversation != nil && !conversation.Done() { // not so if the signature came in a challenge
				_, err = step(string(in))
			}
			return err
		case !xmpp.Is(answer, xmpp.NSSASL, "challenge"):
			return errors.New(text(answer))
		}
		if out, err = step(string(in)); err != nil {
			return err
		}
		e = xmpp.NewElement(xmpp.NSSASL, "response")
	}
}

func (c *client) scram(local string, h how) (*scram.ClientConversation, error) {
	user, err := hash(strings.TrimSuffix(strings.TrimPrefix(h.mechanism, "SCRAM-"), "-PLUS")).NewClient(local, h.password, "")
	if err != nil {
		return nil, err
	}
	if !plus(h.mechanism) {
		if h.flagY {
			return user.NewConversationAdvertisingChannelBinding(), nil
		}
		return user.NewConversation(), nil
	}
	state := c.nc.(*tls.Conn).ConnectionState()
	var binding scram.ChannelBinding
	switch h.binding {
	case "tls-unique":
		binding = scram.NewTLSUniqueBinding(state.TLSUnique)
		if state.TLSUnique == nil {
			binding.Data = []byte("what TLS 1.3 does not have")
		}
	case "tls-server-end-point":
		binding, err = scram.NewTLSServerEndpointBinding(&state)
	default:
		var data []byte
		data, err = state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
		binding = scram.ChannelBinding{Type: "tls-exporter", Data: data}
	}
	return user.NewConversationWithChannelBinding(binding), err
}

// dial logs in by direct TLS; the password of everybody is "secret of" them.
func dial(s *Server, c *client, local string, h how) error {
	if err := c.handshake(s, h, true); err != nil {
		return err
	}
	return c.login(local, h)
}

func loggedIn(t testing.TB, s *Server, local string, h how) *client {
	t.Helper()
	c := connect(t, s.DirectAddr())
	if err := dial(s, c, local, h); err != nil {
		t.Fatalf("login of %s: %v", local, err)
	}
	return c
}

// expect reads the next element and compares it; id="*" stands for any id, and * is
// what is in a stamp and in a stanza-id.
func (c *client) expect(t testing.TB, want string) {
	t.Helper()
	e, err := c.next()
	if err != nil {
		t.Fatalf("want %s, got %v", want, err)
	}
	if strings.Contains(want, `id="*"`) {
		e.CreateAttr("id", "*")
	}
	want = strings.ReplaceAll(want, "'", `"`)
	boring := strings.NewReplacer(` xmlns="jabber:client"`, "", ` xml:lang="en"`, "", ` xml:lang="de"`, "")
	random := regexp.MustCompile(`( stamp=|<stanza-id [^>]* id=)"[^"]*"`)
	if got := random.ReplaceAllString(boring.Replace(text(e)), `$1"*"`); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func (c *client) send(t testing.TB, text string) {
	t.Helper()
	if err := c.write(text); err != nil {
		t.Fatal(err)
	}
}

// ping makes sure that the server has handled everything before it.
func (c *client) ping(t testing.TB) {
	t.Helper()
	c.send(t, "<iq type='get' id='ping' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>")
	c.expect(t, "<iq type='result' id='ping' from='localhost' to='"+c.jid+"'/>")
}

func start(t testing.TB, config Config) *Server {
	t.Helper()
	if config.Accounts == nil {
		config.Accounts = map[string]string{"romeo": "secret of romeo", "juliet": "secret of juliet"}
	}
	s, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
