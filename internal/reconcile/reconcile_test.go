package reconcile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"portmap/internal/filters"
	"portmap/internal/finding"
	"portmap/internal/flows"
	"portmap/internal/lab"
	"portmap/internal/rundir"
	"portmap/internal/store"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// fake is a kernel for the logic above the backends: it holds a list of mappings, and can fail.
type fake struct {
	live    rules.Live
	changes []rules.Change
	before  func(rules.Change) error // called before a change; an error refuses it
}

func (f *fake) Name() string { return "fake" }

func (f *fake) Close() error { return nil }

func (f *fake) Supports(m rules.Mapping) error { return m.Within() }

// kind is a packet filter that a host can be given.
func (f *fake) kind() filters.Kind {
	return filters.Kind{
		Name:    f.Name(),
		Present: func(context.Context) (bool, error) { return len(f.live.Mappings) > 0, nil },
		Try:     func(context.Context) error { return nil },
		Open:    func(context.Context) (*filters.Filter, error) { return &filters.Filter{Backend: f}, nil },
	}
}

func (f *fake) Live(context.Context) (rules.Live, error) { return f.live, nil }

func (f *fake) Temporary(context.Context) (found []rules.Mapping, err error) {
	for _, m := range f.live.Mappings {
		if m.Temporary() {
			found = append(found, m.Mapping)
		}
	}
	return found, nil
}

func (f *fake) Apply(ctx context.Context, c rules.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.before != nil {
		if err := f.before(c); err != nil {
			return err
		}
	}
	set, err := f.live.Set()
	if err != nil {
		return err
	}
	if c.Reset {
		set = rules.Set{}
	} else {
		for _, m := range c.Remove {
			if !set.Has(m) {
				return rules.ErrDrift
			}
		}
		set = set.Remove(c.Remove...)
	}
	if set, err = set.Add(c.Add...); err != nil {
		return rules.ErrDrift
	}
	f.changes = append(f.changes, c)
	f.live = rules.Live{}
	for _, m := range set.Mappings() {
		f.live.Mappings = append(f.live.Mappings, rules.LiveMapping{Mapping: m})
	}
	return nil
}

