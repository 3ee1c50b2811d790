package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// prove computes both proofs of RFC 5802, section 3, without the library.
func prove(h func() hash.Hash, password, salt string, iterations int, authMessage string) (client, server string) {
	sum := func(key, message []byte) []byte {
		m := hmac.New(h, key)
		m.Write(message)
		return m.Sum(nil)
	}
	rawSalt, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		panic(err)
	}
	salted, err := pbkdf2.Key(h, password, rawSalt, iterations, h().Size())
	if err != nil {
		panic(err)
	}
	clientKey := sum(salted, []byte("Client Key"))
	stored := h()
	stored.Write(clientKey)
	proof := sum(stored.Sum(nil), []byte(authMessage))
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	verifier := sum(sum(salted, []byte("Server Key")), []byte(authMessage))
	return base64.StdEncoding.EncodeToString(proof), base64.StdEncoding.EncodeToString(verifier)
}

// The published logins of user "user" with password "pencil".
var vectors = []struct {
	name        string
	offer       Offer
	have        []Binding
	hash        func() hash.Hash
	nonce       string
	first       string // client-first
	serverFirst string
	final       string // client-final without proof, and without extensions
	extension   string // what only the published client-final has
	p, v        string
}{
	{
		"RFC 5802, section 5", Offer{Mechanisms: []string{"SCRAM-SHA-1"}}, nil, sha1.New,
		"fyko+d2lbbFgONRv9qkxdawL",
		"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
		"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
		"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j", "",
		"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
	},
	{
		"RFC 7677, section 3", Offer{Mechanisms: []string{"SCRAM-SHA-256"}}, nil, sha256.New,
		"rOprNGfwEbeRWgbNEkqO",
		"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "",
		"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
	},
	{
		// Its client-final still has an extension the text no longer speaks of.
		"XEP-0474, section 6.3",
		Offer{[]string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}, []string{"tls-server-end-point", "tls-exporter"}},
		[]Binding{fakeExporter}, sha1.New,
		"12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6",
		"p=tls-exporter,,n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6",
		"r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=",
		"c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6",
		",x=19C6532F-1CF4-4A27-A18D-DC9CEA41BBB3",
		"M/SIDjT+dfcxUh89jZEypRvFxB4=", "MQrMPvv7yv4x4Cq4W4Ih25EqS2c=",
	},
	{
		"XEP-0515, section 4.3",
		Offer{[]string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}, []string{"tls-server-end-point", "tls-exporter"}},
		[]Binding{fakeExporter}, sha1.New,
		"12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6",
		"p=tls-exporter,,n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6",
		"r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=,t=0304",
		"c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6", "",
		"KHUfN8dSy1K95crT4D5y1ItLJfs=", "3w34ZIMVRkx2f2Ozb3/ecRPVdv4=",
	},
}

