package sasl

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"
)

// certify returns a certificate for "example.org", signed by its own key.
func certify(t *testing.T, key crypto.Signer, algorithm x509.SignatureAlgorithm) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:       big.NewInt(1),
		DNSNames:           []string{"example.org"},
		NotBefore:          time.Now().Add(-time.Hour),
		NotAfter:           time.Now().Add(time.Hour),
		SignatureAlgorithm: algorithm,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatalf("%v: %v", algorithm, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// handshake returns what both ends know about a new connection.
func handshake(t *testing.T, client, server *tls.Config) (tls.ConnectionState, tls.ConnectionState) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c, s := tls.Client(near, client), tls.Server(far, server)
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState()
}

func configs(t *testing.T, cert tls.Certificate, version uint16) (client, server *tls.Config) {
	t.Helper()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	client = &tls.Config{ServerName: "example.org", RootCAs: roots, MinVersion: version, MaxVersion: version}
	// A ticket after a TLS 1.3 handshake would block on the pipe.
	server = &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true}
	return client, server
}

// Each end computes the bindings on its own (RFC 5929; RFC 9266).
func TestBindings(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum256 := func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
	sum384 := func(b []byte) []byte { s := sha512.Sum384(b); return s[:] }
	sum512 := func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }
	certificates := []struct {
		key       crypto.Signer
		algorithm x509.SignatureAlgorithm
		sum       func([]byte) []byte
	}{
		{rsaKey, x509.SHA1WithRSA, sum256},
		{rsaKey, x509.SHA256WithRSA, sum256},
		{rsaKey, x509.SHA384WithRSA, sum384},
		{rsaKey, x509.SHA512WithRSA, sum512},
		{rsaKey, x509.SHA256WithRSAPSS, sum256},
		{rsaKey, x509.SHA384WithRSAPSS, sum384},
		{rsaKey, x509.SHA512WithRSAPSS, sum512},
		{ecKey, x509.ECDSAWithSHA1, sum256},
		{ecKey, x509.ECDSAWithSHA256, sum256},
		{ecKey, x509.ECDSAWithSHA384, sum384},
		{ecKey, x509.ECDSAWithSHA512, sum512},
		{edKey, x509.PureEd25519, nil},
	}
	for _, test := range certificates {
		cert := certify(t, test.key, test.algorithm)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			clientConfig, serverConfig := configs(t, cert, version)
			client, server := handshake(t, clientConfig, serverConfig)
			key, err := server.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
			if err != nil {
				t.Fatal(err)
			}
			want := []Binding{{"tls-exporter", key}}
			if version == tls.VersionTLS12 {
				want = append(want, Binding{"tls-unique", server.TLSUnique})
			}
			if test.sum != nil {
				want = append(want, Binding{"tls-server-end-point", test.sum(cert.Certificate[0])})
			}
			if got := Bindings(&client); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%v, %s:\n got %v\nwant %v", test.algorithm, tls.VersionName(version), got, want)
			}

			// No context is another key than an empty one, before TLS 1.3.
			none, err := server.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
			if err != nil || bytes.Equal(none, key) != (version == tls.VersionTLS13) {
				t.Errorf("%s: key %x without context, %x with an empty one, %v", tls.VersionName(version), none, key, err)
			}
		}
	}
}

// A resumed TLS 1.2 session under an extended master secret keeps
// tls-unique, and a connection that cannot export keys has no tls-exporter.
func TestBindingsOnTLS12(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	clientConfig, serverConfig := configs(t, certify(t, key, x509.ECDSAWithSHA256), tls.VersionTLS12)
	serverConfig.SessionTicketsDisabled = false
	clientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	first, _ := handshake(t, clientConfig, serverConfig)
	second, server := handshake(t, clientConfig, serverConfig)
	if first.DidResume || !second.DidResume {
		t.Fatal("the second handshake was meant to resume the first")
	}
	have := Bindings(&second)
	if len(have) != 3 || have[1].Type != "tls-unique" || !bytes.Equal(have[1].Data, server.TLSUnique) {
		t.Errorf("resumed: %v, want tls-unique %x", have, server.TLSUnique)
	}
	if bytes.Equal(have[1].Data, Bindings(&first)[1].Data) {
		t.Error("tls-unique is the same on two connections")
	}

	clientConfig.Renegotiation = tls.RenegotiateOnceAsClient // crypto/tls then exports nothing
	clientConfig.ClientSessionCache = nil
	state, _ := handshake(t, clientConfig, serverConfig)
	if have := Bindings(&state); len(have) != 2 || have[0].Type != "tls-unique" || have[1].Type != "tls-server-end-point" {
		t.Errorf("no export: %v", have)
	}
	state.TLSUnique = nil // as crypto/tls does where it would not be unique
	if have := Bindings(&state); len(have) != 1 || have[0].Type != "tls-server-end-point" {
		t.Errorf("no export, not unique: %v", have)
	}
	state.Version, state.TLSUnique = tls.VersionTLS13, []byte("x")
	if have := Bindings(&state); len(have) != 1 {
		t.Errorf("TLS 1.3 has no tls-unique: %v", have)
	}
}

// Without TLS there is nothing to bind to.
func TestNoBindings(t *testing.T) {
	if have := Bindings(nil); have != nil {
		t.Errorf("nil: %v", have)
	}
	if have := Bindings(&tls.ConnectionState{}); have != nil {
		t.Errorf("no handshake: %v", have)
	}
	hashes := map[x509.SignatureAlgorithm]crypto.Hash{
		x509.MD5WithRSA: crypto.SHA256, x509.PureEd25519: 0, x509.UnknownSignatureAlgorithm: 0, x509.MD2WithRSA: 0,
	}
	for algorithm, want := range hashes {
		if got := endpointHash(algorithm); got != want {
			t.Errorf("%v: %v, want %v", algorithm, got, want)
		}
	}
}
