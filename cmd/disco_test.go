package cmd

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xmppkit/cmd/exit"
	"xmppkit/output"
	"xmppkit/xmpp"
	"xmppkit/xmpp/xep"
	"xmppkit/xmpp/xmpptest"
)

// discoQuery makes the payload of an answer, as canonical as a session delivers it.
func discoQuery(t *testing.T, content string) *xmpp.Element {
	t.Helper()
	e, err := xmpp.Parse([]byte("<query xmlns='http://jabber.org/protocol/disco#info'>" + content + "</query>"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestDiscoInfo(t *testing.T) {
	form := func(content string) string { return "<x xmlns='jabber:x:data' type='result'>" + content + "</x>" }
	for content, want := range map[string]string{
		"": `"identities":[],"features":[],"forms":[]`,
		"<feature var='b'/><feature var='a'/><feature var='b'/>":   `"identities":[],"features":["a","b"],"forms":[]`,
		"<feature xmlns='urn:x' var='a'/><x xmlns='urn:x'/>":       `"identities":[],"features":[],"forms":[]`,
		"<identity category='c' type='t'/>":                        `"identities":[{"category":"c","type":"t","name":"","lang":""}],"features":[],"forms":[]`,
		"<identity xml:lang='de' category='c' type='t' name='n'/>": `"identities":[{"category":"c","type":"t","name":"n","lang":"de"}],"features":[],"forms":[]`,
		form(""):                 `"identities":[],"features":[],"forms":[{"form_type":"","fields":{}}]`,
		form("<field var='a'/>"): `"identities":[],"features":[],"forms":[{"form_type":"","fields":{"a":[]}}]`,
		form("<field type='fixed'><value>x</value></field>"): `"identities":[],"features":[],"forms":[{"form_type":"","fields":{}}]`,
		// XEP-0128, example 1; a field that comes twice; values of another namespace.
		form(`<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#roominfo</value></field>` +
			`<field var='muc#roominfo_occupants'><value>3</value></field>` +
			`<field var='b'><value>1</value><value/></field><field var='b'><value>2</value><value xmlns='urn:x'>3</value></field>`): `"identities":[],"features":[],"forms":[{"form_type":"http://jabber.org/protocol/muc#roominfo",` +
			`"fields":{"b":["1","","2"],"muc#roominfo_occupants":["3"]}}]`,
	} {
		info := newDiscoInfo(xep.Entity{JID: xmpp.JID{Domain: "example.org"}, Node: "n"}, xep.DiscoInfoOf(discoQuery(t, content)), 0)
		got, err := output.AppendJSON(nil, info)
		if want = `{"kind":"disco_info","jid":"example.org","node":"n",` + want + `}`; err != nil || string(got) != want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", content, got, err, want)
		}
	}
}

// discover runs the command against a server that misbehaves, in the time of a bubble.
func discover(t *testing.T, args []string, faults ...xmpptest.Fault) (stdout, stderr string, code int) {
	server, err := xmpptest.New(xmpptest.Config{Accounts: map[string]string{"romeo": "wherefore"}, Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(server.CA())
	vars := map[string]string{"XMPP_JID": "romeo@localhost", "XMPP_PASSWORD": "wherefore", "XMPP_SERVER": "127.0.0.1:5222"}
	var out, log bytes.Buffer
	env := &Env{
		Out: &out, Err: &log, Getenv: func(name string) string { return vars[name] },
		Dial: func(ctx context.Context, o xmpp.Options) (*xmpp.Session, error) {
			o.RootCAs = roots
			o.DialContext = func(context.Context, string, string) (net.Conn, error) {
				there, here := net.Pipe()
				go server.ServeConn(there, false)
				return here, nil
			}
			return xmpp.Dial(ctx, o)
		},
	}
	code = Main(t.Context(), env, append([]string{"disco"}, args...))
	return out.String(), log.String(), code
}

// Requests overlap, but not more than 32 of them, and what says nothing is an
// error in its place.
func TestDiscoSilence(t *testing.T) {
	const maxRequests, width = 32, 40
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		stdout, stderr, code := discover(t, []string{"--tree"}, xmpptest.Fault(fmt.Sprintf("disco-tree=%dx2", width)), "disco-refuse=silence")
		if took := time.Since(started); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("it took %v to wait for %d of %d at a time, want 20s", took, width, maxRequests)
		}
		if want := silentTree(width); stdout != want {
			t.Errorf("got\n%s\nwant\n%s", stdout, want)
		}
		if code != exit.No || stderr != "" {
			t.Errorf("exit code %d, %s", code, stderr)
		}
	})
}

// silentTree is what is shown of a tree whose second nodes say nothing.
func silentTree(width int) string {
	const silence = ": error: remote-server-timeout (no answer within 10s)\n"
	var b strings.Builder
	for i := 1; i <= width; i++ {
		fmt.Fprintf(&b, "localhost node=%d  Item %[1]d\n", i)
		if i == 2 {
			b.WriteString("  localhost node=2" + silence)
			continue
		}
		for j := 1; j <= width; j++ {
			fmt.Fprintf(&b, "  localhost node=%d.%d  Item %[2]d\n", i, j)
			if j == 2 {
				fmt.Fprintf(&b, "    localhost node=%d.2"+silence, i)
			}
		}
	}
	return b.String()
}
