package xmpptest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/xdg-go/scram"
)

// A saslFailure is answered with <failure/> (RFC 6120, section 6.5).
type saslFailure struct{ condition, text string }

func (f saslFailure) Error() string { return "SASL failure: " + f.condition }

// The texts are those of ejabberd, which clients can distinguish.
func wrongPassword() error {
	return saslFailure{"not-authorized", "Invalid username or password"}
}

func wrongBinding() error {
	return saslFailure{"not-authorized", "Invalid channel binding"}
}

// A mechanism takes a message of the client and returns our next one. It also returns
// the account, once the client has proved its identity.
type mechanism func(in string) (out string, user *account, err error)

func plus(mechanism string) bool { return strings.HasSuffix(mechanism, "-PLUS") }

func hash(name string) scram.HashGeneratorFcn {
	switch name {
	case "SHA-512":
		return scram.SHA512
	case "SHA-256":
		return scram.SHA256
	}
	return scram.SHA1
}

// configured returns the mechanisms that the server offers to everybody.
func (s *Server) configured() []string {
	switch {
	case len(s.config.Mechanisms) > 0:
		return s.config.Mechanisms
	case s.config.Legacy:
		return []string{"SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"}
	}
	return []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"}
}

// mechanisms are those offered on this connection.
func (c *conn) mechanisms() []string {
	if c.faults.has("only-plain") {
		return []string{"PLAIN"}
	}
	offer := slices.Clone(c.s.configured())
	if c.tls == nil || c.faults.has("strip-plus") {
		offer = slices.DeleteFunc(offer, plus)
	}
	if c.tls != nil {
		if _, ok := c.certified(); ok {
			offer = append([]string{"EXTERNAL"}, offer...)
		}
	}
	return offer
}

// mechanism starts an exchange with one of the offered mechanisms.
func (c *conn) mechanism(name string) mechanism {
	switch name {
	case "PLAIN":
		return c.plain
	case "EXTERNAL":
		return c.external
	}
	return c.scram(name)
}

// plain implements RFC 4616.
func (c *conn) plain(in string) (string, *account, error) {
	parts := strings.Split(in, "\x00")
	if len(parts) != 3 {
		return "", nil, saslFailure{condition: "malformed-request"}
	}
	user := c.s.account(parts[1])
	if user == nil || c.s.password(user) != parts[2] {
		return "", nil, wrongPassword()
	}
	return "", user, authorize(user, parts[0])
}

// external implements RFC 4422, appendix A, as XEP-0178 uses it.
func (c *conn) external(in string) (string, *account, error) {
	local, ok := c.certified()
	user := c.s.account(local)
	if !ok || user == nil {
		return "", nil, saslFailure{condition: "not-authorized"}
	}
	return "", user, authorize(user, in)
}

// authorize checks that nobody tries to act as somebody else.
func authorize(user *account, authzid string) error {
	if authzid != "" && authzid != user.jid.String() {
		return saslFailure{condition: "invalid-authzid"}
	}
	return nil
}

// A scramExchange implements RFC 5802. The library does the computing. This type checks
// that the client's mechanism and its channel binding flag agree.
type scramExchange struct {
	*conn
	mechanism string
	algorithm string
	user      *account
	library   *scram.ServerConversation // nil before the first message
}

func (c *conn) scram(name string) mechanism {
	x := &scramExchange{conn: c, mechanism: name}
	x.algorithm = strings.TrimSuffix(strings.TrimPrefix(name, "SCRAM-"), "-PLUS")
	return func(in string) (string, *account, error) {
		if x.library == nil {
			out, err := x.first(in)
			return out, nil, err
		}
		out, err := x.final(in)
		return out, x.user, err
	}
}

