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
	return inNamespaces(t, []string{"--net"}, root, words)
}

// contained runs a command as the first process of a container that shares nothing with this machine but the kernel.
func contained(t *testing.T, root string, words ...string) string {
	t.Helper()
	return inNamespaces(t, []string{"--net", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"}, root,
		words)
}

func inNamespaces(t *testing.T, namespaces []string, root string, words []string) string {
	t.Helper()
	cmd := exec.Command("unshare", append(append(namespaces, "chroot", root), words...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return string(out)
}

// added names the files that are newer than the test. The linker's cache is everybody's.
func added(t *testing.T, root string) string {
	t.Helper()
	return inside(t, root, "find", "/etc", "/usr", "-xdev", "-newer", "/opt/boot/plan", "!", "-type", "d", "!", "-name",
		"ld.so.cache")
}

// The package goes into a chroot, and out of it, without anything running there; what it enabled works at the first
// boot.
func TestPackageInAChroot(t *testing.T) {
	t.Parallel()
	dir := root(t, "bookworm", plan{})
	before := added(t, dir)
	// A file made by hand before: nobody is asked about it. A command by hand is named, since it would run.
	const byHand = "/usr/local/bin/portmap"
	must(t, os.Mkdir(dir+"/etc/portmap", 0o755))
	must(t, os.WriteFile(dir+"/etc/portmap/portmap.conf", []byte("80:8080\n"), 0o644))
	must(t, os.WriteFile(dir+byHand, nil, 0o755))
	said := inside(t, dir, "dpkg", "-i", "/opt/boot/dist/old.deb")
	if !strings.Contains(said, byHand+" comes before /usr/bin/portmap") {
		t.Errorf("of a command in its way the package says\n%s", said)
	}
	must(t, os.Remove(dir+byHand))
	if content, _ := os.ReadFile(dir + "/etc/portmap/portmap.conf"); string(content) != "80:8080\n" {
		t.Errorf("after the installation the file is %q", content)
	}
	const etc = "/etc/systemd/system/"
	for path, target := range map[string]string{
		etc + "sysinit.target.wants/portmap-restore.service":    "/lib/systemd/system/portmap-restore.service",
		etc + "nftables.service.wants/portmap-reapply.service":  "/lib/systemd/system/portmap-reapply.service",
		etc + "firewalld.service.wants/portmap-reapply.service": "/lib/systemd/system/portmap-reapply.service",
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
	inside(t, dir, "dpkg", "-i", "/opt/boot/dist/old.deb")
	if _, err := os.Lstat(dir + "/etc/systemd/system/sysinit.target.wants/portmap-restore.service"); err == nil {
		t.Error("an upgrade switches on what its user had switched off")
	}
	inside(t, dir, "dpkg", "--remove", "portmap-nat")
	if content, _ := os.ReadFile(dir + "/etc/portmap/portmap.conf"); string(content) != "443:8443\n" {
		t.Errorf("after the removal the file is %q", content)
	}
	inside(t, dir, "dpkg", "--install", "/opt/boot/dist/old.deb")
	if _, err := os.Lstat(dir + "/etc/systemd/system/sysinit.target.wants/portmap-restore.service"); err != nil {
		t.Error("a package that comes back is not enabled")
	}
	inside(t, dir, "/var/lib/dpkg/info/portmap-nat.prerm", "remove")
	inside(t, dir, "/var/lib/dpkg/info/portmap-nat.postinst", "abort-remove")
	if _, err := os.Lstat(dir + "/etc/systemd/system/sysinit.target.wants/portmap-restore.service"); err != nil {
		t.Error("a removal that failed leaves it off")
	}
	inside(t, dir, "dpkg", "--purge", "portmap-nat")
	if after := added(t, dir); after != before {
		t.Errorf("files were\n%s\nand are\n%s", before, after)
	}
	if _, err := os.Stat(dir + "/var/lib/portmap-nat"); err == nil {
		t.Error("/var/lib/portmap-nat is left")
	}
}

// In some chroots it looks as if systemd ran, and nobody answers: the package goes in and out all the same.
func TestPackageWhereSystemdIsDeaf(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"systemctl", "none"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := root(t, "bookworm", plan{})
			before := added(t, dir)
			must(t, os.MkdirAll(dir+"/run/systemd/system", 0o755))
			if name == "none" {
				must(t, os.Remove(dir+"/usr/bin/systemctl"))
			}
			for _, words := range [][]string{
				{"--install", "/opt/boot/dist/old.deb"}, {"--install", "/opt/boot/new.deb"},
				{"--remove", "portmap-nat"},
				{"--install", "/opt/boot/new.deb"}, {"--purge", "portmap-nat"},
			} {
				contained(t, dir, append([]string{"dpkg"}, words...)...)
				_, err := os.Stat(dir + "/etc/portmap/portmap.conf")
				if exists := err == nil; exists != (words[0] == "--install") { // without a mapping, it goes, too
					t.Errorf("after dpkg %s the file is there: %t", strings.Join(words, " "), exists)
				}
				_, err = os.Lstat(dir + "/etc/systemd/system/sysinit.target.wants/portmap-restore.service")
				if enabled := err == nil; enabled != (words[0] == "--install" && name != "none") {
					t.Errorf("after dpkg %s it is enabled: %t", strings.Join(words, " "), enabled)
				}
			}
			if after := added(t, dir); after != before {
				t.Errorf("files were\n%s\nand are\n%s", before, after)
			}
		})
	}
}

// Where nothing has started the system, as in a container, the rules leave the kernel with the package all the same.
func TestPackageInAContainer(t *testing.T) {
	t.Parallel()
	dir := root(t, "bookworm", plan{})
	const script = `
set -e
mount -t proc proc /proc
dpkg -i /opt/boot/dist/old.deb
portmap add 443:8443
nft list table inet portmap >/dev/null
dpkg --remove portmap-nat
[ -z "$(nft list ruleset)" ]`
	contained(t, dir, "sh", "-c", script)
}

// A packager is a package manager that changes a root from outside.
type packager struct {
	pattern                  string // of the package's name
	install, upgrade, remove []string
}

func packagers(t *testing.T, root string) map[string]packager {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "pacman.conf")
	must(t, os.WriteFile(conf, []byte("[options]\nArchitecture = auto\nSigLevel = Never\n"), 0o644))
	rpm := func(words ...string) []string {
		return append([]string{"rpm", "--root", root, "--dbpath", "/var/lib/rpm", "--nodeps"}, words...)
	}
	pacman := func(words ...string) []string {
		return append([]string{"pacman", "--root", root, "--config", conf, "--noconfirm"}, words...)
	}
	return map[string]packager{
		"rpm":    {"*.rpm", rpm("--install"), rpm("--upgrade"), rpm("--erase")},
		"pacman": {"*.pkg.tar.zst", pacman("-Udd"), pacman("-Udd"), pacman("-R")},
	}
}

