package reconcile

import (
	"errors"
	"testing"

	"portmap/internal/lab"
)

// Only what is saved, live and whole is in step; what is temporary is in no file on purpose.
func TestInStep(t *testing.T) {
	live := Row{Mapping: lab.Mappings(t, "443:8443")[0], State: Active, Saved: true}
	missing, unsaved, elsewhere, temporary := live, live, live, live
	missing.State, unsaved.Saved = Missing, false
	elsewhere.Saved, elsewhere.File = false, "/etc/other.conf"
	temporary.Saved, temporary.Mapping = false, lab.Mappings(t, "443:8443 --temporary")[0]
	for name, l := range map[string]struct {
		Listing
		want bool
	}{
		"live":         {Listing{Rows: []Row{live, elsewhere, temporary}}, true},
		"missing":      {Listing{Rows: []Row{live, missing}}, false},
		"not saved":    {Listing{Rows: []Row{live, unsaved}}, false},
		"damaged":      {Listing{Rows: []Row{live}, Damaged: "a rule is gone"}, false},
		"invalid file": {Listing{Rows: []Row{live}, Wrong: errors.New("line 2")}, false},
	} {
		if got := l.InStep(); got != l.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
