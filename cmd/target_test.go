package cmd

import (
	"errors"
	"testing"

	"xmppkit/cmd/exit"
)

// RFC 5122, XEP-0147: an address is a JID or an xmpp: URI.
func TestParseTarget(t *testing.T) {
	for in, want := range map[string]struct{ jid, body, subject string }{
		"juliet@example.org":                                   {"juliet@example.org", "-", "-"},
		"Juliet@EXAMPLE.org/Balcony":                           {"juliet@example.org/Balcony", "-", "-"},
		"example.org":                                          {"example.org", "-", "-"},
		"xmpp:juliet@example.org":                              {"juliet@example.org", "-", "-"},
		"xmpp:juliet@example.org/a%20b":                        {"juliet@example.org/a b", "-", "-"},
		"xmpp:example.org":                                     {"example.org", "-", "-"},
		"xmpp:juliet@b%C3%BCcher.example":                      {"juliet@b\u00fccher.example", "-", "-"},
		"xmpp:juliet@example.org?message":                      {"juliet@example.org", "-", "-"},
		"xmpp:juliet@example.org?message;body=hi":              {"juliet@example.org", "hi", "-"},
		"xmpp:juliet@example.org?message;subject=s;body=a%20b": {"juliet@example.org", "a b", "s"},
		"xmpp:juliet@example.org?message;body=a+b":             {"juliet@example.org", "a+b", "-"},
		"xmpp:juliet@example.org?message;body=a%3Bb%3D%26c=d":  {"juliet@example.org", "a;b=&c=d", "-"},
		"xmpp:juliet@example.org?message;body=%C3%BC%0A":       {"juliet@example.org", "\u00fc\n", "-"},
		"xmpp:juliet@example.org?message;body=":                {"juliet@example.org", "", "-"},
		"xmpp:juliet@example.org?message;body=x#fragment":      {"juliet@example.org", "x", "-"},
		"xmpp:juliet@example.org#fragment?message;body=x":      {"juliet@example.org", "-", "-"},
		"xmpp:juliet@example.org?":                             {"juliet@example.org", "-", "-"},
		"a b@c":                                                {"a b@c", "-", "-"},
		"juliet@EXAMPLE.org/\u0645\u062d\u0645\u0640\u062f":    {"juliet@example.org/\u0645\u062d\u0645\u0640\u062f", "-", "-"},
		"xmpp:juliet@example.org/%20%C2%A0":                    {"juliet@example.org/ \u00a0", "-", "-"},
	} {
		got, err := parseTarget(in)
		field := func(name string) string {
			if !got.fields.Has(name) {
				return "-"
			}
			return got.fields.Get(name)
		}
		if err != nil || got.jid.String() != want.jid || field("body") != want.body || field("subject") != want.subject {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "@", "a@@b", "a@b/", "a@b c", "-m", "xmpp:", "xmpp:@", "xmpp:a@b?join", "xmpp:a@b?MESSAGE", "xmpp:a@b?remove", "xmpp:a@b?;body=x?join",
		"xmpp://guest@example.org/juliet@example.org", "xmpp:%zz@b", "xmpp:a@b?message;body=%zz", "xmpp:a@b?message;body=%4", "http://a@b", "xmpp:a%00@b", "xmpp:a%FF@b", "a@b/\x1b", "a@b\u2044c",
	} {
		if in == "-m" || in == "xmpp:a@b?;body=x?join" { // addresses, if odd ones
			continue
		}
		got, err := parseTarget(in)
		var known *exit.Error
		if !errors.As(err, &known) || known.Code != exit.Usage {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	env := new(Env)
	if all, err := env.targets([]string{"a@b", "xmpp:c@d"}); err != nil || len(all) != 2 || all[1].jid.Local != "c" {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := env.targets([]string{"a@b", "@"}); err == nil {
		t.Error("one of them is none")
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"a@b/c", "xmpp:a@b?message;body=%20;subject=x#y", "xmpp:a%40b", "xmpp:a%2fb@c?", "Xmpp."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTarget(s)
		if err != nil {
			var known *exit.Error
			if !errors.As(err, &known) || known.Code != exit.Usage {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if again, err := parseTarget(got.jid.String()); err != nil || again.jid != got.jid {
			t.Errorf("%q is %s, which is %s, %v", s, got.jid, again.jid, err)
		}
	})
}
