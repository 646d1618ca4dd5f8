package boot

import (
	"errors"
	"os"
	"strings"
	"testing"

	"portmap/internal/finding"
)

const file = "/etc/portmap/portmap.conf"

// Advice after a change names the risk and the command to type, and nothing else.
func TestAdvice(t *testing.T) {
	systemd := kinds["systemd, as a package"]
	firewalld := etcUnit + "multi-user.target.wants/firewalld.service"
	tests := []struct {
		name   string
		files  []string
		mode   os.FileMode
		enable bool
		other  bool   // the change is one of another file
		mask   string // the folder with the link
		link   string // where the file leads
		// foreign is the owner of the file: 1 is another user in the group of root, 2 one in another group.
		foreign int
		change  Change
		id      finding.ID
		want    string // how the line ends
	}{
		{name: "nobody boots this", change: Change{First: true}},
		{name: "the first mapping", files: systemd, change: Change{First: true}, id: finding.BootOff,
			want: "portmap enable"},
		{name: "a second", files: systemd},
		{name: "it is on", files: systemd, enable: true, change: Change{First: true}},
		{name: "it is on, but not for iptables-legacy", files: systemd, enable: true, change: Change{Legacy: true},
			id: finding.BootOff, want: "portmap enable"},
		{name: "it is on, and cannot be read then", files: systemd, mode: 0o200, enable: true,
			id: finding.BootFileUnreadable, want: "chmod o+r " + file},
		{name: "it is on, and only the group can read", files: systemd, mode: 0o240, enable: true, foreign: 1,
			want: ""},
		{name: "it is on, and only another group can", files: systemd, mode: 0o240, enable: true, foreign: 2,
			id: finding.BootFileUnreadable, want: "chmod o+r " + file},
		{name: "it is on, and others can read", files: systemd, mode: 0o204, enable: true, foreign: 2},
		{name: "it is on, and root's group cannot", files: systemd, mode: 0o204, enable: true, foreign: 1,
			id: finding.BootFileUnreadable, want: "chmod o+r " + file},
		{name: "it is masked", files: systemd, mask: etcUnit, id: finding.BootMasked,
			want: "sudo systemctl unmask portmap-restore.service && sudo portmap enable"},
		{name: "it was on, and is masked until the next boot", files: systemd, enable: true,
			mask: "/run/systemd/system/", id: finding.BootMasked, want: "&& sudo portmap enable"},
		{name: "it is on, and the file is a link into a home", files: systemd, enable: true, link: "/home/me/ports",
			id: finding.BootFileHidden,
			want: "leads to /home/me/ports; to mend that: sudo cp --remove-destination \"$(readlink -f " + file +
				")\" " + file},
		{name: "OpenRC sees homes", files: kinds["OpenRC, as a package"], enable: true, link: "/home/me/ports"},
		{name: "another file", files: systemd, other: true, change: Change{First: true}, id: finding.BootOtherFile,
			want: "/srv/ports is not restored at boot: only " + file + " is, the file of commands without --config"},
		{name: "another file, again", files: systemd, other: true},
		{name: "nft beside firewalld", files: append(systemd, firewalld), enable: true, change: Change{First: true}},
		{name: "iptables beside firewalld", files: append(systemd, firewalld), enable: true,
			change: Change{First: true, Shared: true}, id: finding.FirewalldReload, want: "--now portmap-watch"},
		{name: "the same, watched", files: append(systemd, firewalld, etcUnit+"multi-user.target.wants/"+watch),
			enable: true, change: Change{First: true, Shared: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t, test.files...)
			if test.mode != 0 {
				m.put(file, "443:8443\n")
				if err := os.Chmod(m.path(file), test.mode); err != nil {
					t.Fatal(err)
				}
			}
			if test.enable {
				m.must(m.Enable(false))
			}
			if test.foreign > 0 && os.Getuid() != 0 {
				t.Skip("only root gives files away")
			}
			if test.foreign > 0 {
				m.must("", errors.Join(os.Chown(m.path(file), 65534, []int{0, 65534}[test.foreign-1]),
					os.Chmod(m.path(file), test.mode)))
			}
			if test.mask != "" {
				m.must("", errors.Join(os.MkdirAll(m.path(test.mask), 0o755),
					os.Symlink(os.DevNull, m.path(test.mask+unit))))
			}
			if test.link != "" {
				m.must("", errors.Join(os.MkdirAll(m.path("/etc/portmap"), 0o755), os.Symlink(test.link, m.path(file))))
			}
			if test.change.File = file; test.other {
				test.change.File = "/srv/ports"
			}
			got := m.Advice(test.change)
			if test.id == "" {
				if len(got) > 0 {
					t.Errorf("%q, want nothing", got)
				}
				return
			}
			if len(got) != 1 || got[0].ID != test.id || !strings.HasSuffix(got[0].Line(), test.want) {
				t.Errorf("%q, want %s: %q", got, test.id, test.want)
			}
		})
	}
}
