package rundir

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"portmap/internal/lab"

	"github.com/vishvananda/netns"
)

func TestMain(m *testing.M) {
	if os.Getenv(holdVariable) != "" {
		hold()
	}
	lab.Main(m)
}

func TestFiles(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "portmap")
	d := At(folder)
	if got := d.Files(); len(got) != 0 {
		t.Errorf("at first: %v", got)
	}
	a, b := filepath.Join(t.TempDir(), "a.conf"), filepath.Join(t.TempDir(), "b.conf")
	for _, path := range []string{a, b, a} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := d.AddFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.Files(); !slices.Equal(got, []string{a, b}) {
		t.Errorf("noted are %v", got)
	}
	if err := os.Remove(a); err != nil {
		t.Fatal(err)
	}
	if err := d.AddFile("/nowhere/c.conf"); err != nil {
		t.Fatal(err)
	}
	if got := d.Files(); !slices.Equal(got, []string{b, "/nowhere/c.conf"}) {
		t.Errorf("after one is gone: %v", got)
	}
}

// Each network namespace has its own list.
func TestNamespaces(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "portmap")
	if err := At(folder).AddFile("/a.conf"); err != nil {
		t.Fatal(err)
	}
	seen := make(chan []string)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in the new namespace
		ns, err := netns.New()
		if err != nil {
			seen <- []string{err.Error()}
			return
		}
		defer ns.Close()
		seen <- At(folder).Files()
	}()
	if got := <-seen; len(got) != 0 {
		t.Errorf("another namespace has %v", got)
	}
}

func TestWatch(t *testing.T) {
	d := At(filepath.Join(t.TempDir(), "portmap"))
	if d.Watched() {
		t.Error("watched at first")
	}
	end, err := d.BeginWatch()
	if err != nil {
		t.Fatal(err)
	}
	endSecond, err := d.BeginWatch()
	if err != nil {
		t.Fatal(err)
	}
	end()
	if !d.Watched() {
		t.Error("not watched, though the second one runs")
	}
	endSecond()
	if d.Watched() {
		t.Error("watched at the end")
	}
}

// A folder that others can write is not used: root would obey them.
func TestFolderOfOthers(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "portmap")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	d := At(folder)
	if err := d.AddFile("/a.conf"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := d.AddFile("/b.conf"); err == nil {
		t.Error("it is written")
	}
	if got := d.Files(); len(got) != 0 {
		t.Errorf("it is read: %v", got)
	}
	if _, err := d.BeginWatch(); err == nil {
		t.Error("a watch is noted")
	}
	if (Dir{}).Watched() || (Dir{}).AddFile("/a") == nil {
		t.Error("the zero Dir keeps something")
	}
}
