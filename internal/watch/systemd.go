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

// Supervisor is the service manager that started the process (sd_notify(3)). The zero Supervisor is none.
type Supervisor struct {
	socket   string
	watchdog time.Duration
}

// SupervisorOf reads what the service manager put into the environment.
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

// Tell sends lines such as READY=1. It is no error if nobody receives them: the work goes on.
func (s Supervisor) Tell(lines ...string) {
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

// ToJournal reports whether a file is the journal: systemd names its device and inode (systemd.exec(5)). A terminal
// that was started by a service has the variable too, and is none.
func ToJournal(getenv func(string) string, file *os.File) bool {
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
