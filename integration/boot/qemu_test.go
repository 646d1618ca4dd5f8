//go:build boot

package boot

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bootLimit bounds one boot with all its steps, on an emulated machine with a busy host.
const bootLimit = 12 * time.Minute

// qemu lets a guest go through the plan on a machine of its own, with Debian's kernel.
func qemu(t *testing.T, p plan) report {
	t.Helper()
	dir := root(t, "bookworm", p)
	disk := filepath.Join(t.TempDir(), "disk")
	// mke2fs fills the file system itself: no loop device, no mount.
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-d", dir, "-m0", "-E", "root_owner=0:0", disk,
		"1G").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	boot := image(t, "bookworm") + "/boot"
	var console string
	keep(t, &console)
	for number := 1; number <= p.boots(); number++ {
		start := time.Now()
		// -no-reboot: qemu ends when its guest reboots, and is started again on the same disk.
		out, exit := run(t, bootLimit, exec.Command("qemu-system-x86_64", append(accelerator(),
			"-m", "1024", "-smp", "2", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
			"-no-reboot",
			"-drive", "file="+disk+",if=virtio,format=raw,cache=unsafe",
			"-kernel", one(t, boot+"/vmlinuz-*"), "-initrd", one(t, boot+"/initrd.img-*"),
			"-append",
			"root=/dev/vda rw console=ttyS0 panic=-1 quiet mitigations=off nokaslr audit=0 selinux=0 apparmor=0 "+
				"nowatchdog")...))
		console += out
		t.Logf("boot %d of %d: %s", number, p.boots(), time.Since(start).Round(time.Second/10))
		if exit != 0 {
			t.Fatalf("qemu ended with exit status %d", exit)
		}
		if strings.Contains(out, "boot-test: END") {
			break
		}
	}
	return read(console)
}

// accelerator is KVM only where the processor says that it can, too: a host can have /dev/kvm, make a machine, and then
// never run it.
func accelerator() []string {
	flags, _ := os.ReadFile("/proc/cpuinfo")
	if regexp.MustCompile(`(?m)^flags\b.*\b(vmx|svm)\b`).Match(flags) && unix.Access("/dev/kvm", unix.W_OK) == nil {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max,la57=off,svm=off"}
}

func one(t *testing.T, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: %q %v", pattern, names, err)
	}
	return names[0]
}

func TestQemu(t *testing.T) {
	t.Parallel()
	qemu(t, onItsOwn()).check(t, onItsOwn())
}

// Only a machine of its own can have another kernel.
func TestQemuWithoutNfTables(t *testing.T) {
	t.Parallel()
	qemu(t, withoutNfTables()).check(t, withoutNfTables())
}
