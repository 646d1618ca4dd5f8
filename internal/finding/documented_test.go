package finding

import (
	"go/ast"
	"os"
	"regexp"
	"slices"
	"testing"
)

// elsewhere returns the IDs that check does not print: changes and lists of the other commands do, and its errors.
func elsewhere() []ID {
	return []ID{SharedTarget, SourceHidden, WatchRunning, OtherBackend, OtherVariant, FamilyMissing,
		ConntrackStale, TemporaryLost, NoMappings, FileMissing, FileInvalid, LineLeftOut, ChangeLeftover, OtherFile,
		OtherFileKeeps, OtherFileConflict, OtherFileUnreadable}
}

// Each ID that check can print stands in the table of docs/check.md, in its order and with its severity, and no other.
func TestEachIDIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	type line struct{ id, severity string }
	var got, want []line
	row := regexp.MustCompile("(?m)^\\| `([a-z46-]+)` \\| (broken|risk|hint) \\| [^|]+ \\| [^|]+ \\|$")
	for _, cells := range row.FindAllSubmatch(text, -1) {
		got = append(got, line{string(cells[1]), string(cells[2])})
	}
	for _, id := range IDs() {
		if !slices.Contains(elsewhere(), id) {
			want = append(want, line{string(id), string(Finding{ID: id}.Severity())})
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%q\ncheck can print\n%q", got, want)
	}
}

// What the package check makes is printed by check.
func TestCheckPrintsWhatItMakes(t *testing.T) {
	ids := constants(t)
	goFiles(t, "../check", func(path string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			pair, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			key, _ := pair.Key.(*ast.Ident)
			value, _ := pair.Value.(*ast.SelectorExpr)
			if key != nil && key.Name == "ID" && value != nil && slices.Contains(elsewhere(), ids[value.Sel.Name]) {
				t.Errorf("%s makes %s", path, ids[value.Sel.Name])
			}
			return true
		})
	})
}
