package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"portmap/internal/boot"
	"portmap/internal/reconcile"

	"github.com/spf13/cobra"
)

func (a *app) enable() *cobra.Command {
	return &cobra.Command{
		Use:     "enable",
		Short:   "Restore the mappings at boot: with systemd, else with OpenRC",
		Example: "  portmap enable\n  systemctl status portmap-restore",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return what(a.with(func(h *reconcile.Host) error {
				silent, err := h.Silent(cmd.Context())
				if err != nil {
					return err
				}
				return a.tell(a.boot().Enable(silent))
			}), "enable")
		},
	}
}

func (a *app) disable() *cobra.Command {
	return &cobra.Command{
		Use:     "disable",
		Short:   "Do not restore the mappings at boot any more",
		Example: "  portmap disable",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return what(a.tell(a.boot().Disable()), "disable") },
	}
}

// boot is this machine, as it boots.
func (a *app) boot() boot.Host {
	binary, err := os.Executable()
	if err == nil {
		binary, err = filepath.EvalSymlinks(binary)
	}
	if err != nil {
		a.say("where this command is: %v", err)
	}
	return boot.Host{Binary: binary, Run: runProgram}
}

// runProgram looks for programs where the system has them: with root's rights nobody's PATH chooses what runs.
func runProgram(name string, args ...string) error {
	for _, folder := range [...]string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		said, err := exec.Command(path, args...).CombinedOutput()
		if err != nil {
			first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
			return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, first)
		}
		return nil
	}
	return fmt.Errorf("%s: not found", name)
}

func (a *app) tell(said string, err error) error {
	if err == nil && !a.quiet {
		fmt.Fprintln(a.out, said)
	}
	return err
}

// noteBoot says that mappings are lost at the next boot, where that could be otherwise.
func (a *app) noteBoot(r reconcile.Report) {
	if !r.First || a.boot().State(r.Silent) != boot.Off {
		return
	}
	a.note("not restored at boot yet; to have that: sudo portmap enable")
}
