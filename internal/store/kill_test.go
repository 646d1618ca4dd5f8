package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// version returns a content that shows whether it is complete. Sizes differ, from some bytes to 200 kB.
func version(n int) string {
	line := fmt.Sprintf("version %d\n", n)
	return strings.Repeat(line, 1+n*7919%15000)
}

func versionOf(content string) (int, error) {
	line, _, _ := strings.Cut(content, "\n")
	n, err := strconv.Atoi(strings.TrimPrefix(line, "version "))
	if err == nil && content != version(n) {
		err = fmt.Errorf("version %d is not complete", n)
	}
	return n, err
}

// rewriteRole writes version after version, and prints each that is committed.
func rewriteRole(args []string) error {
	f := At(args[0])
	content, err := f.Read()
	if err != nil {
		return err
	}
	n, err := versionOf(string(content))
	for ; err == nil; n++ {
		if err = rewrite(f, version(n+1)); err == nil {
			fmt.Println(n + 1)
		}
	}
	return err
}

func rewrite(f *File, content string) error {
	l, err := f.Lock(context.Background())
	if err != nil {
		return err
	}
	defer l.Close()
	return replace(l, content)
}

// TestKilledWriter kills a writer many times. Each time the file is complete, no older than the last reported
// version, and the lock is free.
func TestKilledWriter(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	put(t, f.Path, version(1), 0o644)
	killWriters(t, f)
}

func killWriters(t *testing.T, f *File) {
	t.Helper()
	const kills = 50
	interrupted := 0
	for range kills {
		reported := killOne(t, f)
		content, err := f.Read()
		must(t, err)
		n, err := versionOf(string(content))
		must(t, err)
		if n < reported || n > reported+1 {
			t.Fatalf("the file holds version %d, reported was %d", n, reported)
		}
		left := place{path: f.Path}.interrupted()
		l := locked(t, f)
		if l.Interrupted() != left {
			t.Fatalf("interrupted: %v, a staged file: %v", l.Interrupted(), left)
		}
		if left {
			interrupted++
		}
		must(t, l.Close())
	}
	if interrupted == 0 || interrupted == kills {
		t.Errorf("%d of %d were killed between Stage and Commit: the moments are not random", interrupted, kills)
	}
	must(t, rewrite(f, "the end"))
	wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock")
}

// killOne returns the last version that a killed writer reported.
func killOne(t *testing.T, f *File) int {
	t.Helper()
	cmd := play(t, "rewrite", f.Path)
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	lines := bufio.NewScanner(pipe)
	if !lines.Scan() {
		t.Fatal("the writer reports nothing")
	}
	time.Sleep(time.Duration(rand.IntN(8000)) * time.Microsecond)
	must(t, cmd.Process.Kill())
	last := lines.Text()
	for lines.Scan() {
		last = lines.Text()
	}
	cmd.Wait()
	n, err := strconv.Atoi(last)
	must(t, err)
	return n
}