// What other package managers do with the package, in a root where nothing runs.
func TestPackagesOfOthers(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rpm", "pacman"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := root(t, "bookworm", plan{})
			must(t, os.Remove(dir+"/bin/sh")) // theirs is not Debian's
			must(t, os.Symlink("bash", dir+"/bin/sh"))
			must(t, os.MkdirAll(dir+"/var/lib/pacman", 0o755))
			p := packagers(t, dir)[name]
			do := func(command []string, argument string) {
				t.Helper()
				words := append(append([]string{"--net"}, command...), argument)
				if out, err := exec.Command("unshare", words...).CombinedOutput(); err != nil ||
					strings.Contains(string(out), "error") {
					t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
				}
			}
			enabled := func() bool {
				_, err := os.Lstat(dir + "/etc/systemd/system/sysinit.target.wants/portmap-restore.service")
				return err == nil
			}
			before := added(t, dir)
			do(p.install, built(t, old, p.pattern))
			if !enabled() {
				t.Error("the mappings are not restored at boot")
			}
			must(t, os.WriteFile(dir+"/etc/portmap/portmap.conf", []byte("443:8443\n"), 0o644))
			inside(t, dir, "systemctl", "disable", "portmap-restore.service")
			do(p.upgrade, built(t, renewed, p.pattern))
			if said := inside(t, dir, "portmap", "version"); !strings.HasPrefix(said, "portmap 0.0.2 ") {
				t.Errorf("it says %q", said)
			}
			if content, _ := os.ReadFile(dir + "/etc/portmap/portmap.conf"); string(content) != "443:8443\n" {
				t.Errorf("after the upgrade the file is %q", content)
			}
			if enabled() {
				t.Error("an upgrade switches on what its user had switched off")
			}
			inside(t, dir, "systemctl", "enable", "portmap-restore.service")
			do(p.remove, "portmap-nat")
			const saved = "/etc/portmap/portmap.conf"
			if content, _ := os.ReadFile(dir + saved); string(content) != "443:8443\n" {
				t.Errorf("after the removal the file is %q", content)
			}
			if _, err := os.Stat(dir + "/usr/share/doc/portmap-nat"); err == nil {
				t.Error("/usr/share/doc/portmap-nat is left")
			}
			must(t, os.Remove(dir+saved))
			must(t, os.Remove(dir+"/etc/portmap"))
			if after := added(t, dir); after != before {
				t.Errorf("files were\n%s\nand are\n%s", before, after)
			}
		})
	}
}

// A host that OpenRC starts.
func TestOpenRC(t *testing.T) {
	t.Parallel()
	dir := root(t, "bookworm", plan{})
	must(t, os.Mkdir(dir+"/opt/boot/apk", 0o755))
	unpack := exec.Command("tar", "xzf", built(t, old, "*.apk"), "-C", dir+"/opt/boot/apk",
		"--warning=no-unknown-keyword")
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	t.Log(contained(t, dir, "/opt/boot/openrc.sh"))
}

// The units are understood by systemd, without a word, and let a service that is broken into do little.
func TestUnits(t *testing.T) {
	t.Parallel()
	dir := root(t, "bookworm", plan{})
	inside(t, dir, "dpkg", "-i", "/opt/boot/dist/old.deb")
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
	t.Parallel()
	out, err := exec.Command("lintian", "--fail-on", "error", built(t, old, "*.deb")).Output()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestVagrantfile(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("ruby", "-c", "../../Vagrantfile").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
