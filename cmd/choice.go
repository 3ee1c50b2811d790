package cmd

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
)

// A who is what flags and environment say of the account, "" for nothing.
type who struct {
	account, jid       string // flags
	envAccount, envJID string
}

// A choice is the account that a command is for.
type choice struct {
	name     string    // of its section, "" for none
	jid      string    // as it was given, "" where nothing says who
	from     string    // what says so: a flag, a variable, or a file
	line     int       // in the file
	sections []section // of the file, what they have for this account; its own comes first
	file     string
	foreign  bool // XMPP_JID names another account: what is beside it is that one's
}

// choose finds out which account is meant. A flag counts more than the environment, a
// name more than an address, and both more than what the file has as its default.
func (c *config) choose(w who) (choice, error) {
	name, err := c.chooseSection(w)
	if err != nil {
		return choice{}, err
	}
	return c.chosen(name, w)
}

// chosen is choose once the section is known.
func (c *config) chosen(name string, w who) (choice, error) {
	own := c.owner(name)
	named := w.account != "" || w.jid == "" && w.envAccount != ""
	ch := choice{name: name, file: c.file, jid: own, from: c.file}
	switch {
	case w.jid != "":
		ch.jid, ch.from = w.jid, "--jid"
	case w.envJID != "" && (!named || own == "" || sameAccount(own, w.envJID)):
		ch.jid, ch.from = w.envJID, "XMPP_JID"
	case own == "":
		return ch, nil
	}
	account, err := parseAccount(ch.jid)
	if err != nil {
		return choice{}, exit.Usagef("%s: %w", ch.from, err)
	}
	ch.foreign = w.envJID != "" && !sameAccount(w.envJID, ch.jid)
	if name != "" {
		ch.sections = append(ch.sections, c.accounts[name].of(own, account))
	}
	owner := c.defaults.get("jid")
	if name == "" { // what names nobody is, beside XMPP_JID, for that one
		owner = cmp.Or(owner, w.envJID)
	}
	ch.sections = append(ch.sections, c.defaults.of(owner, account))
	return ch, nil
}

// chooseSection returns the name of the section to use, or "".
func (c *config) chooseSection(w who) (string, error) {
	if name := w.account; name != "" {
		own := c.owner(name)
		if w.jid != "" && own != "" && c.has(name) && !sameAccount(own, w.jid) {
			err := exit.Usagef("-a %s is the account %s, -j %s is another", name, own, w.jid)
			err.Hint = "give one of the two"
			return "", err
		}
		return name, c.know(name)
	}
	switch {
	case w.jid == "" && w.envAccount != "":
		return w.envAccount, c.know(w.envAccount)
	case w.jid == "" && w.envJID == "":
		return c.defaultAccount, c.know(c.defaultAccount)
	case w.envAccount != "" && c.has(w.envAccount) && sameAccount(cmp.Or(c.owner(w.envAccount), w.envJID, w.jid), w.jid):
		return w.envAccount, nil
	}
	jid, names := cmp.Or(w.jid, w.envJID), []string(nil)
	for _, name := range slices.Sorted(maps.Keys(c.accounts)) {
		if sameAccount(c.accounts[name].get("jid"), jid) {
			names = append(names, name)
		}
	}
	switch len(names) {
	case 0:
		return "", nil
	case 1:
		return names[0], nil
	}
	err := exit.Usagef("%s has more than one account %s: %s", c.file, jid, strings.Join(names, ", "))
	err.Hint = "choose one by -a NAME"
	return "", err
}

func (c *config) has(name string) bool { _, ok := c.accounts[name]; return ok }

// know refuses a name that no section has.
func (c *config) know(name string) error {
	if name == "" || c.has(name) {
		return nil
	}
	hint := "[account.NAME] in that file makes one"
	if len(c.accounts) > 0 {
		hint = "it has " + strings.Join(slices.Sorted(maps.Keys(c.accounts)), ", ")
	}
	return exit.Configf(hint, "no account %q in %s", name, c.file)
}

// owner returns the address that a section, or the top of the file, is for.
func (c *config) owner(name string) string {
	return cmp.Or(c.accounts[name].get("jid"), c.defaults.get("jid"))
}

// jidLine returns the line of that address.
func (c *config) jidLine(name string) int {
	if c.accounts[name].get("jid") == "" && c.defaults.get("jid") != "" {
		name = ""
	}
	return c.lines[name]
}

// sameAccount reports whether two addresses are of one account.
func sameAccount(a, b string) bool {
	one, err := parseAccount(a)
	other, e := parseAccount(b)
	return err == nil && e == nil && one.Bare() == other.Bare()
}

// of returns what a section, which is for an owner, has for an account: a password is for
// no other account, and what leads to a server, and trusts it, for no other domain. Thus no
// server gets a password that is not for it.
func (s section) of(owner string, account xmpp.JID) section {
	o, err := parseAccount(owner)
	if err != nil || o.Bare() == account.Bare() {
		return s
	}
	rest := maps.Clone(s)
	for _, key := range passwordKeys {
		delete(rest, key)
	}
	if o.Domain != account.Domain {
		for _, key := range []string{"server", "tls", "ca_file", "tls_pin", "allow_plain"} {
			delete(rest, key)
		}
	}
	return rest
}

// resolvePaths returns the section with the paths relative to the file that they are in: a
// job of cron has another directory than a shell.
func (s section) resolvePaths(file, home string) (section, error) {
	s = maps.Clone(s)
	for _, key := range []string{"ca_file", "password_file"} {
		path, err := belowHome(file+": "+key, s.get(key), home)
		if err != nil {
			return nil, err
		}
		switch {
		case path == "":
		case path == "-" || filepath.IsAbs(path):
			s[key] = []string{path}
		default:
			s[key] = []string{filepath.Join(filepath.Dir(file), path)}
		}
	}
	return s, nil
}

// belowHome returns a path with the home directory in the place of ~: a shell leaves that
// alone after --flag= and between quotes, and a service has no shell. Without a home
// directory it is nothing in the current one.
func belowHome(what, path, home string) (string, error) {
	below, atHome := strings.CutPrefix(path, "~/")
	switch {
	case !atHome:
		return path, nil
	case !filepath.IsAbs(home):
		return "", exit.Configf("set HOME, or write the whole path", "%s: there is no home directory for %s", what, path)
	}
	return filepath.Join(home, below), nil
}
