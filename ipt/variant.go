package ipt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// Variant selects the kernel interface behind iptables: each has a rule set of its own.
type Variant string

// The variants.
const (
	NFTables Variant = "iptables-nft"    // rules in nf_tables
	Legacy   Variant = "iptables-legacy" // rules in x_tables; before iptables 1.8 there was no other
)

// systemFolders returns the folders in which programs are looked for. The environment's PATH is not asked: with root's
// rights nobody else may choose what runs.
func systemFolders() []string {
	return []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/run/current-system/sw/bin"}
}

// programs are the programs of one family in one variant, with their folders.
type programs struct{ main, save, restore string }

// tools are the programs of one variant.
type tools struct {
	variant  Variant
	programs [len(families)]programs // zero where a family is missing
}

// installed finds the variants on this host. The first is the one that plain `iptables` stands for.
func installed(ctx context.Context, folders []string) ([]tools, error) {
	plain := programsOf("iptables", folders)
	standard := NFTables
	if plain.main != "" {
		var err error
		if standard, err = variantOf(ctx, plain.main); err != nil {
			return nil, err
		}
	}
	other := Legacy
	if standard == Legacy {
		other = NFTables
	}
	var found []tools
	for _, variant := range [...]Variant{standard, other} {
		suffix := strings.TrimPrefix(string(variant), "iptables")
		t := tools{variant, [...]programs{programsOf("iptables"+suffix, folders),
			programsOf("ip6tables"+suffix, folders)}}
		if variant == standard && t.programs[0].main == "" {
			t.programs = [...]programs{plain, programsOf("ip6tables", folders)}
		}
		if t.programs[0].main != "" {
			found = append(found, t)
		}
	}
	if len(found) == 0 {
		return nil,
			&Error{Why: "this host has no iptables", Fix: "install the package iptables, or use nft: --backend nft",
				unavailable: true}
	}
	return found, nil
}

// programsOf finds the three programs of a name such as "ip6tables-nft"; the zero value where one is missing.
func programsOf(name string, folders []string) programs {
	p := programs{find(name, folders), find(name+"-save", folders), find(name+"-restore", folders)}
	if p.main == "" || p.save == "" || p.restore == "" {
		return programs{}
	}
	return p
}

// Program returns the path of a program of the system; "" if there is none. It looks where the backend looks.
func Program(name string) string { return find(name, systemFolders()) }

func find(name string, folders []string) string {
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// variantOf tells what a program called iptables is: by what it is a link to, else by what it says of itself.
func variantOf(ctx context.Context, path string) (Variant, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		switch base := filepath.Base(target); {
		case strings.Contains(base, "nft"):
			return NFTables, nil
		case strings.Contains(base, "legacy"):
			return Legacy, nil
		}
	}
	says, err := run(ctx, path, "--version")
	if err != nil {
		return "", err
	}
	if strings.Contains(string(says), "nf_tables") {
		return NFTables, nil
	}
	return Legacy, nil
}

// has returns the families that this variant can do on this host, and of IPv6 why not.
func (t tools) has() (rules.Families, string) {
	switch {
	case t.programs[1].main == "":
		return rules.IPv4, "this host has no ip6" + strings.TrimPrefix(string(t.variant), "ip")
	case exists(procNet + "/if_inet6"):
		return rules.BothFamilies, ""
	case exists(procNet):
		return rules.IPv4, "IPv6 is switched off in this kernel"
	}
	// Where /proc is not mounted, only a socket tells. It cannot be what is asked first: the sandbox of the boot unit
	// has none.
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return rules.IPv4, fmt.Sprintf("/proc cannot be read, and this process gets no IPv6 socket (%v)", err)
	}
	_ = unix.Close(fd)
	return rules.BothFamilies, ""
}

// procNet is what /proc tells of the network namespace of this thread. Two files there list the tables of
// iptables-legacy.
const (
	procNet      = "/proc/thread-self/net"
	legacyNames  = procNet + "/ip_tables_names"
	legacyNames6 = procNet + "/ip6_tables_names"
)

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// legacyTables reports whether iptables-legacy has a table of this name: to run iptables-legacy would make it.
// The files are readable by root alone; where they cannot be read, or /proc is not mounted, there may be one.
func legacyTables(family rules.Families, name string) bool {
	file := legacyNames
	if family == rules.IPv6 {
		file = legacyNames6
	}
	names, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return !exists(procNet)
	}
	for _, n := range strings.Fields(string(names)) {
		if n == name || name == "" {
			return true
		}
	}
	return err != nil
}
