package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	processes = 20
	rounds    = 5
)

// countRole adds one to the number in a file, several times.
func countRole(args []string) error {
	f := At(args[0])
	for range rounds {
		if err := countOne(f); err != nil {
			return err
		}
	}
	return nil
}

func countOne(f *File) error {
	l, err := f.Lock(context.Background())
	if err != nil {
		return err
	}
	defer l.Close()
	content, err := f.Read()
	if err != nil {
		return err
	}
	n := 0
	if len(content) > 0 {
		if n, err = strconv.Atoi(string(content)); err != nil {
			return err
		}
	}
	return replace(l, strconv.Itoa(n+1))
}

// TestManyAtOnce: twenty processes count in one file, whose folder does not exist yet.
func TestManyAtOnce(t *testing.T) {
	f := At(pathIn(t.TempDir() + "/etc/portmap"))
	var crowd []*exec.Cmd
	for range processes {
		cmd := play(t, "count", f.Path)
		cmd.Stderr = os.Stderr
		must(t, cmd.Start())
		crowd = append(crowd, cmd)
	}
	for _, cmd := range crowd {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	wantContent(t, f, strconv.Itoa(processes*rounds))
	wantNames(t, filepath.Dir(f.Path), "portmap.conf", "portmap.conf.lock")
}

// holdRole takes the lock, stages a content, says so, and waits.
func holdRole(args []string) error {
	l, err := At(args[0]).Lock(context.Background())
	if err != nil {
		return err
	}
	if _, err := l.Stage([]byte("never committed")); err != nil {
		return err
	}
	fmt.Println("held")
	select {}
}

func holder(t *testing.T, f *File) *exec.Cmd {
	t.Helper()
	cmd := play(t, "hold", f.Path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("the holder says %q, %v", line, err)
	}
	return cmd
}

func TestLockTimesOut(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	cmd := holder(t, f)
	for _, timeout := range []time.Duration{-1, time.Nanosecond, 50 * time.Millisecond} {
		f.LockTimeout = timeout
		_, err := f.Lock(t.Context())
		wantError(t, err, ErrLocked, "lock "+f.Path+": another portmap holds the lock")
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	f.LockTimeout = time.Hour
	_, err := f.Lock(ctx)
	wantError(t, err, context.Canceled, "lock "+f.Path+": context canceled")
	if errors.Is(err, ErrLocked) {
		t.Error("gives the wrong reason")
	}

	// The lock ends with the process, and its leftover shows that it was interrupted.
	must(t, cmd.Process.Kill())
	f.LockTimeout = 0
	l := locked(t, f)
	if !l.Interrupted() {
		t.Error("not seen as interrupted")
	}
	wantContent(t, f, "")
}

func TestLockWaitsForItsTurn(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	first := locked(t, f)
	second := make(chan error)
	go func() {
		l, err := f.Lock(context.Background())
		if err == nil {
			var content []byte
			if content, err = f.Read(); err == nil && string(content) != "first" {
				err = fmt.Errorf("came in too early: %q", content)
			}
			err = errors.Join(err, l.Close())
		}
		second <- err
	}()
	time.Sleep(30 * time.Millisecond)
	must(t, replace(first, "first"))
	must(t, first.Close())
	must(t, <-second)
}

func TestCancelledBeforeLock(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Lock(ctx)
	wantError(t, err, context.Canceled, "lock "+f.Path+": context canceled")
}

func TestLockFileStays(t *testing.T) {
	f := At(pathIn(t.TempDir()))
	inode := func() uint64 {
		info, err := os.Stat(f.Path + ".lock")
		must(t, err)
		return info.Sys().(*syscall.Stat_t).Ino
	}
	l := locked(t, f)
	first := inode()
	must(t, replace(l, "x"))
	must(t, l.Close())
	_ = locked(t, f)
	if inode() != first {
		t.Error("another lock file")
	}
	wantMode(t, f.Path+".lock", 0o600)
}

// TestPlantedAfterTheCheck: a link made after the check is not followed, and the writer of a FIFO is not waited for.
func TestPlantedAfterTheCheck(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/victim", "", 0o644)
	must(t, os.Symlink("victim", dir+"/link"))
	must(t, os.Symlink("made", dir+"/dangling"))
	for _, name := range []string{"/link", "/dangling"} {
		if _, err := poll(t.Context(), dir+name); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, syscall.Mkfifo(dir+"/fifo", 0o644))
	held, err := poll(t.Context(), dir+"/fifo")
	must(t, err)
	must(t, held.Close())
	wantNames(t, dir, "dangling", "fifo", "link", "victim")
}

// TestPlantedLockFile: a file that others made in place of the lock is not opened.
func TestPlantedLockFile(t *testing.T) {
	for why, plant := range map[string]func(path string) error{
		"is not a regular file":       func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"can be written by everybody": func(path string) error { return os.Chmod(path, 0o666) },
		"is a symbolic link in a folder that others can write": func(path string) error {
			return errors.Join(os.Remove(path), os.Symlink("made", path))
		},
	} {
		dir := shared(t, fs.ModeSticky|0o777)
		lock := pathIn(dir) + ".lock"
		if why != "is not a regular file" {
			put(t, lock, "", 0o600)
		}
		must(t, plant(lock))
		_, err := At(pathIn(dir)).Lock(t.Context())
		wantRefused(t, err, why)
		wantNames(t, dir, "portmap.conf.lock")
	}
}
