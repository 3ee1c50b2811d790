package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"xmppkit/cmd/exit"
)

// testRoot returns all commands, in an environment of its own.
func testRoot(vars ...string) *cobra.Command {
	env := &Env{In: strings.NewReader(""), Out: new(bytes.Buffer), Err: new(bytes.Buffer), Getenv: func(name string) string {
		for _, v := range vars {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	}}
	root := newRootCmd(env)
	root.InitDefaultHelpCmd()
	return root
}

// Every command has a summary, exit codes and an example of itself that is right.
func TestHelpOfCommands(t *testing.T) {
	for cmd := range all(testRoot()) {
		if cmd.IsAdditionalHelpTopicCommand() {
			continue
		}
		path := cmd.CommandPath()
		if n := len(cmd.Short); n == 0 || n > 64 || strings.ContainsAny(cmd.Short, "\n.") {
			t.Errorf("%s: %q is no summary in a line", path, cmd.Short)
		}
		if _, codes := splitExit(cmd.Long); codes == "" {
			t.Errorf(`%s: no paragraph of its help begins with "Exit codes: "`, path)
		}
		shown := cmd == cmd.Root()
		for _, line := range commandLines(cmd.Example) {
			of, err := checkLine(line)
			if err != nil {
				t.Errorf("%s: example %q: %v", path, line, err)
			}
			shown = shown || of == path
		}
		if !shown {
			t.Errorf("%s: no example", path)
		}
	}
}

// checkLine checks the arguments of xmppkit, and says of which command they are.
func checkLine(words []string) (path string, err error) {
	cmd, rest, err := testRoot().Find(words)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err == nil && !cmd.HasParent() && len(rest) > 0 {
		err = fmt.Errorf("no such command")
	}
	return cmd.CommandPath(), err
}

// shellWord is a word or an operator of a shell.
var shellWord = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\|&;<>()])+|[|&;<>()]`)

// commandLines finds the arguments of each xmppkit in lines of a shell.
func commandLines(shell string) (lines [][]string) {
	for line := range strings.Lines(strings.ReplaceAll(shell, "\\\n", " ")) {
		var args *[]string
		for _, w := range shellWord.FindAllString(line, -1) {
			switch {
			case w == "xmppkit":
				lines = append(lines, nil)
				args = &lines[len(lines)-1]
			case strings.ContainsAny(w[:1], "|&;<>()"):
				args = nil
			case args != nil:
				*args = append(*args, strings.Trim(w, `'"`))
			}
		}
	}
	return lines
}

