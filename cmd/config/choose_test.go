package config

import (
	"slices"
	"testing"
)

// What is at the top of the file is for all accounts of its domain, but the password.
func TestTopOfFile(t *testing.T) {
	s := Section{"jid": {"romeo@a.example"}, "password": {"x"}, "server": {"s"}, "ca_file": {"c"}, "tls_pin": {"p"}, "tls": {"direct"}, "allow_plain": {"true"}, "timeout": {"5"}}
	for owner, test := range map[string]struct {
		account string
		left    []string
	}{
		"":                  {"juliet@b.example", []string{"allow_plain", "ca_file", "jid", "password", "server", "timeout", "tls", "tls_pin"}},
		"romeo@a.example/x": {"romeo@a.example", []string{"allow_plain", "ca_file", "jid", "password", "server", "timeout", "tls", "tls_pin"}},
		"nurse@a.example":   {"romeo@a.example", []string{"allow_plain", "ca_file", "jid", "server", "timeout", "tls", "tls_pin"}},
		"romeo@a.example":   {"romeo@b.example", []string{"jid", "timeout"}},
	} {
		account, _ := ParseAccount(test.account)
		var left []string
		for key := range s.of(owner, account) {
			left = append(left, key)
		}
		if slices.Sort(left); !slices.Equal(left, test.left) {
			t.Errorf("%q for %s: %q", owner, test.account, left)
		}
	}
}

// Paths are relative to the file; without a home there is none in it.
func TestResolvePaths(t *testing.T) {
	for _, test := range []struct{ path, home, want string }{
		{"/x", "", "/x"}, {"-", "", "-"}, {"x", "", "/dir/x"}, {"~/x", "/home/r", "/home/r/x"}, {"~x", "", "/dir/~x"}, {"~/x", "", ""}, {"~/x", ".", ""},
	} {
		for _, key := range []string{"ca_file", "password_file"} {
			s, err := Section{key: {test.path}}.ResolvePaths("/dir/f", test.home)
			if (err != nil) != (test.want == "") || s.Get(key) != test.want {
				t.Errorf("%+v: %v, %v", test, s, err)
			}
		}
	}
}
