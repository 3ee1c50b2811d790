package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"xmppkit/cmd/exit"
	"xmppkit/cmd/files"
	"xmppkit/xmpp"
)

// A config is what a configuration file says.
type config struct {
	file           string
	defaults       section
	accounts       map[string]section
	defaultAccount string
	lines          map[string]int // of the jid of each section, else of the section; "" is the top
}

// A section has settings by their keys, those of the long flags with _ for -, and
// password and resource. The values are as a flag takes them.
type section map[string][]string

func (s section) get(key string) string {
	if len(s[key]) == 0 {
		return ""
	}
	return s[key][0]
}

// configure finds out which account is meant, and sets from the environment and the
// configuration file what no flag says of it.
func (env *Env) configure(ctx context.Context) (choice, error) {
	_, ch, err := env.configured(ctx)
	return ch, err
}

// configured is configure, and returns what the file says as well.
func (env *Env) configured(ctx context.Context) (c config, ch choice, err error) {
	for name, value := range map[string]string{"jid": env.who.jid, "account": env.who.account} {
		if value == "" && env.flagSet.Changed(name) { // a variable that a script has not set
			return c, ch, exit.Configf("", "no account: --%s is empty", name)
		}
	}
	if c, err = env.readConfig(ctx); err != nil {
		return c, ch, err
	}
	if ch, err = c.choose(env.who); err != nil {
		return c, ch, err
	}
	env.flags.jid = ch.jid
	if ch.foreign {
		env.traceForeign(ch)
	} else if err := env.applyVariables(accountEnvironment[:]); err != nil {
		return c, ch, err
	}
	for i, s := range ch.sections {
		if ch.sections[i], err = s.resolvePaths(c.file, env.Getenv("HOME")); err != nil {
			return c, ch, err
		}
		if err := env.fill(c.file, ch.sections[i]); err != nil {
			return c, ch, err
		}
	}
	return c, ch, nil
}

// noAccount is the error where nothing says who.
func (env *Env) noAccount() error {
	return exit.Configf("set XMPP_JID, pass --jid, or set jid in "+env.configName(), "no account configured")
}

// traceForeign says what is not used, as it is another account's.
func (env *Env) traceForeign(ch choice) {
	var names []string
	for _, name := range []string{"XMPP_PASSWORD", "XMPP_PASSWORD_FILE", "XMPP_PASSWORD_COMMAND", "CREDENTIALS_DIRECTORY"} {
		if env.Getenv(name) != "" {
			names = append(names, name)
		}
	}
	for _, e := range accountEnvironment {
		if env.Getenv(e[1]) != "" {
			names = append(names, e[1])
		}
	}
	if names == nil {
		names = []string{"the environment"}
	}
	env.trace("not used for %s, as XMPP_JID is %s: %s", ch.jid, env.who.envJID, strings.Join(names, ", "))
}

// fill sets the flags that are not set yet. The account and its password are none of them.
func (env *Env) fill(file string, s section) error {
	env.flags.resource = cmp.Or(env.flags.resource, s.get("resource"))
	for key, values := range s {
		f := env.flagSet.Lookup(strings.ReplaceAll(key, "_", "-"))
		if f == nil || f.Changed || key == "jid" || strings.HasPrefix(key, "password") {
			continue
		}
		for _, v := range values {
			if err := env.flagSet.Set(f.Name, v); err != nil {
				return exit.Configf("", "%s: %w", key, badValue(err))
			}
			_ = env.flagSet.SetAnnotation(f.Name, sourceNote, []string{file + ": " + key}) // it is there: it was set
		}
	}
	return nil
}

// configFile is the configuration file where it is expected, or named.
func (env *Env) configFile() string {
	if env.flags.config != "" {
		return env.flags.config
	}
	return filepath.Join(env.configHome(), "xmppkit", "config.toml")
}

// configName is configFile for a hint: without a home directory there is none.
func (env *Env) configName() string {
	if file := env.configFile(); env.flags.config != "" || filepath.IsAbs(file) {
		return file
	}
	return "a file for --config"
}

// configHome is the directory of configuration files, by the XDG Base Directory
// Specification.
func (env *Env) configHome() string {
	if dir := env.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) { // else the specification ignores it
		return dir
	}
	return filepath.Join(env.Getenv("HOME"), ".config")
}

// readConfig reads the configuration file: the one that is named, or config.toml, or
// else what sendxmpp or go-sendxmpp has. The wait for a pipe is a part of --timeout.
func (env *Env) readConfig(ctx context.Context) (config, error) {
	ctx, cancel := withTimeout(ctx, env.flags.timeout)
	defer cancel()
	started := time.Now()
	defer func() { env.spent += time.Since(started) }()
	if env.flags.config != "" {
		return env.readConfigFile(ctx, env.flags.config)
	}
	for _, file := range []string{
		env.configFile(),
		filepath.Join(env.configHome(), "go-sendxmpp", "config"),
		filepath.Join(env.configHome(), "go-sendxmpp", "sendxmpprc"),
		filepath.Join(env.Getenv("HOME"), ".sendxmpprc"),
	} {
		if !filepath.IsAbs(file) { // there is no home: nothing is read from wherever we are
			continue
		}
		_, err := os.Lstat(file)
		switch {
		case err == nil: // what cannot be read is not passed over for another account
			return env.readConfigFile(ctx, file)
		case !errors.Is(err, fs.ErrNotExist): // the home of another user
			env.trace("no configuration: %v", err)
		}
	}
	return config{file: env.configFile()}, nil
}

