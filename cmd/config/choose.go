package config

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"xmppkit/cmd/exit"
	"xmppkit/xmpp"
)

// A Who is what the flags and the environment say about the account, "" for nothing.
type Who struct {
	Account, JID       string // flags
	EnvAccount, EnvJID string
}

// A Choice is the account that a command is for.
type Choice struct {
	Name     string    // of its section, "" for none
	JID      string    // as it was given, "" if nothing names an account
	From     string    // where it was given: a flag, a variable, or a file
	Line     int       // in the file
	Sections []Section // of the file that apply to this account, its own section first
	File     string
	Foreign  string // the variable that names another account: what is beside it is that one's
}

// Choose chooses the account. Flags take precedence over the environment, names over
// addresses, and both over the default of the file.
func (c *File) Choose(w Who) (Choice, error) {
	name, err := c.chooseSection(w)
	if err != nil {
		return Choice{}, err
	}
	return c.Chosen(name, w)
}

// chosen is Choose once the section is known.
func (c *File) Chosen(name string, w Who) (Choice, error) {
	own := c.Owner(name)
	named := w.Account != "" || w.JID == "" && w.EnvAccount != ""
	ch := Choice{Name: name, File: c.Name, JID: own, From: c.Name}
	switch {
	case w.JID != "":
		ch.JID, ch.From = w.JID, "--jid"
	case w.EnvJID != "" && (!named || own == "" || SameAccount(own, w.EnvJID)):
		ch.JID, ch.From = w.EnvJID, "XMPP_JID"
	case own == "":
		return ch, nil
	}
	account, err := ParseAccount(ch.JID)
	if err != nil {
		return Choice{}, exit.Usagef("%s: %w", ch.From, err)
	}
	switch {
	case w.EnvJID != "":
		if !SameAccount(w.EnvJID, ch.JID) {
			ch.Foreign = "XMPP_JID"
		}
	case w.EnvAccount != "" && w.EnvAccount != name && !(c.has(w.EnvAccount) && SameAccount(c.Owner(w.EnvAccount), ch.JID)):
		ch.Foreign = "XMPP_ACCOUNT"
	}
	if name != "" {
		ch.Sections = append(ch.Sections, c.Accounts[name].of(own, account))
	}
	owner := c.Defaults.Get("jid")
	if name == "" { // what names nobody is, beside XMPP_JID, for that one
		owner = cmp.Or(owner, w.EnvJID)
	}
	ch.Sections = append(ch.Sections, c.Defaults.of(owner, account))
	return ch, nil
}

// chooseSection returns the name of the section to use, or "".
func (c *File) chooseSection(w Who) (string, error) {
	if name := w.Account; name != "" {
		own := c.Owner(name)
		if w.JID != "" && own != "" && c.has(name) && !SameAccount(own, w.JID) {
			err := exit.Usagef("-a %s is the account %s, but -j is %s", name, own, w.JID)
			err.Hint = "use only one of them"
			return "", err
		}
		return name, c.know(name)
	}
	switch {
	case w.JID == "" && w.EnvAccount != "":
		return w.EnvAccount, c.know(w.EnvAccount)
	case w.JID == "" && w.EnvJID == "":
		return c.DefaultAccount, c.know(c.DefaultAccount)
	case w.EnvAccount != "" && c.has(w.EnvAccount) && SameAccount(cmp.Or(c.Owner(w.EnvAccount), w.EnvJID, w.JID), w.JID):
		return w.EnvAccount, nil
	}
	jid, names := cmp.Or(w.JID, w.EnvJID), []string(nil)
	for _, name := range slices.Sorted(maps.Keys(c.Accounts)) {
		if SameAccount(c.Accounts[name].Get("jid"), jid) {
			names = append(names, name)
		}
	}
	switch len(names) {
	case 0:
		return "", nil
	case 1:
		return names[0], nil
	}
	err := exit.Usagef("%s has more than one account %s: %s", c.Name, jid, strings.Join(names, ", "))
	err.Hint = "choose one with -a NAME"
	return "", err
}

func (c *File) has(name string) bool { _, ok := c.Accounts[name]; return ok }

// know refuses a name that has no section.
func (c *File) know(name string) error {
	if name == "" || c.has(name) {
		return nil
	}
	hint := "add [account.NAME] to that file"
	if len(c.Accounts) > 0 {
		hint = "it has " + strings.Join(slices.Sorted(maps.Keys(c.Accounts)), ", ")
	}
	return exit.Configf(hint, "no account %q in %s", name, c.Name)
}

// Owner returns the address that a section, or the top of the file, is for.
func (c *File) Owner(name string) string {
	return cmp.Or(c.Accounts[name].Get("jid"), c.Defaults.Get("jid"))
}

// JIDLine returns the line of that address.
func (c *File) JIDLine(name string) int {
	if c.Accounts[name].Get("jid") == "" && c.Defaults.Get("jid") != "" {
		name = ""
	}
	return c.Lines[name]
}

// SameAccount reports whether two addresses are of one account.
func SameAccount(a, b string) bool {
	one, err := ParseAccount(a)
	other, e := ParseAccount(b)
	return err == nil && e == nil && one.Bare() == other.Bare()
}

// of returns the settings of an owner's section that apply to an account. A password
// applies only to the owner's account. Settings that choose a server or make it trusted
// apply only to the owner's domain. So no server gets a password that is not for it.
func (s Section) of(owner string, account xmpp.JID) Section {
	o, err := ParseAccount(owner)
	if err != nil || o.Bare() == account.Bare() {
		return s
	}
	rest := maps.Clone(s)
	for _, key := range PasswordKeys {
		delete(rest, key)
	}
	if o.Domain != account.Domain {
		for _, key := range []string{"server", "tls", "ca_file", "tls_pin", "allow_plain"} {
			delete(rest, key)
		}
	}
	return rest
}

// ResolvePaths returns the section with its paths resolved relative to the configuration
// file, because a cron job runs in another directory than a shell.
func (s Section) ResolvePaths(file, home string) (Section, error) {
	s = maps.Clone(s)
	for _, key := range []string{"ca_file", "password_file"} {
		path, err := BelowHome(file+": "+key, s.Get(key), home)
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

// BelowHome returns a path with ~ replaced by the home directory. A shell does not expand
// ~ after --flag= or inside quotes, and a service has no shell. Without a home directory
// it is an error, not a path below the current directory.
func BelowHome(what, path, home string) (string, error) {
	below, atHome := strings.CutPrefix(path, "~/")
	switch {
	case !atHome:
		return path, nil
	case !filepath.IsAbs(home):
		return "", exit.Configf("set HOME, or write the whole path", "%s: there is no home directory for %s", what, path)
	}
	return filepath.Join(home, below), nil
}

// ParseAccount parses the address of an account.
func ParseAccount(s string) (xmpp.JID, error) {
	a, err := xmpp.ParseAddress(s)
	switch {
	case err != nil:
		return xmpp.JID{}, err
	case a.Action != "" && a.Action != "message":
		return xmpp.JID{}, fmt.Errorf("%q: want user@domain", s)
	case a.JID.Local == "":
		return xmpp.JID{}, fmt.Errorf("%q is a server, not an account: want user@domain", s)
	}
	return a.JID, nil
}
