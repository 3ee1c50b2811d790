package xmpptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// serverCertificate issues a certificate for domain, or one with the flaw that a fault
// asks for. All have the same key, so that one pin matches each.
func serverCertificate(ca *Authority, key *ecdsa.PrivateKey, domain string, f faults) (tls.Certificate, error) {
	t := Template(domain)
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
		ca = &Authority{t, key}
	case f.has("untrusted-ca"):
		other, err := NewAuthority()
		if err != nil {
			return tls.Certificate{}, err
		}
		ca = other
	}
	return ca.Issue(t, key)
}

// tlsConfig is the configuration for one connection. Tickets are off, because they are
// written when nobody may be reading the other end of a net.Pipe.
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
		ClientCAs:              c.s.ca.Pool(),
		SessionTicketsDisabled: true,
	}
	if c.direct {
		config.NextProtos = []string{"xmpp-client"} // XEP-0368
	}
	return config, nil
}

// Environ writes ca.pem into a directory, and returns the environment in which xmppkit finds
// the server, trusts it, and keeps its state below the directory. The caller adds the
// account.
func (s *Server) Environ(dir string) ([]string, error) {
	ca := filepath.Join(dir, "ca.pem")
	return []string{"XMPP_SERVER=" + s.Addr(), "XMPP_CA_FILE=" + ca, "XMPP_STATE_DIR=" + filepath.Join(dir, "state")},
		os.WriteFile(ca, s.CA(), 0o600)
}

// CA returns, as PEM, the authority whose certificates the server shows.
func (s *Server) CA() []byte { return s.ca.PEM() }

// Certificate returns the certificate that the server shows unless a fault replaces it.
func (s *Server) Certificate() *x509.Certificate { return s.cert.Leaf }

// ClientCertificate issues a certificate with which the account logs in by SASL
// EXTERNAL. It names the account in its common name. It is the zero Certificate if a
// certificate cannot contain local.
func (s *Server) ClientCertificate(local string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}
	}
	t := Template(local)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	cert, err := s.ca.Issue(t, key)
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
		Roots:     c.s.ca.Pool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return peer[0].Subject.CommonName, err == nil
}