func (env *Env) readConfigFile(ctx context.Context, file string) (config, error) {
	if isStdin(file) && env.inUsed {
		return config{}, exit.Usagef("--config %s: standard input is the message here", file)
	}
	c, err := waitFor(ctx, file, func() (config, error) { return env.loadConfig(file) })
	if err == nil {
		env.trace("configuration from %s", file)
	}
	return c, err
}

// loadConfig reads and parses a configuration file. It can name a command, and the server
// that gets the password: it must be the user's.
func (env *Env) loadConfig(file string) (config, error) {
	var in io.Reader = env.In
	var f *os.File
	if !isStdin(file) {
		var err error
		if f, err = files.Open(file); err != nil {
			return config{}, exit.Inputf("configuration: %w", err)
		}
		defer f.Close()
		if err := files.TrustedPath(file, f); err != nil {
			return config{}, exit.Configf(files.Hint(err), "configuration: %w", err)
		}
		in = f
	}
	text, err := files.ReadSmall(file, in)
	if err != nil {
		return config{}, exit.Inputf("configuration: %w", err)
	}
	c, err := parseConfig(file, text)
	if err != nil {
		return config{}, exit.Configf("", "%w", err)
	}
	if f != nil && c.holdsPassword() {
		err = files.Private(file, f)
	}
	if e, ok := errors.AsType[*files.Untrusted](err); ok {
		return config{}, exit.Configf(e.Hint, "%s holds a password and %s", file, e.What)
	}
	if err != nil {
		return config{}, exit.Inputf("configuration: %w", err)
	}
	return c, nil
}

// each yields the sections.
func (c *config) each(yield func(section) bool) {
	if !yield(c.defaults) {
		return
	}
	for _, s := range c.accounts {
		if !yield(s) {
			return
		}
	}
}

func (c *config) holdsPassword() bool {
	for s := range c.each {
		if s.get("password") != "" {
			return true
		}
	}
	return false
}

// parseConfig parses the text of a file of either kind. Its errors name the file and
// the line, and nothing that stands behind a key: that may be a password.
func parseConfig(file, text string) (config, error) {
	if isSendxmpprc(text) {
		s, line, err := parseSendxmpprc(file, text)
		return config{file: file, defaults: s, lines: map[string]int{"": line}}, err
	}
	return parseTOML(file, text)
}

// passwordKeys are the ways to give a password, in the order in which they count.
var passwordKeys = [...]string{"password_file", "password_command", "password"}

// settingType says what the value of a key has to be; "" if there is no such key.
func settingType(key string) string {
	switch key {
	case "jid", "password", "password_file", "password_command", "server", "tls", "ca_file", "resource":
		return "a text in quotes"
	case "tls_pin":
		return "a text in quotes or a list of them"
	case "timeout":
		return "a text in quotes or a number of seconds"
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
		_, err = parseAccount(value)
	case "server":
		_, _, err = xmpp.SplitServer(value)
	case "tls":
		_, err = parseTLS(value)
	case "tls_pin":
		_, err = xmpp.ParsePin(value)
	case "timeout":
		err = new(duration).Set(value)
	case "resource":
		_, err = withResource(xmpp.JID{Domain: "localhost"}, value)
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

func parseTOML(file, text string) (config, error) {
	c := config{file: file, accounts: make(map[string]section), lines: make(map[string]int)}
	f := &tomlFile{name: file}
	var top tomlTable
	var err error
	if f.md, err = toml.Decode(text, &top); err != nil {
		line := 0
		if e, ok := errors.AsType[toml.ParseError](err); ok {
			line = e.Position.Line
		}
		// What the parser says may quote what it has found.
		return c, fmt.Errorf(`%s:%d: this is not TOML: want key = "text", or [account.NAME]`, file, line)
	}
	accounts, err := f.table(top, "account")
	if err != nil {
		return c, err
	}
	for name := range accounts {
		table, err := f.table(accounts, name)
		if err != nil {
			return c, err
		}
		if c.accounts[name], err = f.section(table); err != nil {
			return c, err
		}
		c.lines[name] = f.line(accounts[name])
		if p, ok := table["jid"]; ok {
			c.lines[name] = f.line(p)
		}
	}
	if p, ok := top["default_account"]; ok {
		if err := f.decode(p, (*tomlText)(&c.defaultAccount)); err != nil {
			return c, err
		}
	}
	if p, ok := top["jid"]; ok {
		c.lines[""] = f.line(p)
	}
	delete(top, "account")
	delete(top, "default_account")
	c.defaults, err = f.section(top)
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

func (f *tomlFile) section(t tomlTable) (section, error) {
	s := make(section)
	for _, key := range slices.Sorted(maps.Keys(t)) {
		v := tomlSetting{key: key}
		if err := f.decode(t[key], &v); err != nil {
			return nil, err
		}
		s[key] = v.values
	}
	var ways []string
	for _, key := range passwordKeys {
		if s.get(key) != "" {
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
		return fmt.Errorf("%s:%d: %s: %s", f.name, e.Position.Line, e.LastKey, e.Message)
	}
	return err
}

// line returns where a key is.
func (f *tomlFile) line(p toml.Primitive) int {
	e, _ := errors.AsType[toml.ParseError](f.md.PrimitiveDecode(p, tomlRefusal("")))
	return e.Position.Line
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
	return nil
}

// A tomlText is a text.
type tomlText string

func (t *tomlText) UnmarshalTOML(data any) error {
	s, ok := data.(string)
	if !ok || s == "" {
		return errors.New("want a text in quotes")
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

// A tomlRefusal refuses any value; it is there for the line.
type tomlRefusal string

func (r tomlRefusal) UnmarshalTOML(any) error { return errors.New(string(r)) }
