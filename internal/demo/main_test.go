package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary stand in for the command: Run starts itself under other names, as in /proc/self/exe.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-test.") {
		os.Exit(m.Run())
	}
	err := standIn(os.Args[1:])
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "portmap: "+err.Error())
	if errors.Is(err, fs.ErrPermission) {
		os.Exit(3)
	}
	os.Exit(1)
}

// The environment by which a test has its way with the stand-in. Whatever has faultVariable belongs to a test.
const faultVariable = "PORTMAP_DEMO_TEST"

func standIn(args []string) error {
	fault := os.Getenv(faultVariable)
	switch args[0] {
	case "demo":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		if len(args) > 1 {
			return Run(ctx, os.Stdout, Script(args[1]))
		}
		return Run(ctx, os.Stdout, Mapping)
	case "demo-stage":
		return Stage(context.Background(), args[1])
	case "bystander":
		return bystand()
	case "without-namespaces":
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			return err
		}
		return syscall.Exec(self, []string{self, "demo"}, os.Environ())
	case "without-mounts":
		if err := denyMount(); err != nil {
			return err
		}
		return syscall.Exec(self, []string{self, "demo"}, os.Environ())
	}
	if args[0] != "--config" || args[1] != configFile {
		return fmt.Errorf("the demonstration must not touch the file of this machine: %q", args)
	}
	command := strings.Join(args[2:], " ")
	name, _, _ := strings.Cut(command, " ")
	switch fault {
	case name + " fails":
		return errors.New(command + ": this kernel has no nf_tables")
	case name + " does nothing":
		return nil
	case name + " hangs":
		signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		fmt.Println("hanging")
		time.Sleep(time.Hour)
	}
	return netfilter(command, fault)
}

// netfilter does with nft what the command does by itself.
func netfilter(command, fault string) error {
	switch name, options, _ := strings.Cut(command, " 443:8443"); name {
	case "add":
		for _, name := range os.Environ() {
			if strings.HasPrefix(name, "SSH_") {
				return errors.New("443 is the port of your SSH connection")
			}
		}
		if err := os.WriteFile(configFile, []byte("443:8443/tcp"+options+"\n"), 0o644); err != nil {
			return err
		}
		chain := ""
		if fault == "add masquerades" {
			chain = "chain in { type nat hook input priority 100; tcp dport 8443 snat ip to 192.0.2.99; }\n"
		}
		return nft(`table inet portmap; delete table inet portmap; table inet portmap {
			chain pre { type nat hook prerouting priority -100; tcp dport 443 fib daddr type local dnat to :8443; }
			chain out { type nat hook output priority -100; tcp dport 443 fib daddr type local dnat to :8443; }
			` + chain + guards(options, fault) + "}")
	case "list":
		content, _ := os.ReadFile(configFile) // none after an add that did nothing
		if strings.Contains(string(content), "--owner") {
			fmt.Println("443:8443/tcp  blocked  0")
		} else {
			fmt.Println("443:8443/tcp  active")
		}
		return nil
	case "remove 443":
		return nft("add table inet portmap\ndelete table inet portmap")
	}
	return fmt.Errorf("portmap has no command %q", command)
}

// guards is the rules of --owner and --hide.
func guards(options, fault string) (chains string) {
	var owner int
	if _, err := fmt.Sscanf(options, " --owner %d --hide", &owner); err != nil {
		return ""
	}
	if fault != "add forgets the owner" {
		chains = fmt.Sprintf("chain owner { type filter hook output priority 0; "+
			"meta l4proto tcp ct original proto-dst 443 ct direction reply meta skuid != { 0, %d } drop; }\n", owner)
	}
	if fault != "add forgets to hide" {
		chains += "chain hide { type filter hook input priority 0; " +
			"iif != lo tcp dport 8443 ct original proto-dst 8443 reject with tcp reset; }\n"
	}
	return chains
}

func nft(script string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin, cmd.Stderr = strings.NewReader(script), os.Stderr
	return cmd.Run()
}