func TestCommandLines(t *testing.T) {
	got := commandLines("  XMPP_JID=x xmppkit ping a | xmppkit send -m 'a | b' j >f\n  source <(xmppkit x)\n  xmppkit a \\\n    -b\n")
	want := [][]string{{"ping", "a"}, {"send", "-m", "a | b", "j"}, {"x"}, {"a", "-b"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, wrong := range []string{"send --sbject x j", "ping a b", "nonsense", "ping --timeout x"} {
		if _, err := checkLine(strings.Fields(wrong)); err == nil {
			t.Errorf("%q passed", wrong)
		}
	}
}

// Topics fit a terminal, as manual pages too, and are named in the first help.
func TestHelpTopics(t *testing.T) {
	topics := helpTopics()
	if len(topics) == 0 {
		t.Fatal("no topics")
	}
	about := testRoot().Long
	for _, topic := range topics {
		if !regexp.MustCompile(`\b` + topic.Name() + `\b`).MatchString(about) {
			t.Errorf("xmppkit help does not name %s", topic.Name())
		}
		for line := range strings.Lines(topic.Long) {
			if len(line) > 74 || strings.Contains(line, "\t") {
				t.Errorf("%s: %q", topic.Name(), line)
			}
		}
	}
}

func topicText(t *testing.T, name string) string {
	t.Helper()
	text, err := helpFiles.ReadFile("help/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The table has the codes of package exit, and what can be retried.
func TestHelpExitCodes(t *testing.T) {
	got := make(map[int]string)
	for _, m := range regexp.MustCompile(`(?m)^ {1,5}(\d+)  (.*)$`).FindAllStringSubmatch(topicText(t, "exit-codes"), -1) {
		code, _ := strconv.Atoi(m[1])
		got[code] = "no"
		if retry := regexp.MustCompile(`  (yes|no)$`).FindStringSubmatch(m[2]); retry != nil {
			got[code] = retry[1]
		}
	}
	delete(got, 0)
	want := exitConstants(t)
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(slices.Values(want))) {
		t.Fatalf("the table has %v, package exit %v", slices.Sorted(maps.Keys(got)), want)
	}
	for _, code := range want {
		var b bytes.Buffer
		env := &Env{Err: &b, flags: flags{json: true}}
		env.open(t.Context())
		env.report(t.Context(), &exit.Error{Code: code, Err: os.ErrInvalid})
		var r struct{ Retryable bool }
		if b.Len() > 0 && json.Unmarshal(b.Bytes(), &r) != nil || r.Retryable != (got[code] == "yes") {
			t.Errorf("%d: the table says %s, the error %s", code, got[code], &b)
		}
	}
}

// exitConstants returns the values of the constants of package exit.
func exitConstants(t *testing.T) (codes []int) {
	signals := map[string]int{"128 + int(syscall.SIGHUP)": 129, "128 + int(syscall.SIGINT)": 130, "128 + int(syscall.SIGTERM)": 143}
	source, err := os.ReadFile("exit/exit.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t[A-Z]\w+ += ([^/\n]+?)(?: +//.*)?$`).FindAllStringSubmatch(string(source), -1) {
		code, err := strconv.Atoi(m[1])
		if err != nil && signals[m[1]] == 0 {
			t.Fatalf("what is %q?", m[1])
		}
		codes = append(codes, max(code, signals[m[1]]))
	}
	return codes
}

// resultKeys are those of a kind of result, but kind itself.
type resultKeys struct{ always, optional string }

// Every kind of result is in the table with exactly its keys, in their order.
func TestHelpOutput(t *testing.T) {
	got := make(map[string]resultKeys)
	for _, m := range regexp.MustCompile(`(?m)^([a-z_, ]+): .*\n  always +(.*)\n(?:  optional +(.*(?:\n {12}.*)*)\n)?`).FindAllStringSubmatch(topicText(t, "output"), -1) {
		for kind := range strings.SplitSeq(m[1], ", ") {
			got[kind] = resultKeys{m[2], strings.Join(strings.Fields(m[3]), " ")}
		}
	}
	want := recordKeys(t)
	for kind := range want {
		if got[kind] != want[kind] {
			t.Errorf("%s:\nthe table has %q,\nthe record    %q", kind, got[kind], want[kind])
		}
	}
	for kind := range got {
		if _, ok := want[kind]; !ok {
			t.Errorf("there is no result of the kind %s", kind)
		}
	}
}

// recordKeys reads from the source the types whose first field is Kind, and which
// kinds are made of them. What embeds such a type has more keys at times.
func recordKeys(t *testing.T) map[string]resultKeys {
	structs, literals := parsePackage(t)
	found := make(map[string]resultKeys)
	for name, s := range structs {
		tags := jsonTags(s)
		if len(tags) == 0 || tags[0] != "kind" {
			continue
		}
		if len(literals[name]) == 0 {
			t.Errorf("%s: which kind is it?", name)
		}
		for _, kind := range literals[name] {
			found[kind] = keysOf(tags[1:])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(structs)) {
		for _, kind := range literals[embedded(structs[name])] {
			more, k := keysOf(jsonTags(structs[name])), found[kind]
			k.optional = strings.Join(strings.Fields(k.optional+" "+more.always+" "+more.optional), " ")
			found[kind] = k
		}
	}
	return found
}

func keysOf(tags []string) resultKeys {
	var always, optional []string
	for _, tag := range tags {
		if key, _, ok := strings.Cut(tag, ","); ok { // omitempty or omitzero
			optional = append(optional, key)
		} else {
			always = append(always, key)
		}
	}
	return resultKeys{strings.Join(always, " "), strings.Join(optional, " ")}
}

// parsePackage returns the struct types of the package, and for each the kinds in its
// literals.
func parsePackage(t *testing.T) (structs map[string]*ast.StructType, kinds map[string][]string) {
	structs, kinds = make(map[string]*ast.StructType), make(map[string][]string)
	files, _ := filepath.Glob("*.go")
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok {
					structs[n.Name.Name] = s
				}
			case *ast.CompositeLit:
				if name, ok := n.Type.(*ast.Ident); ok {
					if kind := kindOf(n); kind != "" {
						kinds[name.Name] = append(kinds[name.Name], kind)
					}
				}
			}
			return true
		})
	}
	for name := range kinds {
		slices.Sort(kinds[name])
		kinds[name] = slices.Compact(kinds[name])
	}
	return structs, kinds
}