// The function prove, checked by what is published, checks the client.
func TestVectors(t *testing.T) {
	for _, test := range vectors {
		salt := strings.TrimPrefix(strings.Split(test.serverFirst, ",")[1], "s=")
		bare := test.first[strings.Index(test.first, "n=user"):]
		p, v := prove(test.hash, "pencil", salt, 4096, bare+","+test.serverFirst+","+test.final+test.extension)
		if p != test.p || v != test.v {
			t.Errorf("%s: proofs %s and %s, want %s and %s", test.name, p, v, test.p, test.v)
		}
		if test.extension != "" {
			p, v = prove(test.hash, "pencil", salt, 4096, bare+","+test.serverFirst+","+test.final)
		}

		c, err := choose(test.offer, Credentials{Username: "user", Password: "pencil"}, tls.VersionTLS13, test.have, test.nonce)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got, err := c.Start(); err != nil || string(got) != test.first {
			t.Errorf("%s: %s, %v; want %s", test.name, got, err, test.first)
		}
		want := test.final + ",p=" + p
		if got, err := c.Next([]byte(test.serverFirst)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", test.name, got, err, want)
		}
		if err := c.Finish([]byte("v=" + v)); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// newServer is the server half of the library, for "a,b=c" with "I\u00adX".
func newServer(t *testing.T, mechanism string, binding Binding) *scram.ServerConversation {
	t.Helper()
	h := hashOf(mechanism)
	client, err := h.NewClient("a,b=c", "IX", "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt and pepper", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	server, err := h.NewServer(func(user string) (scram.StoredCredentials, error) {
		if user != "a,b=c" {
			return scram.StoredCredentials{}, fmt.Errorf("no user %q", user)
		}
		return stored, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if binding.Type == "" {
		return server.NewConversation()
	}
	return server.NewConversationWithChannelBinding(scram.ChannelBinding{
		Type: scram.ChannelBindingType(binding.Type), Data: binding.Data})
}

// exchange passes on the messages up to the server's last and returns that one,
// or the error of either side.
func exchange(t *testing.T, c *Client, server *scram.ServerConversation) (string, error) {
	t.Helper()
	message, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	serverFirst, err := server.Step(string(message))
	if err != nil {
		return "", err
	}
	if message, err = c.Next([]byte(serverFirst)); err != nil {
		return "", err
	}
	return server.Step(string(message))
}

// Complete logins against the library's server half.
func TestLogins(t *testing.T) {
	for _, base := range []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		plus := Offer{[]string{"PLAIN", base, base + "-PLUS"}, []string{"tls-exporter"}}
		tests := []struct {
			offer   Offer
			have    []Binding
			binding Binding // the server's
			want    string
		}{
			{plus, []Binding{fakeExporter}, fakeExporter, base + "-PLUS"},
			{plus, nil, fakeExporter, base},
			{Offer{Mechanisms: []string{base}}, []Binding{fakeExporter}, Binding{}, base},
			{Offer{Mechanisms: []string{base}}, nil, Binding{}, base},
		}
		for _, test := range tests {
			for _, inChallenge := range []bool{false, true} {
				c, err := Choose(test.offer, Credentials{Username: "a,b=c", Password: "I\u00adX"}, tls.VersionTLS13, test.have)
				if err != nil {
					t.Fatal(err)
				}
				final, err := exchange(t, c, newServer(t, c.Mechanism, test.binding))
				if err != nil || c.Mechanism != test.want {
					t.Fatalf("%s: %v; want %s", c.Mechanism, err, test.want)
				}
				data := []byte(final)
				if inChallenge {
					if answer, err := c.Next(data); err != nil || answer != nil {
						t.Errorf("%s: answer %q, %v to the server's proof", c.Mechanism, answer, err)
					}
					data = nil
				}
				if err := c.Finish(data); err != nil {
					t.Errorf("%s: %v", c.Mechanism, err)
				}
			}
		}
	}
}

// Logins that somebody in between interferes with (RFC 5802, section 6; XEP-0474).
func TestInterference(t *testing.T) {
	both := []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}
	other := Binding{"tls-exporter", []byte("another connection's")}
	tests := []struct {
		name    string
		offer   Offer
		version uint16
		have    []Binding
		binding Binding // the server's
		ok      bool
	}{
		{"-PLUS is stripped", Offer{Mechanisms: both[:1]}, tls.VersionTLS13, []Binding{fakeExporter}, fakeExporter, false},
		{"the types are stripped", Offer{Mechanisms: both}, tls.VersionTLS13, []Binding{fakeExporter}, other, false},
		{"two TLS connections", Offer{both, []string{"tls-exporter"}}, tls.VersionTLS13, []Binding{fakeExporter}, other, false},
		{"none, but ejabberd 23.01 on TLS 1.3", Offer{Mechanisms: both}, tls.VersionTLS13, []Binding{fakeExporter}, fakeUnique, false},
		{"none, ejabberd 23.01 on TLS 1.2", Offer{Mechanisms: both}, tls.VersionTLS12, []Binding{fakeExporter, fakeUnique}, fakeUnique, true},
	}
	for _, test := range tests {
		c, err := Choose(test.offer, Credentials{Username: "a,b=c", Password: "IX"}, test.version, test.have)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := exchange(t, c, newServer(t, c.Mechanism, test.binding)); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

const (
	nonce     = "rOprNGfwEbeRWgbNEkqO"
	goodFirst = "r=" + nonce + "x,s=QSXCR+Q6sek8bf92,i=4096"
)

// started returns a login by SCRAM-SHA-1 on TLS 1.3 that waits for server-first.
func started(t testing.TB) *Client {
	t.Helper()
	c, err := choose(Offer{Mechanisms: []string{"SCRAM-SHA-1"}}, Credentials{Username: "user", Password: "pencil"},
		tls.VersionTLS13, nil, nonce)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// The server's first message (RFC 5802, section 7): what is wrong with it ends the login.
func TestServerFirst(t *testing.T) {
	const r, s, i = "r=" + nonce + "x", "s=QSXCR+Q6sek8bf92", "i=4096"
	salt := func(n int) string { return "s=" + base64.StdEncoding.EncodeToString(make([]byte, n)) }
	offered := listHash(scram.SHA1, Offer{Mechanisms: []string{"SCRAM-SHA-1"}})
	good := []string{
		goodFirst,
		r + "!~," + s + "," + i,
		r + "=/," + s + "," + i,
		r + "," + salt(1) + "," + i,
		r + "," + salt(1024) + "," + i,
		r + "," + s + ",i=4097",
		goodFirst + ",z=1",
		goodFirst + ",Z=1,z==,d=ignored",
		goodFirst + ",h=" + offered,
		goodFirst + ",t=0304",
		goodFirst + ",t=0304,y=1,h=" + offered,
		goodFirst + ",z=" + strings.Repeat("x", 4096-len(goodFirst)-3),
	}
	for _, message := range good {
		if answer, err := started(t).Next([]byte(message)); err != nil || !strings.Contains(string(answer), ",p=") {
			t.Errorf("%.80s: %q, %v", message, answer, err)
		}
	}
	bad := []string{
		// The nonce
		"r=" + nonce + "," + s + "," + i,
		"r=" + nonce[:8] + "," + s + "," + i,
		"r=," + s + "," + i,
		"r=other" + nonce + "," + s + "," + i,
		"r=" + strings.ToLower(nonce) + "x," + s + "," + i,
		"r=" + nonce + ",x," + s + "," + i,
		r + " ," + s + "," + i,
		r + "\x00," + s + "," + i,
		r + "\x7f," + s + "," + i,
		r + "\u00e4," + s + "," + i,
		r + "\xff," + s + "," + i,
		// The form
		"",
		",",
		"=",
		"r",
		r,
		r + "," + s,
		s + "," + r + "," + i,
		r + "," + i + "," + s,
		r + ",z=1," + s + "," + i,
		"R" + r[1:] + "," + s + "," + i,
		"m=x," + goodFirst,
		r + ",m=x," + s + "," + i,
		goodFirst + ",m=x",
		goodFirst + ",z=1,m=x",
		r + "," + goodFirst,
		goodFirst + "," + r,
		goodFirst + "," + s,
		goodFirst + "," + i,
		goodFirst + ",z=1,z=1",
		goodFirst + ",z=",
		goodFirst + ",z",
		goodFirst + ",",
		goodFirst + ",,z=1",
		goodFirst + ",1=1",
		goodFirst + ",zz=1",
		goodFirst + ",z=" + strings.Repeat("x", 4096-len(goodFirst)-2),
		r + ",s=," + i,
		r + ",s==," + i,
		r + ",s=AB==," + i,
		r + ",s=QSXC\r\nR+Q6," + i,
		r + ",s=QSXC R+Q6," + i,
		r + ",s=QSXC!," + i,
		r + "," + salt(1025) + "," + i,
		// The iteration count
		r + "," + s + ",i=0",
		r + "," + s + ",i=1",
		r + "," + s + ",i=4095",
		r + "," + s + ",i=5000001",
		r + "," + s + ",i=2147483648",
		r + "," + s + ",i=18446744073709555712",
		r + "," + s + ",i=-1",
		r + "," + s + ",i=-4096",
		r + "," + s + ",i=+4096",
		r + "," + s + ",i=04096",
		r + "," + s + ",i=4096 ",
		r + "," + s + ",i= 4096",
		r + "," + s + ",i=4_096",
		r + "," + s + ",i=4096.0",
		r + "," + s + ",i=0x1000",
		r + "," + s + ",i=\u0664\u0660\u0669\u0666",
		// The hash over the offer (XEP-0474)
		goodFirst + ",h=" + strings.TrimSuffix(offered, "="),
		goodFirst + ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=",
		goodFirst + ",h=" + listHash(scram.SHA256, Offer{Mechanisms: []string{"SCRAM-SHA-1"}}),
		goodFirst + ",h=" + listHash(scram.SHA1, Offer{[]string{"SCRAM-SHA-1"}, []string{}}),
		goodFirst + ",h=" + listHash(scram.SHA1, Offer{Mechanisms: []string{"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"}}),
		goodFirst + ",h=" + offered + ",h=" + offered,
		goodFirst + ",t=0303",
		goodFirst + ",t=304",
		goodFirst + ",t=0x0304",
		goodFirst + ",t=0304,t=0304",
	}
	for _, message := range bad {
		c := started(t)
		if answer, err := c.Next([]byte(message)); !errors.Is(err, ErrServer) || answer != nil {
			t.Errorf("%.80q: %q, %v; want ErrServer", message, answer, err)
		}
		if _, err := c.Next([]byte(goodFirst)); !errors.Is(err, ErrServer) {
			t.Errorf("%.80q: the login goes on after it", message)
		}
	}
}

// The most iterations are allowed; they need not be computed to see that.
func TestIterationLimit(t *testing.T) {
	if err := checkIterations("5000000"); err != nil {
		t.Error(err)
	}
}

// The hash over the offer: the example of XEP-0474, section 6.3, and the order.
func TestListHash(t *testing.T) {
	mechanisms, types := []string{"SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"}, []string{"tls-server-end-point", "tls-exporter"}
	if got := listHash(scram.SHA1, Offer{mechanisms, types}); got != "G6k/rBLDqgOhRRaCuuatSDFkJ08=" {
		t.Errorf("XEP-0474, section 6.3: %s", got)
	}
	if mechanisms[0] != "SCRAM-SHA-1-PLUS" || types[0] != "tls-server-end-point" {
		t.Error("the offer was sorted in place")
	}
	// By octets, so upper case before lower; nothing added, nothing removed.
	sum := sha512.Sum512([]byte("A\x1eB\x1eB\x1ea\x1f"))
	if got := listHash(scram.SHA512, Offer{[]string{"a", "B", "A", "B"}, []string{}}); got != base64.StdEncoding.EncodeToString(sum[:]) {
		t.Errorf("octet order: %s", got)
	}
}

// The server's last message (RFC 5802, section 7): nothing but the right proof counts.
func TestServerFinal(t *testing.T) {
	message := func(serverFirst string) string {
		return "n=user,r=" + nonce + "," + serverFirst + ",c=biws,r=" + nonce + "x"
	}
	_, right := prove(sha1.New, "pencil", "QSXCR+Q6sek8bf92", 4096, message(goodFirst))
	_, other := prove(sha1.New, "pencil", "QSXCR+Q6sek8bf92", 4096, message(goodFirst+",z=1"))
	_, wrong := prove(sha1.New, "pen", "QSXCR+Q6sek8bf92", 4096, message(goodFirst))
	for _, data := range []string{"v=" + right, "v=" + right + ",z=1"} {
		for _, inChallenge := range []bool{false, true} {
			if err := final(t, data, inChallenge); err != nil {
				t.Errorf("%q: %v", data, err)
			}
		}
	}
	bad := []string{
		"", "=", "v", "v=", "v==", "v=garbage", "V=" + right, right, "x", ",",
		"v=" + other, "v=" + wrong,
		"v=" + strings.TrimSuffix(right, "="), "v=" + right + "=", "v=" + right[:8] + "\n" + right[8:], "v=" + right + "\n", " v=" + right,
		"v=" + base64.StdEncoding.EncodeToString(make([]byte, 20)),
		"v=" + right + ",", "v=" + right + ",v=" + right, "v=" + right + ",m=1", "v=" + wrong + ",v=" + right,
		"z=1,v=" + right, "m=1,v=" + right, "e=invalid-proof,v=" + right,
		"v=" + right + ",z=" + strings.Repeat("x", 4096),
		"e=invalid-proof", "e=\x1b[31m",
	}
	for _, data := range bad {
		for _, inChallenge := range []bool{false, true} {
			if err := final(t, data, inChallenge); !errors.Is(err, ErrServer) {
				t.Errorf("%.80q: %v, want ErrServer", data, err)
			}
		}
	}
	for data, want := range map[string]string{"e=invalid-proof": "invalid-proof", "e=\x1b[31m": "other-error",
		"e=" + strings.Repeat("x", 41): "other-error"} {
		if err := final(t, data, false); !strings.HasSuffix(err.Error(), " "+want) {
			t.Errorf("%q: %v, want %s", data, err, want)
		}
	}
}

// final finishes a login, with data in <success/> or in a challenge before it.
func final(t testing.TB, data string, inChallenge bool) error {
	t.Helper()
	c := started(t)
	if _, err := c.Next([]byte(goodFirst)); err != nil {
		t.Fatal(err)
	}
	if !inChallenge {
		return c.Finish([]byte(data))
	}
	answer, err := c.Next([]byte(data))
	if err == nil && answer != nil {
		t.Errorf("%q: answered with %q", data, answer)
	}
	finished := c.Finish(nil)
	if err != nil && finished == nil {
		t.Errorf("%q: success counts after %v", data, err)
	}
	return errors.Join(err, finished)
}

// A success at the wrong time is none.
func TestOrder(t *testing.T) {
	_, right := prove(sha1.New, "pencil", "QSXCR+Q6sek8bf92", 4096, "n=user,r="+nonce+","+goodFirst+",c=biws,r="+nonce+"x")
	proof := []byte("v=" + right)
	next := func(data string) func(*Client) error {
		return func(c *Client) error { _, err := c.Next([]byte(data)); return err }
	}
	finish := func(data []byte) func(*Client) error {
		return func(c *Client) error { return c.Finish(data) }
	}
	tests := []struct {
		name  string
		steps []func(*Client) error // only the last one fails
	}{
		{"success after the start", []func(*Client) error{finish(nil)}},
		{"proof after the start", []func(*Client) error{finish(proof)}},
		{"challenge with the proof after the start", []func(*Client) error{next(string(proof))}},
		{"success without data", []func(*Client) error{next(goodFirst), finish(nil)}},
		{"success with empty data", []func(*Client) error{next(goodFirst), finish([]byte{})}},
		{"server-first twice", []func(*Client) error{next(goodFirst), next(goodFirst)}},
		{"challenge after the proof", []func(*Client) error{next(goodFirst), next(string(proof)), next("")}},
		{"proof twice in challenges", []func(*Client) error{next(goodFirst), next(string(proof)), next(string(proof))}},
		{"proof again in success", []func(*Client) error{next(goodFirst), next(string(proof)), finish(proof)}},
	}
	for _, test := range tests {
		c := started(t)
		for i, step := range test.steps {
			if err := step(c); (err != nil) != (i == len(test.steps)-1) || err != nil && !errors.Is(err, ErrServer) {
				t.Errorf("%s: step %d: %v", test.name, i, err)
			}
		}
		if err := c.Finish(nil); !errors.Is(err, ErrServer) {
			t.Errorf("%s: success counts afterwards: %v", test.name, err)
		}
	}
}

// A nonce of Choose is long, and another every time.
func TestNonce(t *testing.T) {
	seen := map[string]bool{}
	for range 8 {
		c, err := Choose(Offer{Mechanisms: []string{"SCRAM-SHA-1"}}, Credentials{Username: "u", Password: "p"}, tls.VersionTLS13, nil)
		if err != nil {
			t.Fatal(err)
		}
		message, err := c.Start()
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(message), ",r=")
		if raw, err := Decode(text); err != nil || len(raw) < 18 || seen[text] {
			t.Errorf("nonce %q: %d octets, %v", text, len(raw), err)
		}
		seen[text] = true
	}
}

// It never panics or hangs, and nothing but a proper message is
// answered, nor does the answer make success count.
func FuzzServerFirst(f *testing.F) {
	for _, seed := range []string{goodFirst, goodFirst + ",z=", goodFirst + ",h=x,t=0304", "r=" + nonce, "m=,", "e=other-error", ",,,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message string) {
		c := started(t)
		if c.steps.(*login).guard.checkFirst(message) == nil && !strings.Contains(message, ",i=4096") {
			t.Skip("allowed, but the iterations take too long")
		}
		answer, err := c.Next([]byte(message))
		if err == nil && (!strings.HasPrefix(message, "r="+nonce) || !strings.Contains(message, ",i=4") || !strings.Contains(string(answer), ",p=")) {
			t.Errorf("%q is answered with %q", message, answer)
		}
		if err != nil && !errors.Is(err, ErrServer) {
			t.Errorf("%q: %v", message, err)
		}
		if err := c.Finish([]byte(message)); err == nil {
			t.Errorf("%q counts as success", message)
		}
	})
}

// It never panics or hangs, and accepts nothing but the right v=.
func FuzzServerFinal(f *testing.F) {
	_, right := prove(sha1.New, "pencil", "QSXCR+Q6sek8bf92", 4096, "n=user,r="+nonce+","+goodFirst+",c=biws,r="+nonce+"x")
	for _, seed := range []string{"v=" + right, "v=" + right + ",z=1", "v=", "e=invalid-proof", "v=" + right + ",m=1", ",", "=", ""} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, data string, inChallenge bool) {
		proper := data == "v="+right || strings.HasPrefix(data, "v="+right+",")
		if err := final(t, data, inChallenge); err == nil && !proper {
			t.Errorf("%q is accepted", data)
		} else if err != nil && !errors.Is(err, ErrServer) {
			t.Errorf("%q: %v", data, err)
		}
	})
}
