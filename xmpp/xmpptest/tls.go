package xmpptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// An authority issues the certificates of one server and of its clients.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template("xmpptest CA")
	t.IsCA = true
	t.BasicConstraintsValid = true
	t.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{key, cert}, err
}

// template is a certificate valid at any time a test runs at: a testing/synctest
// bubble begins in the year 2000.
func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// issue signs t for key.
func (a *authority) issue(t *x509.Certificate, key *ecdsa.PrivateKey) (tls.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// serverCertificate issues a certificate for domain, or one with the flaw that a
// fault asks for. All are for the same key, so that a pin of it holds for each.
func serverCertificate(ca *authority, key *ecdsa.PrivateKey, domain string, f faults) (tls.Certificate, error) {
	t := template(domain)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if ip := net.ParseIP(strings.Trim(domain, "[]")); ip != nil {
		t.IPAddresses = []net.IP{ip}
	} else {
		ascii, err := idna.ToASCII(domain)
		if err != nil {
			return tls.Certificate{}, err
		}
		t.DNSNames = []string{ascii}
		t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	switch {
	case f.has("wrong-cert"):
		t.Subject.CommonName, t.DNSNames, t.IPAddresses = "other.example", []string{"other.example"}, nil
	case f.has("expired-cert"):
		t.NotAfter = t.NotBefore.AddDate(1, 0, 0)
	case f.has("self-signed"):
		ca = &authority{key, t}
	case f.has("untrusted-ca"):
		other, err := newAuthority()
		if err != nil {
			return tls.Certificate{}, err
		}
		ca = other
	}
	return ca.issue(t, key)
}

// tlsConfig is the configuration for one connection. Tickets are off, as they are
// written at a time when nobody may be reading the other end of a net.Pipe.
func (c *conn) tlsConfig() (*tls.Config, error) {
	cert := c.s.cert
	if slices.ContainsFunc([]string{"wrong-cert", "expired-cert", "self-signed", "untrusted-ca"}, c.faults.has) {
		var err error
		if cert, err = serverCertificate(c.s.ca, c.s.key, c.s.Domain, c.faults); err != nil {
			return nil, err
		}
	}
	config := &tls.Config{
		Certificates:           []tls.Certificate{cert},
		MinVersion:             c.s.config.MinTLS,
		MaxVersion:             c.s.config.MaxTLS,
		ClientAuth:             tls.RequestClientCert,
		ClientCAs:              c.s.ca.pool(),
		SessionTicketsDisabled: true,
	}
	if c.direct {
		config.NextProtos = []string{"xmpp-client"} // XEP-0368
	}
	return config, nil
}

// CA returns, as PEM, the authority whose certificates the server shows.
func (s *Server) CA() []byte { return s.ca.pem() }

// Certificate returns the certificate the server shows where no fault replaces it.
func (s *Server) Certificate() *x509.Certificate { return s.cert.Leaf }

// ClientCertificate issues a certificate with which the account logs in by SASL
// EXTERNAL. It names the account in its common name. It is the zero Certificate
// where local cannot stand in one.
func (s *Server) ClientCertificate(local string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}
	}
	t := template(local)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, err := s.ca.issue(t, key)
	if err != nil {
		return tls.Certificate{}
	}
	return cert
}

// certified returns the local part that the client's certificate names, if it sent
// one that this server's authority issued.
func (c *conn) certified() (string, bool) {
	peer := c.tls.ConnectionState().PeerCertificates
	if len(peer) == 0 {
		return "", false
	}
	_, err := peer[0].Verify(x509.VerifyOptions{
		Roots:     c.s.ca.pool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return peer[0].Subject.CommonName, err == nil
}