func (x *scramExchange) first(in string) (string, error) {
	binding, err := x.negotiateBinding(x.mechanism, in)
	if err != nil {
		return "", err
	}
	if x.user = x.s.account(claimed(in)); x.user == nil {
		return "", wrongPassword()
	}
	server, err := hash(x.algorithm).NewServer(func(string) (scram.StoredCredentials, error) {
		return x.s.credentials(x.user, x.algorithm, x.iterations())
	})
	if err != nil {
		return "", saslFailure{condition: "temporary-auth-failure"}
	}
	if x.faults.has("short-nonce") {
		server.WithNonceGenerator(func() string { return "" })
	}
	x.library = server.NewConversationWithChannelBinding(binding)
	out, err := x.library.Step(in)
	if err != nil {
		return "", saslFailure{condition: "malformed-request"}
	}
	if x.faults.has("high-iterations") {
		out = strings.Replace(out, ",i=4096", ",i=2147483648", 1)
	}
	return out, authorize(x.user, x.library.AuthzID())
}

func (x *scramExchange) final(in string) (string, error) {
	out, err := x.library.Step(in)
	switch {
	case out == scram.ErrChannelBindingsDontMatch:
		return "", wrongBinding()
	case out == "":
		return "", saslFailure{condition: "malformed-request"}
	case err != nil:
		return "", wrongPassword()
	case x.faults.has("wrong-signature"):
		out = "v=" + base64.StdEncoding.EncodeToString(make([]byte, hash(x.algorithm)().Size()))
	}
	return out, nil
}

func (c *conn) iterations() int {
	if c.faults.has("low-iterations") {
		return 1
	}
	return 4096
}

// claimed returns the user name in the client's first message, or "".
func claimed(in string) string {
	for field := range strings.SplitSeq(in, ",") {
		if name, ok := strings.CutPrefix(field, "n="); ok {
			return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name)
		}
	}
	return ""
}

// negotiateBinding returns what the client's final message must be bound to (RFC 5802,
// section 6). A client that sends y, although this server supports channel binding, has
// seen a forged list of mechanisms.
func (c *conn) negotiateBinding(name, in string) (scram.ChannelBinding, error) {
	flag, _, _ := strings.Cut(in, ",")
	kind, bound := strings.CutPrefix(flag, "p=")
	switch {
	case bound != plus(name):
		return scram.ChannelBinding{}, saslFailure{condition: "malformed-request"}
	case flag == "y" && !c.s.config.Legacy && slices.ContainsFunc(c.s.configured(), plus):
		return scram.ChannelBinding{}, saslFailure{"not-authorized", "Server does support channel binding"}
	case !bound:
		return scram.ChannelBinding{}, nil
	}
	data := c.binding(kind)
	if data == nil {
		data = []byte("none") // nothing matches it: found out at the end, as by ejabberd
	}
	return scram.ChannelBinding{Type: scram.ChannelBindingType(kind), Data: data}, nil
}

// bindingTypes are the types of channel binding that this connection has.
func (c *conn) bindingTypes() []string {
	types := []string{"tls-exporter", "tls-unique", "tls-server-end-point"}
	return slices.DeleteFunc(types, func(t string) bool { return c.binding(t) == nil })
}

// binding returns channel binding data, or nil for an unavailable type.
func (c *conn) binding(kind string) []byte {
	state := c.tls.ConnectionState()
	if c.s.config.Legacy && kind != "tls-unique" {
		return nil
	}
	switch kind {
	case "tls-exporter":
		// RFC 9266, section 2: a context of length zero, which on TLS 1.2 is not the
		// same as none.
		data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
		if err != nil {
			return nil
		}
		return data
	case "tls-unique":
		return state.TLSUnique
	case "tls-server-end-point":
		b, err := scram.NewTLSServerEndpointBinding(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.leaf}})
		if err != nil {
			return nil
		}
		return b.Data
	}
	return nil
}

// password returns the password that an account has now.
func (s *Server) password(a *account) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.password
}

// credentials returns the keys of an account, which are computed only once.
func (s *Server) credentials(a *account, algorithm string, iterations int) (scram.StoredCredentials, error) {
	s.mu.Lock()
	keys := a.keys[algorithm]
	s.mu.Unlock()
	return keys.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "xmpptest-" + a.jid.Local, Iters: iterations})
}