// kindOf returns the string that a literal has for Kind, or as its first value.
func kindOf(literal *ast.CompositeLit) string {
	for _, e := range literal.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if key, ok := kv.Key.(*ast.Ident); !ok || key.Name != "Kind" {
				continue
			}
			e = kv.Value
		}
		if v, ok := e.(*ast.BasicLit); ok && v.Kind == token.STRING {
			kind, _ := strconv.Unquote(v.Value)
			return kind
		}
		return ""
	}
	return ""
}

// jsonTags returns the json tags of a struct.
func jsonTags(s *ast.StructType) (tags []string) {
	for _, f := range s.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag, _ := strconv.Unquote(f.Tag.Value)
		if key := reflect.StructTag(tag).Get("json"); key != "" && key != "-" {
			tags = append(tags, key)
		}
	}
	return tags
}

// embedded returns the type of the package that a struct embeds, or "".
func embedded(s *ast.StructType) string {
	for _, f := range s.Fields.List {
		if name, ok := f.Type.(*ast.Ident); ok && len(f.Names) == 0 {
			return name.Name
		}
	}
	return ""
}

// All that can be configured is in the table: the keys of the file, whatever has a
// toml tag, and the environment.
func TestHelpConfig(t *testing.T) {
	text := topicText(t, "config")
	names := strings.Fields("jid password password_file password_command server tls ca_file tls_pin allow_plain timeout resource default_account XMPP_PASSWORD")
	for _, e := range environment {
		names = append(names, e[1])
	}
	structs, _ := parsePackage(t)
	for _, s := range structs {
		for _, f := range s.Fields.List {
			if f.Tag == nil {
				continue
			}
			tag, _ := strconv.Unquote(f.Tag.Value)
			if key, _, _ := strings.Cut(reflect.StructTag(tag).Get("toml"), ","); key != "" && key != "-" {
				names = append(names, key)
			}
		}
	}
	for _, name := range names {
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(text) {
			t.Errorf("%s is missing", name)
		}
	}
}

// The manual has a page of each command and topic, the same at each time, in which
// groff finds nothing wrong.
func TestManual(t *testing.T) {
	root := testRoot("SOURCE_DATE_EPOCH=1700000000")
	dirs := [2]string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		root.SetArgs([]string{"help", "--man", dir})
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
	}
	for cmd := range all(root) {
		name, section := pageOf(cmd)
		file := filepath.Join("man"+section, name+"."+section)
		text, err := fs.ReadFile(os.DirFS(dirs[0]), file)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := os.ReadFile(filepath.Join(dirs[1], file))
		if !bytes.Equal(text, again) {
			t.Errorf("%s differs the second time", file)
		}
		if !strings.Contains(string(text), section+` "2023-11-14" "xmppkit `) || !strings.Contains(string(text), roff(cmd.Short)) {
			t.Errorf("%s: %s", file, text)
		}
		if section == "1" && (!strings.Contains(string(text), ".SH EXIT STATUS\n.PP\n") || !strings.Contains(string(text), ".SH EXAMPLES\n.EX\n")) {
			t.Errorf("%s: no exit codes or no examples", file)
		}
		lintPage(t, filepath.Join(dirs[0], file))
	}
}

func lintPage(t *testing.T, page string) {
	groff, err := exec.LookPath("groff")
	if err != nil && os.Getenv("XMPPKIT_INTEROP") != "required" {
		t.Log("groff is not installed")
		return
	}
	out, err := exec.Command(groff, "-ww", "-man", "-Tutf8", "-z", page).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}

func TestManualDate(t *testing.T) {
	for value, want := range map[string]string{"0": "1970-01-01", "1700000000": "2023-11-14", "today": ""} {
		env := &Env{Getenv: func(string) string { return value }}
		if got, err := env.manualDate(); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: got %q, %v", value, got, err)
		}
	}
}

// What roff would take for itself is text, and text can be copied to a shell.
func TestRoff(t *testing.T) {
	got := roff(".a\n.b 'c' --d \\e ~/x `y` \"z\" ^")
	want := `\&.a` + "\n" + `\&.b \(aqc\(aq \-\-d \ee \(ti/x \(gay\(ga \(dqz\(dq \(ha`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
