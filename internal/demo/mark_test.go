package demo

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mark is a name in the environment of one run, by which all of its processes are found.
type mark struct{ name string }

// newMark returns a mark that no other run has. What still has it when the test ends, ends too.
func newMark(t *testing.T) mark {
	m := mark{fmt.Sprintf("PORTMAP_DEMO_%d_%d", os.Getpid(), time.Now().UnixNano())}
	t.Cleanup(func() {
		for _, pid := range m.processes(t) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	return m
}

// stages is how many processes a demonstration has that hangs in a command: host, client, server, and the command.
const stages = 4

// processes returns the numbers of the processes that have the mark.
func (m mark) processes(t *testing.T) (all []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		environment, err := os.ReadFile(file) // not those of others, and not those that ended
		if err != nil {
			continue
		}
		for _, entry := range bytes.Split(environment, []byte{0}) {
			if strings.HasPrefix(string(entry), m.name+"=") {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
				all = append(all, pid)
			}
		}
	}
	return slices.DeleteFunc(all, func(pid int) bool { return pid == os.Getpid() })
}

// wait waits until count processes have the mark.
func (m mark) wait(t *testing.T, count int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d processes", count), func() bool { return len(m.processes(t)) == count })
}

// stop stops the children of parent that have the mark.
func (m mark) stop(t *testing.T, parent int) {
	t.Helper()
	for _, pid := range m.processes(t) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", parent)) {
			if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// namespaces returns those that the marked processes have and this one has not.
func (m mark) namespaces(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pid := range m.processes(t) {
		for _, namespace := range namespacesOf(strconv.Itoa(pid)) {
			if !slices.Contains(namespacesOf("self"), namespace) && !slices.Contains(all, namespace) {
				all = append(all, namespace)
			}
		}
	}
	if len(all) < 4 { // two networks, the mounts, the processes
		t.Fatalf("the demonstration has but these namespaces of its own: %v", all)
	}
	return all
}

func namespacesOf(pid string) (all []string) {
	for _, kind := range [...]string{"net", "mnt", "pid", "user"} {
		if name, err := os.Readlink("/proc/" + pid + "/ns/" + kind); err == nil {
			all = append(all, name)
		}
	}
	return all
}

// mustBeGone waits for the end of all marked processes, and then looks for what else would keep their namespaces.
func (m mark) mustBeGone(t *testing.T, namespaces []string) {
	t.Helper()
	m.wait(t, 0)
	// An orphan that ended is there until it was reaped.
	eventually(t, fmt.Sprint("the end of ", namespaces), func() bool { return !inUse(t, namespaces) })
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range namespaces {
		if strings.Contains(string(mounts), namespace) {
			t.Errorf("%s is still mounted", namespace)
		}
	}
}

// inUse tells whether any process is in one of namespaces.
func inUse(t *testing.T, namespaces []string) bool {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(all, func(dir string) bool {
		return slices.ContainsFunc(namespacesOf(filepath.Base(dir)), func(name string) bool {
			return slices.Contains(namespaces, name)
		})
	})
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}
