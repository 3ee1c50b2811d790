package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A function fits a screen, and a test two.
func TestFunctionLength(t *testing.T) {
	for _, s := range sources(t) {
		limit := 60
		if s.test {
			limit = 120
		}
		for _, d := range s.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			from, to := sourceSet.Position(f.Pos()).Line, sourceSet.Position(f.End()).Line
			if n := to - from + 1; n > limit {
				t.Errorf("%s: %s has %d lines, at most %d", s.at(f), f.Name.Name, n, limit)
			}
		}
	}
}

// The files of cmd know few others, and hardly two know each other: what more than a
// command needs is in a package below.
func TestCmdFiles(t *testing.T) {
	const maxFiles, maxPairs, maxMutual = 31, 147, 13
	files, err := filepath.Glob("cmd/*.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if !isTest(f) {
			n++
		}
	}
	uses := fileUses(t, "cmd")
	mutual := 0
	for u := range uses {
		if uses[[2]string{u[1], u[0]}] && u[0] < u[1] {
			mutual++
		}
	}
	t.Logf("%d files, %d pairs of which one uses names of the other, %d that use each other", n, len(uses)-mutual, mutual)
	if n > maxFiles || len(uses)-mutual > maxPairs || mutual > maxMutual {
		t.Errorf("at most %d files, %d pairs and %d mutual ones", maxFiles, maxPairs, maxMutual)
	}
}

func isTest(file string) bool { ok, _ := filepath.Match("*_test.go", filepath.Base(file)); return ok }

// fileUses returns the pairs of files of a package, of which the first uses a name that
// the second declares: of the package, a field, or a method.
func fileUses(t *testing.T, dir string) map[[2]string]bool {
	fset, info := typeCheck(t, dir)
	uses := make(map[[2]string]bool)
	for id, obj := range info.Uses {
		if obj.Pkg() == nil || obj.Pkg().Path() != module+dir {
			continue
		}
		from, to := fset.Position(id.Pos()).Filename, fset.Position(obj.Pos()).Filename
		if from != to {
			uses[[2]string{from, to}] = true
		}
	}
	if len(uses) == 0 {
		t.Fatal("no file uses another")
	}
	return uses
}

// typeCheck checks the files of a package that are built here.
func typeCheck(t *testing.T, dir string) (*token.FileSet, *types.Info) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Export,GoFiles", "./"+dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	exports, built := make(map[string]string), make(map[string]bool)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Export string
			GoFiles            []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if p.ImportPath == module+dir {
			for _, f := range p.GoFiles {
				built[dir+"/"+f] = true
			}
		}
	}
	var files []*ast.File
	for _, s := range sources(t) {
		if built[s.file] {
			files = append(files, s.File)
		}
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: importer.ForCompiler(sourceSet, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	if _, err := config.Check(module+dir, sourceSet, files, info); err != nil {
		t.Fatal(err)
	}
	return sourceSet, info
}
