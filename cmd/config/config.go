// Package config reads configuration files, including those of sendxmpp, and chooses the
// account of a command. It does not know where the files are.
package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"xmppkit/xmpp"
)

// A File is the contents of a configuration file.
type File struct {
	Name           string
	Defaults       Section
	Accounts       map[string]Section
	DefaultAccount string
	Lines          map[string]int // of the jid of each section, else of the section; "" is the top
}

// A Section maps keys to settings. The keys are those of the long flags with _ for -,
// and password and resource. The values are as a flag takes them.
type Section map[string][]string

func (s Section) Get(key string) string {
	if len(s[key]) == 0 {
		return ""
	}
	return s[key][0]
}

// each yields the sections.
func (c *File) each(yield func(Section) bool) {
	if !yield(c.Defaults) {
		return
	}
	for _, s := range c.Accounts {
		if !yield(s) {
			return
		}
	}
}

func (c *File) HoldsPassword() bool {
	for s := range c.each {
		if s.Get("password") != "" {
			return true
		}
	}
	return false
}

// Parse parses the text of a file of either kind. Its errors name the file and the
// line, and never the value of a key, which may be a password.
func Parse(file, text string) (File, error) {
	if isSendxmpprc(text) {
		s, line, err := parseSendxmpprc(file, text)
		return File{Name: file, Defaults: s, Lines: map[string]int{"": line}}, err
	}
	return parseTOML(file, text)
}

// PasswordKeys are the ways to give a password, in order of precedence.
var PasswordKeys = [...]string{"password_file", "password_command", "password"}

// settingType returns the type that the value of a key must have; "" if there is no
// such key.
func settingType(key string) string {
	switch key {
	case "jid", "password", "password_file", "password_command", "server", "tls", "ca_file", "resource":
		return "a quoted string"
	case "tls_pin":
		return "a quoted string or a list of them"
	case "timeout":
		return "a quoted string or a number of seconds"
	case "allow_plain":
		return "true or false"
	}
	return ""
}

// checkSetting refuses a value that a flag would refuse.
func checkSetting(key, value string) error {
	var err error
	switch key {
	case "jid":
		_, err = ParseAccount(value)
	case "server":
		_, _, err = xmpp.SplitServer(value)
	case "tls":
		_, err = xmpp.ParseTLSMode(value)
	case "tls_pin":
		_, err = xmpp.ParsePin(value)
	case "timeout":
		_, err = ParseDuration(value)
	case "resource":
		_, err = xmpp.JID{Domain: "localhost"}.WithResource(value)
	}
	if value == "" {
		return errors.New("empty")
	}
	return err
}

// A tomlFile is a TOML file that is being read. Its errors have the line.
type tomlFile struct {
	name string
	md   toml.MetaData
}

type tomlTable = map[string]toml.Primitive

func parseTOML(file, text string) (File, error) {
	c := File{Name: file, Accounts: make(map[string]Section), Lines: make(map[string]int)}
	f := &tomlFile{name: file}
	var top tomlTable
	var err error
	if f.md, err = toml.Decode(text, &top); err != nil {
		line := 0
		if e, ok := errors.AsType[toml.ParseError](err); ok {
			line = e.Position.Line
		}
		// The parser's message may quote its input.
		return c, fmt.Errorf(`%s:%d: this is not TOML: want key = "text", or [account.NAME]`, file, line)
	}
	accounts, err := f.table(top, "account")
	if err != nil {
		return c, err
	}
	for name := range accounts {
		if name == "" { // which could not be chosen
			return c, f.decode(accounts[name], tomlRefusal("want a name: [account.NAME]"))
		}
		table, err := f.table(accounts, name)
		if err != nil {
			return c, err
		}
		if c.Accounts[name], err = f.section(table); err != nil {
			return c, err
		}
		c.Lines[name] = f.line(accounts[name])
		if p, ok := table["jid"]; ok {
			c.Lines[name] = f.line(p)
		}
	}
	if p, ok := top["default_account"]; ok {
		if err := f.decode(p, (*tomlText)(&c.DefaultAccount)); err != nil {
			return c, err
		}
	}
	if p, ok := top["jid"]; ok {
		c.Lines[""] = f.line(p)
	}
	delete(top, "account")
	delete(top, "default_account")
	c.Defaults, err = f.section(top)
	return c, err
}

