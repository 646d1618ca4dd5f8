//go:build boot

package boot

import (
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
)

// guests counts those that were started: each has a name of its own.
var guests atomic.Int64

// rebooted is how systemd-nspawn ends when its guest wants to boot again; 0 is power off.
const rebooted = 133

// container starts a guest. A process that no systemd has started must bring its own control group, and a view of the
// unified hierarchy, whatever the machine itself has mounted. systemd-nspawn is the image's own, with the image's
// libraries: nothing of systemd is installed on this machine for it.
const container = `
set -e
umount -R -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$GROUP"
echo $$ >"/sys/fs/cgroup/$GROUP/cgroup.procs"
exec "$IMAGE/lib64/ld-linux-x86-64.so.2" \
	--library-path "$IMAGE/usr/lib/x86_64-linux-gnu:$IMAGE/usr/lib/x86_64-linux-gnu/systemd" \
	"$IMAGE/usr/bin/systemd-nspawn" --quiet --boot --directory="$1" --private-network --register=no --keep-unit \
	--machine="boot-test-$2" --console=read-only $OPTIONS </dev/null`

// nspawn lets a guest of this suite of Debian's go through the plan in systemd-nspawn. Each boot has a new network
// namespace: no rule survives by accident.
func nspawn(t *testing.T, suite string, p plan) report {
	t.Helper()
	dir := root(t, suite, p)
	options := ""
	if p.pastes() {
		options = borrowed(t)
	}
	number := strconv.FormatInt(guests.Add(1), 10)
	var console string
	keep(t, &console)
	for boot := 1; ; boot++ {
		cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", container, "container", dir,
			number)
		cmd.Env = append(cmd.Environ(), "IMAGE="+image(t, "bookworm"), "OPTIONS="+options,
			"GROUP="+environment(t, "PORTMAP_BOOT_CGROUP")+"/"+number+"."+strconv.Itoa(boot))
		out, exit := run(t, bootLimit, cmd)
		console += out
		switch {
		case exit == rebooted && boot < p.boots():
		case exit == 0:
			return read(console)
		default:
			t.Fatalf("boot %d of %d ended with exit status %d", boot, p.boots(), exit)
		}
	}
}

func TestNspawn(t *testing.T) {
	t.Parallel()
	nspawn(t, "bookworm", judge()).check(t, judge())
}

func TestNspawnFirewalls(t *testing.T) {
	t.Parallel()
	for name, p := range firewalls() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nspawn(t, "bookworm", p).check(t, p)
		})
	}
}

func TestNspawnIptables(t *testing.T) {
	t.Parallel()
	for name, p := range throughIptables() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nspawn(t, "bookworm", p).check(t, p)
		})
	}
}

func TestNspawnStrictForwardPorts(t *testing.T) {
	t.Parallel()
	nspawn(t, "trixie", strict()).check(t, strict())
}

// The switch that a loopback target needs is set at boot, by the unit in its sandbox, and only where it may.
func TestNspawnSwitches(t *testing.T) {
	t.Parallel()
	nspawn(t, "bookworm", throughLoopback()).check(t, throughLoopback())
}

// A host must not lose all its mappings for one bad line.
func TestNspawnBadLine(t *testing.T) {
	t.Parallel()
	p := plan{"serve", "install", "add", "misspell", "reboot", "misspelled"}
	nspawn(t, "bookworm", p).check(t, p)
}

// A command that was built by hand, its package, and neither.
func TestNspawnByHand(t *testing.T) {
	t.Parallel()
	p := plan{"serve", "by_hand", "reboot", "restored", "packaged", "reboot", "restored", "off",
		"finds boot-off", "reboot", "not_restored"}
	nspawn(t, "bookworm", p).check(t, p)
}

func TestNspawnControls(t *testing.T) {
	t.Parallel()
	for name, c := range controls() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nspawn(t, "bookworm", c.plan).checkControl(t, c)
		})
	}
}
