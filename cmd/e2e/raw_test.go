package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"time"
)

// A rawClient is what the server costs alone: a client that writes canned bytes and
// looks for bytes in what it reads, after a login over direct TLS.
type rawClient struct {
	conn *tls.Conn
	buf  []byte
	rest []byte // read, and not looked at
}

// rawPatience bounds what a rawClient waits for.
const rawPatience = 5 * time.Minute

func dialRaw(direct, caFile, user string) (*rawClient, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	conn, err := tls.Dial("tcp", direct, &tls.Config{RootCAs: pool(pem), ServerName: "localhost", NextProtos: []string{"xmpp-client"}})
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(rawPatience))
	r := &rawClient{conn: conn, buf: make([]byte, 64<<10)}
	header := "<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + scriptPassword))
	for _, step := range [][2]string{
		{header, "</stream:features>"},
		{"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plain + "</auth>", "<success"},
		{header, "</stream:features>"},
		{"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", "</iq>"},
	} {
		err := r.write([]byte(step[0]))
		if err == nil {
			err = r.await(step[1], 1)
		}
		if err != nil {
			conn.Close()
			return nil, fmt.Errorf("raw login of %s: waiting for %s: %w", user, step[1], err)
		}
	}
	return r, nil
}

func (r *rawClient) write(b []byte) error {
	_, err := r.conn.Write(b)
	return err
}

// await reads until text has come n times.
func (r *rawClient) await(text string, n int) error {
	for {
		for n > 0 {
			i := bytes.Index(r.rest, []byte(text))
			if i < 0 {
				break
			}
			r.rest = r.rest[i+len(text):]
			n--
		}
		if n == 0 {
			return nil
		}
		r.rest = append([]byte(nil), r.rest[max(0, len(r.rest)-len(text)+1):]...)
		got, err := r.conn.Read(r.buf)
		if err != nil {
			return err
		}
		r.rest = append(r.rest, r.buf[:got]...)
	}
}

// request sends an IQ and waits for the answer. The id must be one that nothing else
// has.
func (r *rawClient) request(kind, id, payload string) error {
	if err := r.write(fmt.Appendf(nil, "<iq type='%s' id='%s'>%s</iq>", kind, id, payload)); err != nil {
		return err
	}
	return r.await(id, 1)
}

// canned are n messages, serialised.
func canned(to string, n int) []byte {
	var b []byte
	for i := range n {
		b = fmt.Appendf(b, "<message to='%s' type='chat' id='m%d'><body>line %d of a log, about as long as those are</body></message>", to, i, i)
	}
	return b
}

func (r *rawClient) close() {
	_ = r.write([]byte("</stream:stream>"))
	r.conn.Close()
}
