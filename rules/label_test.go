package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// withSources returns a mapping whose text has about that many bytes.
func withSources(t testing.TB, length int) Mapping {
	t.Helper()
	var line strings.Builder
	line.WriteString("443:8443 --source 10.0.0.0/32")
	for i := 2; line.Len() < length-16; i += 2 {
		fmt.Fprintf(&line, ",10.%d.%d.%d/32", i>>16, i>>8&255, i&255)
	}
	return must(t, line.String())[0]
}

// A text that is cut is put together again, in whatever order its pieces are found.
func TestLabelsAreJoined(t *testing.T) {
	for _, length := range []int{200, 1000, MaxText - 40} {
		m := withSources(t, length)
		for _, most := range []int{128, 255} {
			label, pieces := m.Label(most), m.Pieces(most)
			for _, p := range append(pieces, label) {
				if len(p) > most {
					t.Fatalf("%d bytes: a comment has %d", length, len(p))
				}
			}
			slices.Reverse(pieces)
			if got := JoinLabels(append(pieces, label, "80:8080/tcp")); !maps.Equal(got, map[string]string{label: m.String(), "80:8080/tcp": "80:8080/tcp"}) {
				t.Errorf("%d bytes in comments of %d: got %d texts", length, most, len(got))
			}
		}
	}
}

// Pieces that are not all there, or are not its own, are no mapping.
func TestForeignPiecesAreNoLabel(t *testing.T) {
	m := withSources(t, 1000)
	pieces := m.Pieces(128)
	changed := slices.Clone(pieces)
	changed[2] = strings.Replace(changed[2], ",10.", ",11.", 1)
	swapped := slices.Clone(pieces)
	swapped[0], swapped[1] = m.Label(128)+" 1/"+swapNumber(pieces[1]), m.Label(128)+" 2/"+swapNumber(pieces[0])
	for name, list := range map[string][]string{
		"one is missing": pieces[1:], "one is changed": changed, "two are swapped": swapped,
		"a number beyond them": {m.Label(128) + " 10000/10000 x"}, "no number": {m.Label(128) + " x y"}, "no text": {m.Label(128)},
	} {
		if got := JoinLabels(list); len(got) > 0 {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// swapNumber returns a piece from behind the slash of its number.
func swapNumber(piece string) string {
	_, rest, _ := strings.Cut(piece, "/")
	return rest
}