// table returns the table that t has at a key, or none.
func (f *tomlFile) table(t tomlTable, key string) (tomlTable, error) {
	p, ok := t[key]
	if !ok {
		return nil, nil
	}
	if err := f.decode(p, tomlIsTable{}); err != nil {
		return nil, err
	}
	var table tomlTable
	return table, f.decode(p, &table)
}

func (f *tomlFile) section(t tomlTable) (Section, error) {
	s := make(Section)
	for _, key := range slices.Sorted(maps.Keys(t)) {
		v := tomlSetting{key: key}
		if err := f.decode(t[key], &v); err != nil {
			return nil, err
		}
		s[key] = v.values
	}
	var ways []string
	for _, key := range PasswordKeys {
		if s.Get(key) != "" {
			ways = append(ways, key)
		}
	}
	if len(ways) > 1 {
		return nil, f.decode(t[ways[1]], tomlRefusal("there is a "+ways[0]+" as well"))
	}
	return s, nil
}

// decode gives v the value of a key.
func (f *tomlFile) decode(p toml.Primitive, v any) error {
	err := f.md.PrimitiveDecode(p, v)
	if e, ok := errors.AsType[toml.ParseError](err); ok {
		return fmt.Errorf("%s:%d: %s: %s", f.name, f.line(p), e.LastKey, e.Message)
	}
	return err
}

// line returns the line of a key. A table that exists only as part of other names, such as
// a in [a.b], has the line of the first of those.
func (f *tomlFile) line(p toml.Primitive) int {
	e, _ := errors.AsType[toml.ParseError](f.md.PrimitiveDecode(p, tomlRefusal("")))
	line := e.Position.Line
	var table tomlTable
	if line > 0 || f.md.PrimitiveDecode(p, &table) != nil {
		return line
	}
	for _, q := range table {
		if n := f.line(q); n > 0 && (line == 0 || n < line) {
			line = n
		}
	}
	return line
}

// A tomlSetting is the value of a key of a section.
type tomlSetting struct {
	key    string
	values []string
}

func (s *tomlSetting) UnmarshalTOML(data any) error {
	want := settingType(s.key)
	if want == "" {
		return errors.New("unknown key")
	}
	items := []any{data}
	if list, ok := data.([]any); ok && s.key == "tls_pin" {
		items = list
	}
	for _, item := range items {
		text, isText := item.(string)
		_, isInt := item.(int64)
		_, isBool := item.(bool)
		switch {
		case isInt && s.key == "timeout", isBool && s.key == "allow_plain":
			text = fmt.Sprint(item)
		case !isText || s.key == "allow_plain":
			return errors.New("want " + want)
		}
		if err := checkSetting(s.key, text); err != nil {
			return err
		}
		s.values = append(s.values, text)
	}
	if s.values == nil { // pins without a pin
		return errors.New("empty")
	}
	return nil
}

// A tomlText is a text.
type tomlText string

func (t *tomlText) UnmarshalTOML(data any) error {
	s, ok := data.(string)
	if !ok || s == "" {
		return errors.New("want a quoted string")
	}
	*t = tomlText(s)
	return nil
}

type tomlIsTable struct{}

func (tomlIsTable) UnmarshalTOML(data any) error {
	if _, ok := data.(map[string]any); !ok {
		return errors.New("want a table: [account.NAME]")
	}
	return nil
}

// A tomlRefusal refuses any value, to get an error with the line.
type tomlRefusal string

func (r tomlRefusal) UnmarshalTOML(any) error { return errors.New(string(r)) }

// ParseDuration parses a Go duration, plain seconds, or days.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	number, days := strings.CutSuffix(s, "d")
	n, e := strconv.ParseFloat(number, 64)
	if days {
		n *= 24 * 60 * 60
	}
	if e == nil && n < 1e9 && n > -1e9 && !strings.ContainsAny(number, "xX") {
		d, err = time.Duration(n*float64(time.Second)), nil
	}
	if err != nil || d < 0 {
		return 0, errors.New(`want a duration such as "30s", "2m", "7d" or plain seconds`)
	}
	digits, _, _ := strings.Cut(strings.ToLower(s), "e")
	if d == 0 && strings.ContainsAny(digits, "123456789") { // 0 would mean no limit
		return 0, errors.New("less than a nanosecond")
	}
	return d, nil
}

// PasswordWays is the hint of the error that there is no password.
const PasswordWays = "set XMPP_PASSWORD, pass --password-file or --password-command, set password in the configuration file, " +
	"or provide the systemd credential xmppkit.password; on a terminal, xmppkit asks for it"
