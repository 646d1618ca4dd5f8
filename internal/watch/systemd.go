package watch

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Supervisor is the service manager that started the process (sd_notify(3)). The zero value stands for none.
type Supervisor struct {
	socket   string
	watchdog time.Duration
}

// SupervisorOf returns the service manager that the environment names.
func SupervisorOf(getenv func(string) string, pid int) Supervisor {
	s := Supervisor{socket: getenv("NOTIFY_SOCKET")}
	if whose := getenv("WATCHDOG_PID"); whose == "" || whose == strconv.Itoa(pid) {
		usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 63)
		if err == nil && usec > 0 {
			s.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	return s
}

// Notify sends lines such as READY=1. Errors are ignored: watching goes on without the service manager.
func (s Supervisor) Notify(lines ...string) {
	if s.socket == "" {
		return
	}
	// A leading @ stands for the abstract namespace, in Go as in sd_notify(3).
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(strings.Join(lines, "\n")))
}

// ToJournal reports whether a file is the journal: systemd names its device and inode (systemd.exec(5)). Comparing them
// is necessary, since a terminal that a service started has the variable, too.
func ToJournal(getenv func(string) string, file *os.File) bool {
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
