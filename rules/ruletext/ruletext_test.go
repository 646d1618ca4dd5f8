package ruletext_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"portmap/rules"
	"portmap/rules/ruletext"
)

// textOf returns the text of a mapping with about that many bytes.
func textOf(t *testing.T, length int) string {
	t.Helper()
	var line strings.Builder
	line.WriteString("443:8443 --source 10.0.0.0/32")
	for i := 2; line.Len() < length-16; i += 2 {
		fmt.Fprintf(&line, ",10.%d.%d.%d/32", i>>16, i>>8&255, i&255)
	}
	m, err := rules.Parse(line.String())
	if err != nil {
		t.Fatal(err)
	}
	return m.String()
}

// A text that is cut is put together again, in whatever order its pieces are found.
func TestPiecesAreJoined(t *testing.T) {
	for _, length := range []int{200, 1000, rules.MaxText - 40} {
		text := textOf(t, length)
		for _, most := range []int{128, 255} {
			comment, pieces := ruletext.Comment(text, most), ruletext.Pieces(text, most)
			for _, p := range append(pieces, comment) {
				if len(p) > most {
					t.Fatalf("%d bytes: a comment has %d", length, len(p))
				}
			}
			slices.Reverse(pieces)
			want := map[string]string{comment: text, "80:8080/tcp": "80:8080/tcp"}
			if got := ruletext.Join(append(pieces, comment, "80:8080/tcp")); !maps.Equal(got, want) {
				t.Errorf("%d bytes in comments of %d: got %d texts", length, most, len(got))
			}
		}
	}
}

// A text that fits is its own comment, and has no pieces.
func TestShortText(t *testing.T) {
	const text = "443:8443/tcp"
	for _, most := range []int{len(text), 128} {
		if got, pieces := ruletext.Comment(text, most), ruletext.Pieces(text, most); got != text || pieces != nil {
			t.Errorf("in %d bytes: %q, %q", most, got, pieces)
		}
	}
}

// Join ignores pieces if one is missing or changed.
func TestForeignPieces(t *testing.T) {
	text := textOf(t, 1000)
	mark, pieces := ruletext.Comment(text, 128), ruletext.Pieces(text, 128)
	changed := slices.Clone(pieces)
	changed[2] = strings.Replace(changed[2], ",10.", ",11.", 1)
	swapped := slices.Clone(pieces)
	swapped[0], swapped[1] = mark+" 1/"+behindNumber(pieces[1]), mark+" 2/"+behindNumber(pieces[0])
	for name, list := range map[string][]string{
		"one is missing": pieces[1:], "one is changed": changed, "two are swapped": swapped,
		"a number beyond them": {mark + " 10000/10000 x"}, "no number": {mark + " x y"}, "no text": {mark},
	} {
		if got := ruletext.Join(list); len(got) > 0 {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// behindNumber returns what follows the slash in a piece's number.
func behindNumber(piece string) string {
	_, rest, _ := strings.Cut(piece, "/")
	return rest
}
