package finding

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// elsewhere returns the IDs that check does not print: changes and lists of the other commands do, and its errors.
func elsewhere() []ID {
	return []ID{SharedTarget, SourceHidden, SwitchOff, WatchRunning, OtherBackend, OtherVariant, FamilyMissing,
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
