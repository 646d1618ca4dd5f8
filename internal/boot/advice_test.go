package boot

import (
	"os"
	"strings"
	"testing"
)

const file = "/etc/portmap/portmap.conf"

// What a person is told after a change: what is at risk, what to type, and nothing else.
func TestAdvice(t *testing.T) {
	systemd := kinds["systemd, as a package"]
	firewalld := etcUnit + "multi-user.target.wants/firewalld.service"
	tests := []struct {
		name   string
		files  []string
		mode   os.FileMode
		enable bool
		change Change
		want   string // a word for each line, in order
	}{
		{name: "nobody boots this", change: Change{First: true}},
		{name: "the first mapping", files: systemd, change: Change{First: true}, want: "portmap enable"},
		{name: "a second", files: systemd},
		{name: "it is on", files: systemd, enable: true, change: Change{First: true}},
		{name: "it is on, but not for iptables-legacy", files: systemd, enable: true, change: Change{Legacy: true}, want: "portmap enable"},
		{name: "it is on, and cannot be read then", files: systemd, mode: 0o200, enable: true, want: "chmod o+r " + file},
		{name: "nft beside firewalld", files: append(systemd, firewalld), enable: true, change: Change{First: true}},
		{name: "iptables beside firewalld", files: append(systemd, firewalld), enable: true, change: Change{First: true, Shared: true}, want: "--now portmap-watch"},
		{name: "the same, watched", files: append(systemd, firewalld, etcUnit+"multi-user.target.wants/"+watch), enable: true, change: Change{First: true, Shared: true}},
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
			test.change.File = file
			got := strings.Join(m.Advice(test.change), "\n")
			if test.want == "" && got != "" || !strings.HasSuffix(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
