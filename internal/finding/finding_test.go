package finding

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// goFiles calls visit for the sources below a folder, without tests.
func goFiles(t *testing.T, folder string, visit func(path string, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err == nil {
			visit(path, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// constants returns the constants of type ID: their values by their names.
func constants(t *testing.T) map[string]ID {
	t.Helper()
	ids := map[string]ID{}
	goFiles(t, ".", func(_ string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "ID" {
				value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				ids[spec.Names[0].Name] = ID(value)
			}
			return true
		})
	})
	return ids
}

// Each ID is a word of its own, stands in the table once, and has a severity.
func TestEachIDOnce(t *testing.T) {
	word := regexp.MustCompile(`^[a-z]+[46]?(-[a-z]+)*$`)
	count := map[ID]int{}
	for _, id := range IDs() {
		count[id]++
		if s := (Finding{ID: id}).Severity(); s != Broken && s != Risk && s != Hint {
			t.Errorf("%s: severity %q", id, s)
		}
	}
	ids := constants(t)
	if len(ids) != len(count) {
		t.Errorf("%d constants, %d IDs in the table", len(ids), len(count))
	}
	for name, id := range ids {
		if count[id] != 1 || !word.MatchString(string(id)) {
			t.Errorf("%s = %q: %d times in the table", name, id, count[id])
		}
	}
}

// Each ID has code that makes it. An ID without one must be deleted.
func TestEachIDIsMade(t *testing.T) {
	made := map[string]bool{}
	for _, folder := range []string{"../../internal", "../../cmd"} {
		goFiles(t, folder, func(_ string, file *ast.File) {
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "finding" {
						made[s.Sel.Name] = true
					}
				}
				return true
			})
		})
	}
	for name, id := range constants(t) {
		if !made[name] {
			t.Errorf("%s (%s) is made by nobody", name, id)
		}
	}
}
