package reconcile

import (
	"context"
	"os"
	"testing"

	"portmap/internal/flows"
	"portmap/internal/lab"
	"portmap/rules"
)

// What is told of a change does not depend on what the kernel still had.
func TestWhatFlowsAreTold(t *testing.T) {
	add := func(line string, o AddOptions) func(*Host) error {
		return func(h *Host) error {
			_, err := h.Add(context.Background(), lab.Mappings(t, line), o)
			return err
		}
	}
	apply := func(content *Content) func(*Host) error {
		return func(h *Host) error {
			_, err := h.Apply(context.Background(), content, ApplyOptions{})
			return err
		}
	}
	remove := func(h *Host) error {
		_, err := h.Remove(context.Background(), []string{"443"}, false)
		return err
	}
	removeAll := func(h *Host) error {
		_, err := h.RemoveAll(context.Background(), false)
		return err
	}
	flush := func(h *Host) error {
		_, err := h.Flush(context.Background(), false)
		return err
	}
	const edited = "443:9443/udp\n80:8080\n"
	byHand := func(h *Host) error {
		if err := os.WriteFile(h.File.Path, []byte(edited), 0o644); err != nil {
			return err
		}
		return apply(nil)(h)
	}
	const old, new, other = "443:8443/udp", "443:9443/udp", "80:8080/tcp"
	for _, test := range []struct {
		name                     string
		flushed                  bool // by others, before
		change                   func(*Host) error
		removed, added, restored string
	}{
		{"add", false, add("53:5353/udp", AddOptions{}), "", "53:5353/udp", ""},
		{"add, flushed", true, add("53:5353/udp", AddOptions{}), "", "53:5353/udp", ""},
		{"add what is there", false, add(old, AddOptions{}), "", "", ""},
		{"add what is there, flushed", true, add(old, AddOptions{}), "", old, old},
		{"replace", false, add(new, AddOptions{Replace: true}), old, new, ""},
		{"replace, flushed", true, add(new, AddOptions{Replace: true}), old, new, ""},
		{"remove", false, remove, old, "", ""},
		{"remove, flushed", true, remove, old, "", ""},
		{"remove all, flushed", true, removeAll, old + ", " + other, "", ""},
		{"flush", false, flush, old + ", " + other, "", ""},
		{"flush, flushed", true, flush, old + ", " + other, "", ""},
		{"apply by hand", false, byHand, old, new, ""},
		{"apply by hand, flushed", true, byHand, "", new + ", " + other, new + ", " + other},
		{"apply again, flushed", true, apply(nil), "", old + ", " + other, old + ", " + other},
		{"apply another", false, apply(&Content{"new", []byte(edited)}), old, new, ""},
		{"apply another, flushed", true, apply(&Content{"new", []byte(edited)}), old, new + ", " + other, other},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, kernel := host(t)
			h.mustAdd(t, old, other)
			if test.flushed {
				kernel.live = rules.Live{}
			}
			var told flows.Change
			h.Forget = func(_ context.Context, c flows.Change) error { told = c; return nil }
			if err := test.change(h); err != nil {
				t.Fatal(err)
			}
			for i, list := range [][]rules.Mapping{told.Removed, told.Added, told.Restored} {
				if got, want := join(list), [...]string{test.removed, test.added, test.restored}[i]; got != want {
					t.Errorf("%s: %q; want %q", [...]string{"removed", "added", "restored"}[i], got, want)
				}
			}
		})
	}
}
