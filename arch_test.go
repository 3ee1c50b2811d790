package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"os"
)

// A source is a parsed file of the module.
type source struct {
	file string // with its directory, from the root of the module
	dir  string
	test bool
	*ast.File
}

var sourceSet = token.NewFileSet()

// sources parses the module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := fs.WalkDir(os.DirFS("."), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(file) != ".go":
			return nil
		}
		f, err := parser.ParseFile(sourceSet, file, nil, parser.ParseComments)
		all = append(all, source{file, path.Dir(file), strings.HasSuffix(file, "_test.go"), f})
		return err
	})
	if err != nil || len(all) < 20 {
		t.Fatalf("%d files: %v", len(all), err)
	}
	return all
}

func (s source) at(n ast.Node) string { return sourceSet.Position(n.Pos()).String() }

func (s source) imports() []string {
	var all []string
	for _, i := range s.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		all = append(all, p)
	}
	return all
}

const module = "xmppkit/"

// Imports run one way. A directory that is not listed is a mistake as well: add it here,
// with what it may use of the module.
func TestImports(t *testing.T) {
	allowed := map[string][]string{
		".":                  {"cmd"},
		"cmd":                {"cmd/child", "cmd/config", "cmd/exit", "cmd/files", "cmd/flags", "cmd/help", "cmd/prompt", "cmd/stdio", "internal/aside", "output", "xmpp", "xmpp/deliver", "xmpp/receive", "xmpp/sasl", "xmpp/xep", "xmpp/xmpptest"},
		"cmd/child":          {},
		"cmd/config":         {"cmd/exit", "xmpp"},
		"cmd/exit":           {},
		"cmd/files":          {"cmd/exit", "internal/aside"},
		"cmd/flags":          {"cmd/config", "cmd/exit", "output", "xmpp"},
		"cmd/help":           {"cmd/exit"},
		"cmd/prompt":         {"internal/aside"},
		"cmd/stdio":          {"internal/aside"},
		"internal/aside":     {},
		"output":             {},
		"xmpp":               {"internal/aside", "xmpp/internal/wire", "xmpp/sasl"},
		"xmpp/deliver":       {"xmpp", "xmpp/xep"},
		"xmpp/sasl":          {},
		"xmpp/receive":       {"xmpp", "xmpp/xep"},
		"xmpp/xep":           {"xmpp"},
		"xmpp/internal/wire": {},
		"xmpp/xmpptest":      {"xmpp", "xmpp/internal/wire"},
	}
	// What only some may use of others' code.
	only := map[string][]string{
		"github.com/spf13/cobra":       {"cmd", "cmd/flags", "cmd/help"},
		"github.com/spf13/pflag":       {"cmd", "cmd/flags", "cmd/help"},
		"golang.org/x/term":            {"cmd", "cmd/child", "cmd/prompt"},
		"github.com/xdg-go/scram":      {"xmpp/sasl", "xmpp/xmpptest"},
		"github.com/xdg-go/stringprep": {"xmpp/sasl"},
		"github.com/beevik/etree":      {"xmpp", "xmpp/internal/wire"},
		"encoding/xml":                 {},
		"log":                          {},
		"log/slog":                     {},
	}
	seen := make(map[string]bool)
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		seen[s.dir] = true
		mine, known := allowed[s.dir]
		if !known {
			t.Errorf("%s: no rule for %s", s.file, s.dir)
		}
		for _, p := range s.imports() {
			if own, ok := strings.CutPrefix(p, module); ok && !slices.Contains(mine, own) {
				t.Errorf("%s imports %s", s.file, p)
			}
			if dirs, ok := only[p]; ok && !slices.Contains(dirs, s.dir) {
				t.Errorf("%s imports %s", s.file, p)
			}
			if p == module+"xmpp/xmpptest" && s.file != "cmd/demo.go" {
				t.Errorf("%s imports %s, which only tests and the demo may", s.file, p)
			}
		}
	}
	for dir := range allowed {
		if !seen[dir] {
			t.Errorf("%s is gone: remove its rule", dir)
		}
	}
}

