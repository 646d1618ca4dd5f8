//go:build boot

package boot

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"portmap/internal/lab"
)

//go:embed guest
var guest embed.FS

// root is the root of a new guest: the image of a suite of Debian's, with what the plan needs laid over it. Changes
// stay in memory and go with the test.
func root(t *testing.T, suite string, p plan) string {
	t.Helper()
	dir := t.TempDir()
	merged, upper, work := dir+"/root", dir+"/upper", dir+"/work"
	for _, d := range []string{merged, upper, work} {
		must(t, os.Mkdir(d, 0o755))
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", image(t, suite), upper, work)
	must(t, unix.Mount("overlay", merged, "overlay", 0, options))
	t.Cleanup(func() { must(t, unix.Unmount(merged, unix.MNT_DETACH)) })
	seed(t, merged, p)
	return merged
}

// seed writes the guest's share of the test into its root.
func seed(t *testing.T, root string, p plan) {
	t.Helper()
	folder := root + "/opt/boot"
	must(t, os.MkdirAll(folder, 0o755))
	lab.WriteNodeHTTP2(t, folder)
	must(t, os.WriteFile(folder+"/plan", []byte(strings.Join(p, "\n")+"\n"), 0o644))
	must(t, os.Mkdir(folder+"/dist", 0o755))
	for name, source := range map[string]string{
		"dist/old.deb": built(t, old, "*.deb"), "new.deb": built(t, renewed, "*.deb"),
		"provision.sh": "../../packaging/vagrant/provision.sh",
	} {
		content, err := os.ReadFile(source)
		must(t, err)
		must(t, os.WriteFile(folder+"/"+name, content, 0o755))
	}

	if p.pastes() {
		seedPaste(t, folder)
	}

	// The console is for the verdict; a serial line is slow, too.
	quiet := root + "/etc/systemd/system.conf.d"
	must(t, os.MkdirAll(quiet, 0o755))
	must(t, os.WriteFile(quiet+"/boot-test.conf", []byte("[Manager]\nShowStatus=error\n"), 0o644))

	// A login prompt begins by hanging up on whoever writes to its terminal.
	for _, unit := range []string{"console-getty.service", "serial-getty@ttyS0.service"} {
		must(t, os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system", unit)))
	}

	units := []string{}
	files, err := guest.ReadDir("guest")
	must(t, err)
	for _, file := range files {
		content, err := guest.ReadFile("guest/" + file.Name())
		must(t, err)
		place, mode := filepath.Join(folder, file.Name()), os.FileMode(0o755)
		if strings.HasSuffix(place, ".service") {
			place, mode = filepath.Join(root, "etc/systemd/system", file.Name()), 0o644
			units = append(units, file.Name())
		}
		must(t, os.WriteFile(place, content, mode))
	}
	for _, unit := range units {
		if !strings.HasPrefix(unit, "boot-") {
			continue // a step starts it
		}
		wants := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
		must(t, os.MkdirAll(wants, 0o755))
		must(t, os.Symlink("../"+unit, filepath.Join(wants, unit)))
	}
}

func image(t *testing.T, suite string) string {
	return environment(t, "PORTMAP_BOOT_"+strings.ToUpper(suite))
}

// The packages are built twice, so that there is one to upgrade to.
const (
	old = iota
	renewed
)

// built is the path of a package.
func built(t *testing.T, version int, pattern string) string {
	t.Helper()
	folders := strings.Fields(environment(t, "PORTMAP_BOOT_PACKAGES"))
	if len(folders) != 2 {
		t.Fatalf("PORTMAP_BOOT_PACKAGES: %d folders, not one with old and one with new packages: %q", len(folders),
			folders)
	}
	return one(t, folders[version]+"/"+pattern)
}

func environment(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run integration/boot/test.sh", name)
	}
	return value
}

// run lets a machine run until it ends or its time is over, and returns what it wrote to its console.
func run(t *testing.T, limit time.Duration, cmd *exec.Cmd) (console string, exit int) {
	t.Helper()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	must(t, cmd.Start())
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		t.Fatalf("%s: not ended after %s:\n%s", cmd.Path, limit, out.String())
	}
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// keep logs what a guest wrote when the test has failed.
func keep(t *testing.T, console *string) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the console:\n%s", strings.ReplaceAll(*console, "\r", ""))
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
