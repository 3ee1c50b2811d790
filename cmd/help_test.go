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
	"github.com/spf13/pflag"

	"xmppkit/cmd/child"
	"xmppkit/cmd/exit"
	"xmppkit/cmd/help"
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

// Every command has a file with all sections; its exit codes are ones of the table, and
// its examples are right, and one of them is of itself.
func TestHelpOfCommands(t *testing.T) {
	codes := append(exitConstants(t), 0, child.NotRunnable, child.NotFound)
	for cmd := range help.All(testRoot()) {
		if cmd.IsAdditionalHelpTopicCommand() {
			continue
		}
		path, h := cmd.CommandPath(), help.Of(cmd)
		if cmd.Short+cmd.Long+cmd.Example != "" {
			t.Errorf("%s: its help is not only in a file", path)
		}
		if n := len(h.Summary); n == 0 || n > 64 || strings.ContainsAny(h.Summary, "\n.") {
			t.Errorf("%s: %q is no summary in a line", path, h.Summary)
		}
		if h.About == "" || h.Examples == "" || !hasCodes(h) {
			t.Errorf("%s: a section is missing: %+v", path, h)
		}
		last := -1
		for text, means := range h.ExitCodes {
			code, err := strconv.Atoi(text)
			if err != nil || code <= last || !slices.Contains(codes, code) || means == "" {
				t.Errorf("%s: exit code %q %q: want codes of the table in their order", path, text, means)
			}
			last = code
		}
		shown := cmd == cmd.Root()
		for _, line := range commandLines(h.Examples) {
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

// A usage line has its flags before the arguments, which those of CMD end.
func TestHelpUsage(t *testing.T) {
	usage := regexp.MustCompile(`^xmppkit( [a-z]+)+ \[flags\]( [^-]*)?(\[-- CMD ARG\.\.\.\])?$`)
	for cmd := range help.All(testRoot()) {
		if cmd.HasParent() && cmd.Runnable() && !usage.MatchString(cmd.UseLine()) {
			t.Errorf("usage: %s", cmd.UseLine())
		}
	}
}

// helpIn returns the help of a command as it is on a terminal so wide, or in a pipe.
func helpIn(cmd *cobra.Command, width int) string {
	var b bytes.Buffer
	cmd.Root().SetOut(&b)
	(&Env{Width: width}).printHelp(cmd, nil)
	return b.String()
}

// Help fits the terminal, and 80 columns in a pipe. Tables and examples are as they are
// where the terminal is narrower than that.
func TestHelpWidth(t *testing.T) {
	for cmd := range help.All(testRoot()) {
		for line := range strings.Lines(helpIn(cmd, 0)) {
			if line = strings.TrimSuffix(line, "\n"); len(line) > 80 || strings.TrimRight(line, " ") != line {
				t.Errorf("%s: %d: %q", cmd.CommandPath(), len(line), line)
			}
		}
	}
	cmd, _, _ := testRoot().Find([]string{"send"})
	for _, width := range []int{40, 132} {
		longest := 0
		text, examples, _ := strings.Cut(helpIn(cmd, width), "\nExamples:\n")
		_, codes, _ := strings.Cut(examples, "\nExit codes:\n")
		for line := range strings.Lines(text + codes) {
			longest = max(longest, len(line)-1)
		}
		if longest > width || longest < width-9 {
			t.Errorf("on a terminal of %d columns the longest line has %d", width, longest)
		}
	}
}

// Each global flag is in help flags alone, with its default; a flag that counts has no
// value.
func TestHelpFlags(t *testing.T) {
	root := testRoot()
	topic, _, _ := root.Find([]string{"help", help.FlagsTopic})
	list, send := helpIn(topic, 132), ""
	for cmd := range help.All(root) {
		if cmd != topic && strings.Contains(helpIn(cmd, 0), "\n      --tls-pin") {
			t.Errorf("%s lists global flags", cmd.CommandPath())
		}
		if cmd.Name() == "send" {
			send = helpIn(cmd, 0)
		}
	}
	if want := "\nGlobal flags: xmppkit help flags\n"; !strings.HasSuffix(send, want) {
		t.Errorf("got %s, want at its end %q", send, want)
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(list, "--"+f.Name+" ") {
			t.Errorf("--%s is missing", f.Name)
		}
	})
	for _, want := range []string{"-v, --verbose     ", "--timeout DURATION", "(default 30s) [XMPP_TIMEOUT]"} {
		if !strings.Contains(list, want) {
			t.Errorf("no %q in\n%s", want, list)
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
	root, n := testRoot(), 0
	first := helpIn(root, 0)
	for topic := range help.All(root) {
		if !topic.IsAdditionalHelpTopicCommand() {
			continue
		}
		n++
		if !strings.Contains(first, "\n  "+topic.Name()+" ") {
			t.Errorf("xmppkit help does not name %s", topic.Name())
		}
		for line := range strings.Lines(help.Of(topic).About) {
			if len(line) > 81 || strings.HasPrefix(line, " ") && len(line) > 74 || strings.Contains(line, "\t") {
				t.Errorf("%s: %q", topic.Name(), line)
			}
		}
	}
	if n < 4 {
		t.Errorf("%d topics", n)
	}
}

func hasCodes(h help.Text) bool {
	for range h.ExitCodes {
		return true
	}
	return false
}

func topicText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("help/" + name + ".txt")
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
		env := &Env{Err: &b, flags: globals{json: true}}
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

// All that can be configured is in the table: the keys of the file and the environment.
func TestHelpConfig(t *testing.T) {
	text := topicText(t, "config")
	keys, variables := configured(t)
	for _, name := range slices.Concat(keys, variables, []string{"default_account"}) {
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(text) {
			t.Errorf("%s is missing", name)
		}
	}
}

// configured reads from the source which keys settingType knows, and which variables of ours
// there are. Those for CMD are not for a user to set.
func configured(t *testing.T) (keys, variables []string) {
	t.Helper()
	files, _ := filepath.Glob("*.go") // the patterns are well-formed
	below, _ := filepath.Glob("*/*.go")
	for _, file := range append(files, below...) {
		if strings.HasSuffix(file, "_test.go") || file == "listen_handler.go" {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "settingType" {
					ast.Inspect(n, func(n ast.Node) bool {
						if c, ok := n.(*ast.CaseClause); ok {
							keys = append(keys, textsIn(c.List)...)
						}
						return true
					})
				}
			case *ast.BasicLit:
				for _, text := range textsIn([]ast.Expr{n}) {
					if regexp.MustCompile(`^XMPP_[A-Z_]+$`).MatchString(text) && text != "XMPP_TRY" {
						variables = append(variables, text)
					}
				}
			}
			return true
		})
	}
	if !slices.Contains(keys, "tls_pin") || !slices.Contains(variables, "XMPP_TLS_PIN") || !slices.Contains(variables, "XMPP_JID") {
		t.Fatalf("the source is read wrongly: %q, %q", keys, variables)
	}
	return keys, variables
}

// textsIn returns the strings among expressions.
func textsIn(all []ast.Expr) (texts []string) {
	for _, e := range all {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			text, _ := strconv.Unquote(l.Value)
			texts = append(texts, text)
		}
	}
	return texts
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
	for cmd := range help.All(root) {
		name, section := help.PageOf(cmd)
		file := filepath.Join("man"+section, name+"."+section)
		text, err := fs.ReadFile(os.DirFS(dirs[0]), file)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := os.ReadFile(filepath.Join(dirs[1], file))
		if !bytes.Equal(text, again) {
			t.Errorf("%s differs the second time", file)
		}
		if !strings.Contains(string(text), section+` "2023-11-14" "xmppkit `) || !strings.Contains(string(text), ".SH NAME\n") {
			t.Errorf("%s: %s", file, text)
		}
		if section == "1" && (!strings.Contains(string(text), ".SH EXIT STATUS\n.TP\n") || !strings.Contains(string(text), ".SH EXAMPLES\n.EX\n")) {
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