// The lookups of etree compare prefixes, not namespaces; its parser is too lenient. Both
// are banned: use package xmpp's.
func TestBannedCalls(t *testing.T) {
	etree := []string{
		"SelectElement", "SelectElements", "FindElement", "FindElements", "FindElementPath", "FindElementsPath", "FindElementsPathSeq", "FindElementsSeq",
		"SelectElementsSeq", "SelectAttr", "SelectAttrValue", "ReadFrom", "ReadFromFile", "ReadFromBytes", "ReadFromString", "WriteTo", "MustCompilePath", "CompilePath",
		"RemoveElement", "NotNil", "GetPath", "GetRelativePath",
	}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: an init function", s.at(n))
				}
			case *ast.SelectorExpr:
				x, _ := n.X.(*ast.Ident)
				switch {
				case slices.Contains(etree, n.Sel.Name):
					t.Errorf("%s: %s of etree", s.at(n), n.Sel.Name)
				case x != nil && x.Name == "os" && n.Sel.Name == "Exit" && s.file != "main.go":
					t.Errorf("%s: os.Exit", s.at(n))
				}
			}
			return true
		})
	}
}

// There is no mutable state in package-level variables. The rule that stands for it here:
// such a variable is given its value where it is declared, if only by go:embed, of no type of package sync,
// and afterwards nobody assigns to it or a part of it, takes its address, or deletes or
// clears it.
func TestNoGlobalState(t *testing.T) {
	globals := make(map[string]map[string]*ast.ValueSpec) // by directory and name
	all := slices.DeleteFunc(sources(t), func(s source) bool { return s.test })
	for _, s := range all {
		if globals[s.dir] == nil {
			globals[s.dir] = make(map[string]*ast.ValueSpec)
		}
		for _, d := range s.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				if len(v.Values) == 0 && !isEmbedded(v) {
					t.Errorf("%s: %s is declared without its value", s.at(v), v.Names[0])
				}
				ast.Inspect(v, func(n ast.Node) bool {
					if x, ok := n.(*ast.SelectorExpr); ok && (isIdent(x.X, "sync") || isIdent(x.X, "atomic")) {
						t.Errorf("%s: %s is state", s.at(v), v.Names[0])
					}
					return true
				})
				for _, name := range v.Names {
					globals[s.dir][name.Name] = v
				}
			}
		}
	}
	for _, s := range all {
		// changes tells whether e is a package-level variable or a part of one.
		changes := func(e ast.Expr) (string, bool) {
			id := root(e)
			if id == nil {
				return "", false
			}
			v, ok := globals[s.dir][id.Name]
			// A name that the parser resolves inside the file may be a local one.
			return id.Name, ok && (id.Obj == nil || id.Obj.Decl == v)
		}
		report := func(n ast.Node, e ast.Expr) {
			if name, ok := changes(e); ok {
				t.Errorf("%s: %s is changed", s.at(n), name)
			}
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, e := range n.Lhs {
						report(n, e)
					}
				}
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					report(n, n.Key)
					report(n, n.Value)
				}
			case *ast.IncDecStmt:
				report(n, n.X)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					report(n, n.X)
				}
			case *ast.CallExpr:
				if isIdent(n.Fun, "delete") || isIdent(n.Fun, "clear") || isIdent(n.Fun, "copy") {
					report(n, n.Args[0])
				}
			}
			return true
		})
	}
	if n := len(slices.Collect(maps.Keys(globals["cmd"]))); n == 0 {
		t.Error("found no variables at all")
	}
}

// isEmbedded reports whether a variable has its value from go:embed, read-only.
func isEmbedded(v *ast.ValueSpec) bool {
	t, ok := v.Type.(*ast.SelectorExpr)
	return ok && isIdent(t.X, "embed") && t.Sel.Name == "FS"
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// root returns the variable that e is a part of.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// The standard verification of certificates is switched off in one place, and
// the statement after it puts the pins in its stead.
func TestVerificationOff(t *testing.T) {
	n := 0
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		mentions := 0
		ast.Inspect(s.File, func(node ast.Node) bool {
			if id, ok := node.(*ast.Ident); ok && id.Name == "InsecureSkipVerify" {
				mentions++
			}
			block, ok := node.(*ast.BlockStmt)
			if !ok {
				return true
			}
			for i, stmt := range block.List {
				if !assigns(stmt, "InsecureSkipVerify") {
					continue
				}
				n++
				if i+1 == len(block.List) || !assigns(block.List[i+1], "VerifyConnection") {
					t.Errorf("%s: no VerifyConnection behind it", s.at(stmt))
				}
			}
			return true
		})
		if mentions > 0 && s.file != "xmpp/tls.go" || mentions > 1 {
			t.Errorf("%s: InsecureSkipVerify, %d times", s.file, mentions)
		}
	}
	if n != 1 {
		t.Errorf("verification is switched off in %d places", n)
	}
}

func assigns(s ast.Stmt, field string) bool {
	a, ok := s.(*ast.AssignStmt)
	if !ok || len(a.Lhs) != 1 {
		return false
	}
	x, ok := a.Lhs[0].(*ast.SelectorExpr)
	return ok && x.Sel.Name == field
}
