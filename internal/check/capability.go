package check

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/servers"
	"portmap/internal/shell"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// capabilityLeft tells of servers whose file has cap_net_bind_service, which a server behind a mapping does not need.
func capabilityLeft(m rules.Mapping, behind []servers.Server) (advice []finding.Finding) {
	var told []string
	for _, s := range behind {
		link := "/proc/" + strconv.Itoa(s.PID) + "/exe"
		path, err := os.Readlink(link)
		if err != nil || slices.Contains(told, path) || !sameFile(link, path) {
			continue
		}
		old, known := capabilitiesOf(path)
		if !known || (old.permitted|old.inheritable)&bindService == 0 {
			continue
		}
		told = append(told, path)
		rest := old
		rest.permitted &^= bindService
		rest.inheritable &^= bindService
		f := finding.Finding{
			ID: finding.CapabilityLeft, Mapping: m,
			Text: fmt.Sprintf("%s has cap_net_bind_service: all who run it may listen on privileged ports, which the "+
				"mapping makes needless", path),
			Seen: "getcap: " + old.String(), Undo: shell.Join("sudo", "setcap", old.String(), path),
		}
		if rest.permitted|rest.inheritable == 0 {
			f.Remedy = shell.Join("sudo", "setcap", "-r", path)
		} else {
			f.Remedy = shell.Join("sudo", "setcap", rest.String(), path)
		}
		advice = append(advice, f)
	}
	return advice
}

// sameFile reports whether a path leads to the same file here: a server in a container has paths of its own.
func sameFile(link, path string) bool {
	a, err1 := os.Stat(link)
	b, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

// capabilities are those of a file.
type capabilities struct {
	permitted, inheritable uint64
	effective              bool // of all in one: a file has one bit for that
}

const bindService = 1 << unix.CAP_NET_BIND_SERVICE

// capabilitiesOf reads struct vfs_cap_data (linux/capability.h) of a file. Capabilities for another user namespace are
// not read.
func capabilitiesOf(path string) (c capabilities, known bool) {
	const revisionMask, effective, revision2, revision3 = 0xff000000, 1, 0x02000000, 0x03000000
	var b [24]byte
	n, err := unix.Getxattr(path, "security.capability", b[:])
	if err != nil || n < 20 {
		return c, false
	}
	word := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(b[4*i:])) }
	if kind := word(0) & revisionMask; kind != revision2 && (kind != revision3 || word(5) != 0) {
		return c, false
	}
	return capabilities{word(1) | word(3)<<32, word(2) | word(4)<<32, word(0)&effective != 0}, true
}

// String returns the text for setcap, in the form of cap_from_text(3).
func (c capabilities) String() string {
	var clauses []string
	for _, f := range [...]struct {
		set   uint64
		flags string
	}{
		{c.permitted & c.inheritable, "ip"}, {c.permitted &^ c.inheritable, "p"}, {c.inheritable &^ c.permitted, "i"},
	} {
		var names []string
		for i := range 64 {
			if f.set>>i&1 != 0 {
				names = append(names, capabilityName(i))
			}
		}
		if c.effective {
			f.flags = "e" + f.flags
		}
		if len(names) > 0 {
			clauses = append(clauses, strings.Join(names, ",")+"="+f.flags)
		}
	}
	return strings.Join(clauses, " ")
}

// capabilityName returns the name of a capability; of those that servers do not have, the number, which setcap reads,
// too.
func capabilityName(number int) string {
	for _, known := range [...]struct {
		number int
		name   string
	}{
		{unix.CAP_CHOWN, "cap_chown"}, {unix.CAP_DAC_OVERRIDE, "cap_dac_override"},
		{unix.CAP_DAC_READ_SEARCH, "cap_dac_read_search"}, {unix.CAP_SETGID, "cap_setgid"},
		{unix.CAP_SETUID, "cap_setuid"}, {unix.CAP_NET_BIND_SERVICE, "cap_net_bind_service"},
		{unix.CAP_NET_ADMIN, "cap_net_admin"}, {unix.CAP_NET_RAW, "cap_net_raw"},
		{unix.CAP_SYS_RESOURCE, "cap_sys_resource"}, {unix.CAP_SYS_ADMIN, "cap_sys_admin"},
	} {
		if known.number == number {
			return known.name
		}
	}
	return strconv.Itoa(number)
}
