//go:build boot

package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inside runs a command in a root where nothing runs: no systemd, no network.
func inside(t *testing.T, root string, words ...string) string {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"--net", "chroot", root}, words...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return string(out)
}

// The package goes into a chroot, and out of it, without anything running there; what it enabled works at the first boot.
func TestPackageInAChroot(t *testing.T) {
	dir := root(t, plan{})
	list := func() string {
		return inside(t, dir, "find", "/etc", "/usr", "-xdev", "-newer", "/opt/boot/plan", "!", "-type", "d")
	}
	before := list()
	inside(t, dir, "dpkg", "-i", "/opt/boot/old.deb")
	for path, target := range map[string]string{
		"/etc/systemd/system/sysinit.target.wants/portmap-restore.service":    "/lib/systemd/system/portmap-restore.service",
		"/etc/systemd/system/nftables.service.wants/portmap-reapply.service":  "/lib/systemd/system/portmap-reapply.service",
		"/etc/systemd/system/firewalld.service.wants/portmap-reapply.service": "/lib/systemd/system/portmap-reapply.service",
		"/usr/sbin/portmap": "../bin/portmap",
	} {
		if got, err := os.Readlink(dir + path); err != nil || !strings.HasSuffix(got, target) {
			t.Errorf("%s leads to %q, %v; want %s", path, got, err, target)
		}
	}
	if _, err := os.Lstat(dir + "/etc/systemd/system/multi-user.target.wants/portmap-watch.service"); err == nil {
		t.Error("the watch is on, and nobody asked for it")
	}
	for path, mode := range map[string]os.FileMode{
		"/usr/bin/portmap": 0o755, "/etc/portmap/portmap.conf": 0o644, "/usr/share/man/man8/portmap.8.gz": 0o644,
		"/usr/share/man/man5/portmap.conf.5.gz": 0o644, "/usr/share/bash-completion/completions/portmap": 0o644,
		"/usr/share/zsh/vendor-completions/_portmap": 0o644, "/usr/share/fish/vendor_completions.d/portmap.fish": 0o644,
	} {
		if info, err := os.Stat(dir + path); strings.HasPrefix(path, "/usr/share/man") {
			continue // the image leaves manual pages out
		} else if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if said := inside(t, dir, "portmap", "version"); !strings.HasPrefix(said, "portmap 0.0.1 ") {
		t.Errorf("it says %q", said)
	}
	must(t, os.WriteFile(dir+"/etc/portmap/portmap.conf", []byte("443:8443\n"), 0o644))
	inside(t, dir, "dpkg", "-i", "/opt/boot/new.deb")
	if content, _ := os.ReadFile(dir + "/etc/portmap/portmap.conf"); string(content) != "443:8443\n" {
		t.Errorf("after the upgrade the file is %q", content)
	}
	inside(t, dir, "systemctl", "disable", "portmap-restore.service")
	inside(t, dir, "dpkg", "-i", "/opt/boot/old.deb")
	if _, err := os.Lstat(dir + "/etc/systemd/system/sysinit.target.wants/portmap-restore.service"); err == nil {
		t.Error("an upgrade switches on what its user had switched off")
	}
	inside(t, dir, "dpkg", "--remove", "portmap-nat")
	if content, _ := os.ReadFile(dir + "/etc/portmap/portmap.conf"); string(content) != "443:8443\n" {
		t.Errorf("after the removal the file is %q", content)
	}
	inside(t, dir, "dpkg", "--purge", "portmap-nat")
	if after := list(); after != before {
		t.Errorf("files were\n%s\nand are\n%s", before, after)
	}
}

// The units are understood by systemd, without a word, and let a service that is broken into do little.
func TestUnits(t *testing.T) {
	dir := root(t, plan{})
	inside(t, dir, "dpkg", "-i", "/opt/boot/old.deb")
	units, err := filepath.Glob(dir + "/usr/lib/systemd/system/portmap-*.service")
	must(t, err)
	if len(units) != 3 {
		t.Fatalf("units are %v", units)
	}
	for _, path := range units {
		unit := strings.TrimPrefix(path, dir)
		if said := inside(t, dir, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit); said != "" {
			t.Errorf("%s: verify says\n%s", unit, said)
		}
		said := inside(t, dir, "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=15", unit)
		lines := strings.Split(strings.TrimSpace(said), "\n")
		t.Log(lines[len(lines)-1])
	}
}

func TestPackageIsAsDebianWantsIt(t *testing.T) {
	for _, deb := range strings.Fields(environment(t, "PORTMAP_BOOT_DEBS")) {
		out, err := exec.Command("lintian", "--fail-on", "error", deb).Output()
		if err != nil {
			t.Errorf("%s: %v\n%s", deb, err, out)
		}
	}
}

func TestVagrantfile(t *testing.T) {
	if out, err := exec.Command("ruby", "-c", "../../Vagrantfile").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
