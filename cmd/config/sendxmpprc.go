package config

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

var (
	// rcSetting is a line KEY: VALUE. After the known keys the colon may be missing. In
	// TOML an equals sign follows a key.
	rcSetting = regexp.MustCompile(`^(?:([a-z_]+):[ \t]*|(username|password|eval_password|jserver|port|resource|component|allow_plain)[ \t]+([^=\s]))(.*?)\r?\n?$`)
	// rcAccount is a line USER@SERVER PASSWORD [COMPONENT].
	rcAccount = regexp.MustCompile(`^\s*([^\s@=]+)@([^\s@]+)\s+(\S+)(?:\s+(\S+))?\s*$`)
)

// isSendxmpprc tells a file of sendxmpp from a TOML file by its first significant line.
func isSendxmpprc(text string) bool {
	for line := range strings.Lines(text) {
		if !isComment(line) {
			return rcSetting.MatchString(line) || rcAccount.MatchString(line)
		}
	}
	return false
}

func isComment(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || line[0] == '#'
}

// parseSendxmpprc reads the file of sendxmpp 1.24 as that program does, and the file of
// go-sendxmpp, which has more keys, and quotes. It ignores settings that this program
// does not have, such as alias. It also returns the line of the account.
func parseSendxmpprc(file, text string) (Section, int, error) {
	rc := make(map[string]string)
	n, who := 0, 0
	for line := range strings.Lines(text) {
		n++
		if isComment(line) {
			continue
		}
		if m := rcSetting.FindStringSubmatch(line); m != nil {
			key, value := m[1]+m[2], m[3]+m[4]
			if filepath.Base(filepath.Dir(file)) == "go-sendxmpp" {
				value = unquote(value)
			}
			switch key { // the last one applies
			case "username":
				who = n
			case "password":
				delete(rc, "eval_password")
			case "eval_password":
				delete(rc, "password")
			}
			rc[key] = value
		} else if m := rcAccount.FindStringSubmatch(line); m != nil {
			who = n
			rc = map[string]string{"username": m[1], "jserver": m[2], "password": m[3], "component": m[4]}
		} else {
			return nil, 0, fmt.Errorf("%s:%d: want KEY: VALUE or USER@SERVER PASSWORD", file, n)
		}
	}
	s, err := rcSection(rc)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", file, err)
	}
	return s, who, nil
}

func unquote(s string) string {
	if len(s) > 1 && strings.HasPrefix(s, `"`) && strings.HasSuffix(s, `"`) {
		return s[1 : len(s)-1]
	}
	return s
}

// rcSection translates settings of sendxmpp. Its jserver is the domain of an account
// that names none, unless there is a component, and may be DOMAIN;HOST:PORT.
func rcSection(rc map[string]string) (Section, error) {
	for _, key := range []string{"username", "jserver", "port", "resource", "component", "allow_plain"} {
		rc[key] = strings.TrimSpace(rc[key])
	}
	host, port := rc["jserver"], rc["port"]
	if h, p, ok := strings.Cut(host, ":"); ok {
		host, port = h, p
	}
	domain := cmp.Or(rc["component"], host)
	if d, h, ok := strings.Cut(host, ";"); ok {
		domain, host = cmp.Or(rc["component"], d), h
	}
	jid := rc["username"]
	if _, d, ok := strings.Cut(jid, "@"); ok {
		domain = d
	} else if jid != "" {
		jid += "@" + domain
	}
	server := ""
	switch {
	case port != "" && port != "0":
		server = net.JoinHostPort(cmp.Or(host, domain), port)
	case host != domain:
		server = host
	}
	plain := ""
	if ok, _ := strconv.ParseBool(rc["allow_plain"]); ok {
		plain = "true"
	}
	s := make(Section)
	for key, value := range map[string]string{
		"jid": jid, "password": rc["password"], "password_command": rc["eval_password"],
		"server": server, "resource": rc["resource"], "allow_plain": plain,
	} {
		if value == "" {
			continue
		}
		if err := checkSetting(key, value); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		s[key] = []string{value}
	}
	return s, nil
}
