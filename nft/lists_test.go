package nft

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"

	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
)

// A list of rules or sets that was interrupted is read again, as one of elements is.
func TestInterruptedAnswer(t *testing.T) {
	hosts(t, func(_, wired *Backend, w *wire) {
		if err := wired.Apply(context.Background(),
			rules.Change{Add: lab.Mappings(t, "443:8443", "80:8080 --interface eth0")}); err != nil {
			t.Error(err)
		}
		interruptions := 3
		w.answers = func(question netlink.Message, answer []netlink.Message) {
			if question.Header.Flags&netlink.Dump == netlink.Dump && interruptions > 0 && len(answer) > 0 {
				interruptions--
				answer[len(answer)-1].Header.Flags |= netlink.DumpInterrupted
			}
		}
		if live := liveTexts(t, wired); live != "80:8080/tcp --interface eth0\n443:8443/tcp" || interruptions > 0 {
			t.Errorf("live are\n%s", live)
		}
		interruptions = 1 << 30
		if _, err := wired.Live(context.Background()); !errors.Is(err, vnetlink.ErrDumpInterrupted) {
			t.Errorf("interrupted for ever: %v", err)
		}
	})
}

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
