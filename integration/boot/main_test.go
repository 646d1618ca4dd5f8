//go:build boot

package boot

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"portmap/internal/lab"
)

// controlGroup is the environment's name of the control group for the containers of this run.
const controlGroup = "PORTMAP_BOOT_CGROUP"

func TestMain(m *testing.M) {
	if os.Getenv(controlGroup) == "" {
		group := "portmap-boot-" + strconv.Itoa(os.Getpid())
		if err := sweepAfter(group); err != nil {
			fmt.Fprintln(os.Stderr, "boot:", err)
			os.Exit(1)
		}
		os.Setenv(controlGroup, group)
	}
	lab.Main(m)
}

// sweep removes a control group and those in it. They are the one thing here that no namespace takes with it, and the kernel
// refuses as long as a process is in them.
const sweep = `
umount -R -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 1
read -r line
for i in $(seq 100); do
	[ -d /sys/fs/cgroup/$0 ] || exit 0
	find /sys/fs/cgroup/$0 -depth -type d -exec rmdir {} + 2>/dev/null
	sleep 0.1
done`

// sweepAfter starts a process that waits until this one has ended, in whatever way, and then removes the control group.
func sweepAfter(group string) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", sweep, group)
	cmd.Stdin = read
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives a ^C
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the sweeper: %w", err)
	}
	// The write end is closed by the end of this process, and is in no other: that is what the sweeper waits for.
	keepOpen(write)
	return nil
}

// keepOpen takes the file out of the garbage collector's reach, which would close it.
func keepOpen(file *os.File) {
	if _, err := syscall.Dup(int(file.Fd())); err != nil {
		panic(err)
	}
}
