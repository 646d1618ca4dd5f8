package demo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Nothing of the machine is touched: here a machine in namespaces of its own, in which nothing else happens.
func TestBystander(t *testing.T) {
	for _, user := range users() {
		if user.name == "an ordinary user" {
			continue // has no rights to touch anything, nor to make a machine of its own
		}
		t.Run(user.name, func(t *testing.T) {
			attr := user.attr()
			attr.Cloneflags |= unix.CLONE_NEWNET | unix.CLONE_NEWNS
			r, code := demonstrate(t, attr, "", "bystander")
			if code != 0 {
				t.Errorf("exit %d\n%s%s", code, &r.err, &r.out)
			}
		})
	}
}

// bystand is a machine on which the demonstration runs.
func bystand() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil { // as systemd does: mounts spread
		return err
	}
	if err := nft("table inet portmap { chain mine { tcp dport 443 counter accept; }; }"); err != nil {
		return err
	}
	before, err := look()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "demo")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	after, err := look()
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("was\n%s\nis\n%s", before, after)
	}
	return nil
}

// look returns all that the demonstration might touch.
func look() (string, error) {
	rules, err := exec.Command("nft", "list", "ruleset").Output()
	if err != nil {
		return "", errors.Join(errors.New("nft list ruleset"), err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		return "", err
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	_, config := os.Stat(configFile)
	_, certificate := os.Stat(certFile)
	kept, _ := os.ReadDir("/run/portmap")
	text := fmt.Sprintf("%s%v\n%s%v, %v, %v\n", rules, addresses, mounts, config, certificate, kept)
	for _, link := range links {
		text += fmt.Sprintln(link.Attrs().Name, link.Attrs().Flags)
	}
	return text, nil
}
