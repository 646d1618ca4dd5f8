package nft

import (
	"bytes"
	"context"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

// Lists that were read while a rule changed do not belong together, and are read again, also where nothing looks
// damaged.
func TestChangeBetweenLists(t *testing.T) {
	host := lab.New(t).Host("host")
	host.Do(func() {
		sound, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer sound.Close()
		here, there := lab.Mappings(t, "443:8443 -6"), lab.Mappings(t, "443:8443")
		if err := sound.Apply(context.Background(), rules.Change{Add: here}); err != nil {
			t.Error(err)
		}
		changed := false
		reading, err := open(func(request, answer uint16, body []byte, each func([]byte)) error {
			if !changed && bytes.Contains(body, []byte("ports4\x00")) { // behind the map that has the mapping then
				changed = true
				if err := sound.Apply(context.Background(), rules.Change{Remove: here, Add: there}); err != nil {
					t.Error(err)
				}
			}
			return listKernel(request, answer, body, each)
		})
		if err != nil {
			t.Error(err)
			return
		}
		defer reading.Close()
		if live := liveTexts(t, reading); live != "443:8443/tcp" {
			t.Errorf("live are %q", live)
		}
	})
}
