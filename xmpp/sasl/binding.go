package sasl

import (
	"crypto"
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
)

const (
	exporter = "tls-exporter"         // RFC 9266
	unique   = "tls-unique"           // RFC 5929, section 3
	endpoint = "tls-server-end-point" // RFC 5929, section 4
)

// Binding is channel binding data of one type, exported from the TLS
// connection.
type Binding struct {
	Type string // "tls-exporter", "tls-unique" or "tls-server-end-point"
	Data []byte
}

// Bindings returns what this end of a connection, the client's, can bind to,
// the strongest first. cs must come from a tls.Conn after its handshake; nil
// or an unfinished handshake has no bindings.
//
// On TLS 1.2 crypto/tls exports keys only under an extended master secret, and
// has tls-unique only where that or a full handshake protects it (RFC 7677,
// section 4). GODEBUG=tlsunsafeekm=1 lifts the first and must not be set.
func Bindings(cs *tls.ConnectionState) []Binding {
	if cs == nil || !cs.HandshakeComplete {
		return nil
	}
	var have []Binding
	// The context is of length zero, which before TLS 1.3 is another than
	// none, and so another key (RFC 9266, section 2; RFC 5705, section 4).
	if key, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32); err == nil {
		have = append(have, Binding{exporter, key})
	}
	if cs.Version < tls.VersionTLS13 && len(cs.TLSUnique) > 0 {
		have = append(have, Binding{unique, cs.TLSUnique})
	}
	if len(cs.PeerCertificates) > 0 {
		if hash := endpointHash(cs.PeerCertificates[0].SignatureAlgorithm); hash != 0 {
			h := hash.New()
			h.Write(cs.PeerCertificates[0].Raw)
			have = append(have, Binding{endpoint, h.Sum(nil)})
		}
	}
	return have
}

// endpointHash returns the hash tls-server-end-point applies to a certificate
// of that signature: the signature's own, but SHA-256 for MD5 and SHA-1. It
// returns 0 where RFC 5929, section 4.1, leaves the type undefined, as for
// Ed25519, whose signature names no hash.
func endpointHash(a x509.SignatureAlgorithm) crypto.Hash {
	switch a {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return 0
}