func (f *fake) texts() string {
	var lines []string
	for _, m := range f.live.Mappings {
		lines = append(lines, m.String())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// host is a Host with a fake kernel, and a file in a folder of the test's.
func host(t *testing.T) (*Host, *fake) {
	t.Helper()
	kernel := &fake{}
	file := store.At(filepath.Join(t.TempDir(), "portmap.conf"))
	return &Host{File: file, Kinds: []filters.Kind{kernel.kind()}}, kernel
}

func (h *Host) mustAdd(t *testing.T, lines ...string) {
	t.Helper()
	if _, err := h.Add(context.Background(), lab.Mappings(t, lines...), AddOptions{}); err != nil {
		t.Fatal(err)
	}
}

func saved(t *testing.T, h *Host) string {
	t.Helper()
	content, err := os.ReadFile(h.File.Path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Whichever step fails, file and kernel are as they were.
func TestFailingSteps(t *testing.T) {
	for name, spoil := range map[string]func(*Host, *fake){
		"the kernel refuses": func(_ *Host, k *fake) {
			k.before = func(rules.Change) error { return unix.ENOMEM }
		},
		"the file cannot be replaced": func(h *Host, k *fake) {
			// a folder stands in its place by the time of the rename
			k.before = func(rules.Change) error {
				k.before = nil
				content, err := os.ReadFile(h.File.Path)
				return errors.Join(err, os.Remove(h.File.Path), os.MkdirAll(filepath.Join(h.File.Path, "in the way"),
					0o755),
					os.WriteFile(h.File.Path+".saved", content, 0o644))
			}
		},
		"the file cannot be written": func(h *Host, _ *fake) {
			for _, name := range []string{"staged", "staged-again"} {
				inTheWay := filepath.Join(filepath.Dir(h.File.Path), ".portmap.conf.portmap-"+name, "in the way")
				if err := os.MkdirAll(inTheWay, 0o755); err != nil {
					panic(err)
				}
			}
		},
	} {
		for what, change := range map[string]func(*Host) error{
			"add": func(h *Host) error {
				_, err := h.Add(context.Background(), lab.Mappings(t, "80:8080", "81:8081"), AddOptions{})
				return err
			},
			"replace": func(h *Host) error {
				_, err := h.Add(context.Background(), lab.Mappings(t, "443:9443"), AddOptions{Replace: true})
				return err
			},
			"remove": func(h *Host) error {
				_, err := h.Remove(context.Background(), []string{"444"}, false)
				return err
			},
			"apply": func(h *Host) error {
				_, err := h.Apply(context.Background(), &Content{"other", []byte("90:9090\n")}, ApplyOptions{})
				return err
			},
		} {
			t.Run(name+": "+what, func(t *testing.T) {
				h, kernel := host(t)
				h.mustAdd(t, "443:8443", "444:8444")
				before := kernel.texts()
				spoil(h, kernel)
				if err := change(h); err == nil {
					t.Fatal("it is said to have worked")
				}
				if after := kernel.texts(); after != before {
					t.Errorf("live were\n%s\nand are\n%s", before, after)
				}
				content, err := os.ReadFile(h.File.Path + ".saved")
				if err != nil {
					content = []byte(saved(t, h))
				}
				if string(content) != "443:8443/tcp\n444:8444/tcp\n" {
					t.Errorf("saved are %q", content)
				}
			})
		}
	}
}

// Who gives up in the middle of a change that fails has the kernel put back all the same.
func TestUndoGoesOnWhenCanceled(t *testing.T) {
	h, kernel := host(t)
	h.mustAdd(t, "443:8443")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	kernel.before = func(rules.Change) error {
		kernel.before = nil
		return errors.Join(os.Remove(h.File.Path), os.MkdirAll(filepath.Join(h.File.Path, "in the way"), 0o755))
	}
	h.filter = &filters.Opened{Filter: &filters.Filter{Backend: canceling{kernel, cancel}}}
	if _, err := h.Add(ctx, lab.Mappings(t, "80:8080"), AddOptions{}); err == nil ||
		errors.As(err, new(*store.UndoError)) {
		t.Errorf("error is %v", err)
	}
	if got := kernel.texts(); got != "443:8443/tcp" {
		t.Errorf("live are\n%s", got)
	}
}

// canceling is a kernel during whose changes somebody gives up.
type canceling struct {
	*fake
	cancel func()
}

func (c canceling) Apply(ctx context.Context, change rules.Change) error {
	defer c.cancel()
	return c.fake.Apply(ctx, change)
}

// Where the file's lock is not to be had, the kernel's is given back: others with other files wait for it.
func TestKernelIsNotLockedForLong(t *testing.T) {
	h, _ := host(t)
	h.Run = rundir.At(filepath.Join(t.TempDir(), "run"))
	h.mustAdd(t, "443:8443")
	held, err := store.At(h.File.Path).Lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	h.File.LockTimeout = -1
	if _, err := h.Add(context.Background(), lab.Mappings(t, "80:8080"), AddOptions{}); !errors.Is(err,
		store.ErrLocked) {
		t.Errorf("error is %v, want that it is locked", err)
	}
	kernel, err := h.Run.Lock(context.Background(), -1)
	if err != nil {
		t.Fatalf("the kernel's lock: %v", err)
	}
	defer kernel.Close()
	if !kernel.Held() {
		t.Error("there is no lock to be had here")
	}
}

// The kernel holds something else than was believed: the change is made to fit, and does no more than it was to do.
func TestDrift(t *testing.T) {
	for _, c := range []struct {
		what    string
		live    []string
		damaged string
		change  func(*Host) error
		want    string
	}{
		{"to remove what the kernel has lost", []string{"444:8444"}, "", func(h *Host) error {
			_, err := h.Remove(context.Background(), []string{"443"}, false)
			return err
		}, "444:8444/tcp"},
		{"to add what something unsaved is in the way of", []string{"443:8443", "444:8444", "80:1"}, "",
			func(h *Host) error {
				_, err := h.Add(context.Background(), lab.Mappings(t, "80:8080"), AddOptions{})
				if !errors.As(err, new(*rules.ConflictError)) {
					return fmt.Errorf("add of what is taken by an unsaved mapping: %w", err)
				}
				report, err := h.Add(context.Background(), lab.Mappings(t, "80:8080"), AddOptions{Replace: true})
				if err == nil &&
					(report.Outcomes[0].Verb != Replaced || report.Outcomes[0].Old[0].String() != "80:1/tcp") {
					return fmt.Errorf("%+v", report.Outcomes)
				}
				return err
			}, "443:8443/tcp\n444:8444/tcp\n80:8080/tcp"},
		{"to remove from what is damaged, beside something unsaved", []string{"444:8444", "80:1"}, "a rule is gone",
			func(h *Host) error {
				_, err := h.Remove(context.Background(), []string{"443"}, false)
				return err
			}, "444:8444/tcp\n80:1/tcp"},
		{"to remove the last of the file, beside something unsaved", []string{"443:8443", "444:8444", "80:1"}, "",
			func(h *Host) error {
				_, err := h.Remove(context.Background(), []string{"443", "444"}, false)
				return err
			}, "80:1/tcp"},
		{"to add again what the kernel has lost", nil, "", func(h *Host) error {
			_, err := h.Add(context.Background(), lab.Mappings(t, "443:8443"), AddOptions{})
			return err
		}, "443:8443/tcp"},
		{"to remove from what is damaged", []string{"444:8444"}, "a rule is gone", func(h *Host) error {
			_, err := h.Remove(context.Background(), []string{"443"}, false)
			return err
		}, "444:8444/tcp"},
		{"to apply to what is damaged", []string{"443:8443"}, "a rule is gone", func(h *Host) error {
			_, err := h.Apply(context.Background(), nil, ApplyOptions{})
			return err
		}, "443:8443/tcp\n444:8444/tcp"},
		{"to remove what only the kernel has", []string{"443:8443", "444:8444", "80:1"}, "", func(h *Host) error {
			_, err := h.Remove(context.Background(), []string{"80"}, false)
			return err
		}, "443:8443/tcp\n444:8444/tcp"},
	} {
		t.Run(c.what, func(t *testing.T) {
			h, kernel := host(t)
			h.mustAdd(t, "443:8443", "444:8444")
			kernel.live = rules.Live{Damaged: c.damaged}
			for _, m := range lab.Mappings(t, c.live...) {
				kernel.live.Mappings = append(kernel.live.Mappings, rules.LiveMapping{Mapping: m})
			}
			if err := c.change(h); err != nil {
				t.Fatal(err)
			}
			if got := kernel.texts(); got != c.want {
				t.Errorf("live are\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// A change that died half way is put right by the next one, whatever that is.
func TestInterrupted(t *testing.T) {
	h, kernel := host(t)
	h.mustAdd(t, "443:8443")
	kernel.live.Mappings = append(kernel.live.Mappings, rules.LiveMapping{Mapping: lab.Mappings(t, "80:8080")[0]})
	staged := filepath.Join(filepath.Dir(h.File.Path), ".portmap.conf.portmap-staged")
	if err := os.WriteFile(staged, []byte("443:8443/tcp\n80:8080/tcp\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.mustAdd(t, "81:8081")
	if got := kernel.texts(); got != "443:8443/tcp\n81:8081/tcp" {
		t.Errorf("live are\n%s", got)
	}
	if _, err := os.Lstat(staged); err == nil {
		t.Error("its trace is still there")
	}
}

// After a change that died, a file without a mapping may be one that was lost: nothing goes that nobody asked to go.
func TestInterruptedAndEmpty(t *testing.T) {
	h, kernel := host(t)
	h.mustAdd(t, "443:8443")
	staged := filepath.Join(filepath.Dir(h.File.Path), ".portmap.conf.portmap-staged")
	for _, path := range []string{h.File.Path, staged} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := h.Add(context.Background(), lab.Mappings(t, "80:8080"), AddOptions{})
	if empty := new(EmptyError); !errors.As(err, &empty) || !empty.Interrupted || empty.Mappings != 1 {
		t.Errorf("error is %v", err)
	}
	if got := kernel.texts(); got != "443:8443/tcp" {
		t.Errorf("live are\n%s", got)
	}
}

// When nothing is left to map, nothing is left in the kernel; a temporary mapping is something.
func TestLastMapping(t *testing.T) {
	h, kernel := host(t)
	h.mustAdd(t, "443:8443", "71:7071 --temporary")
	if got := saved(t, h); got != "443:8443/tcp\n" {
		t.Errorf("saved are %q", got)
	}
	for i, selector := range []string{"443", "71"} {
		if _, err := h.Remove(context.Background(), []string{selector}, false); err != nil {
			t.Fatal(err)
		}
		if last := kernel.changes[len(kernel.changes)-1]; last.Reset != (i == 1) {
			t.Errorf("after the removal of %s: %+v", selector, last)
		}
	}
}

// That connection tracking could not be told is a warning: the change stands.
func TestForgetFails(t *testing.T) {
	h, _ := host(t)
	h.Forget = func(context.Context, flows.Change) error { return unix.EOPNOTSUPP }
	report, err := h.Add(context.Background(), lab.Mappings(t, "443:8443/udp"), AddOptions{})
	if err != nil || len(report.Warnings) != 1 || report.Warnings[0].ID != finding.ConntrackStale ||
		report.Warnings[0].Remedy != "" {
		t.Errorf("%+v, %v", report, err)
	}
	if got := saved(t, h); got != "443:8443/udp\n" {
		t.Errorf("saved are %q", got)
	}
}
