package fault

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// shell runs a script of sh with a fault.
func shell(t *testing.T, script string, f Fault) Result {
	t.Helper()
	return within(t, 10*time.Second, script, f)
}

func within(t *testing.T, limit time.Duration, script string, f Fault) (r Result) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		var err error
		r, err = Run(Command{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"},
			Within: limit}, f)
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return r
}

// hitting returns the results of all faults of a kind whose call has a given text in its description.
func hitting(t *testing.T, script string, kind Kind, text string) (found []Result) {
	t.Helper()
	clean := shell(t, script, Fault{})
	if clean.Counts[kind] == 0 {
		t.Fatalf("no call for %s in %v", kind, clean.Counts)
	}
	var hits []string
	for n := range clean.Counts[kind] {
		r := shell(t, script, Fault{Kind: kind, N: n + 1})
		if hits = append(hits, r.Hit); strings.Contains(r.Hit, text) {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no %s came to %q, but to %q", kind, text, hits)
	}
	return found
}

func TestWithoutFault(t *testing.T) {
	r := shell(t, "echo out; echo err >&2; exit 3", Fault{})
	if r.Out != "out\n" || r.Err != "err\n" || r.Code != 3 || r.Killed || r.Hit != "" || r.Late || r.Left != nil {
		t.Errorf("%+v", r)
	}
}

func TestErrorOfCall(t *testing.T) {
	for _, r := range hitting(t, "exec cat /proc/version", EIO, "read /proc/") {
		if !strings.Contains(r.Err, "Input/output error") || r.Killed {
			t.Errorf("%+v", r)
		}
	}
	for _, r := range hitting(t, "echo done", ENOSPC, "write") {
		if r.Out != "" || r.Code == 0 {
			t.Errorf("%+v", r)
		}
	}
}

// After a kill, neither the call nor anything after it happens.
func TestKilled(t *testing.T) {
	for _, r := range hitting(t, "echo one; echo two", Kill, "call 1") {
		if !r.Killed || r.Code != -1 || strings.Contains(r.Out, "two") {
			t.Errorf("%+v", r)
		}
	}
}

func TestKilledChild(t *testing.T) {
	for _, r := range hitting(t, "cat /dev/null; echo $?", KillChild, "cat") {
		if r.Killed || r.Out != "137\n" {
			t.Errorf("%+v", r)
		}
	}
}

// A close that fails still closes: otherwise a reader would wait forever.
func TestFailedClose(t *testing.T) {
	for _, r := range hitting(t, "echo through | cat", EIO, "close") {
		if r.Late {
			t.Errorf("%+v", r)
		}
	}
}

func TestLeftOver(t *testing.T) {
	r := shell(t, "sleep 1000 & exit 0", Fault{})
	if len(r.Left) != 1 || r.Left[0] != "sleep 1000" || r.Late || r.Code != 0 {
		t.Errorf("%+v", r)
	}
}

func TestLate(t *testing.T) {
	r := within(t, 100*time.Millisecond, "sleep 1000", Fault{})
	if !r.Late || !r.Killed || r.Left != nil {
		t.Errorf("%+v", r)
	}
}

func TestParse(t *testing.T) {
	for _, kind := range Kinds() {
		f := Fault{Kind: kind, N: 57}
		if got, err := Parse(f.String()); got != f || err != nil {
			t.Errorf("%s: %v, %v", f, got, err)
		}
	}
	for _, text := range []string{"", "EIO", "EIO@", "EIO@0", "eio@1", "@1"} {
		if f, err := Parse(text); err == nil {
			t.Errorf("%q is taken for %s", text, f)
		}
	}
}
