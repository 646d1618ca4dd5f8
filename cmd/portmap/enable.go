package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"portmap/internal/boot"
	"portmap/internal/reconcile"
	"portmap/internal/switches"

	"github.com/spf13/cobra"
)

func (a *app) enable() *cobra.Command {
	return &cobra.Command{
		Use:   "enable",
		Short: "Restore the mappings at boot: with systemd, else with OpenRC",
		Long: `Restore the mappings at boot: with systemd, else with OpenRC. Only /etc/portmap/portmap.conf is restored.

Refused are a masked unit, a portmap command that another user could replace, and a file that the unit cannot see.`,
		Example: "  portmap enable\n  systemctl status portmap-restore",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.bootsOwnFile(); err != nil {
				return err
			}
			return wrap(a.with(func(h *reconcile.Host) error {
				filter, err := h.Filter(cmd.Context(), false)
				if err != nil {
					return err
				}
				host := a.boot()
				saved, err := a.saved(cmd.Context())
				if err != nil {
					return err
				}
				host.Switches = len(switches.Needed(saved.Mappings())) > 0
				return a.tell(host.Enable(filter.Legacy))
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
		RunE: func(*cobra.Command, []string) error {
			if err := a.bootsOwnFile(); err != nil {
				return err
			}
			return wrap(a.tell(a.boot().Disable()), "disable")
		},
	}
}

// bootsOwnFile refuses a file that no boot unit names.
func (a *app) bootsOwnFile() error {
	if a.savedAt() == defaultConfig {
		return nil
	}
	return usageError{fmt.Errorf("--config %s: what is restored at boot is %s", a.config, defaultConfig)}
}

// savedAt returns the file of mappings: that of the boot units by their name for it, whatever it was called.
func (a *app) savedAt() string {
	if path, err := filepath.Abs(a.config); err == nil && path == defaultConfig {
		return defaultConfig
	}
	this, err := os.Stat(a.config)
	if err != nil {
		return a.config
	}
	if own, err := os.Stat(defaultConfig); err == nil && os.SameFile(this, own) {
		return defaultConfig
	}
	return a.config
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
	return boot.Host{Binary: binary, File: defaultConfig, Run: runProgram, Query: queryProgram}
}

// runProgram runs a program of the system to its end.
func runProgram(name string, args ...string) error {
	path, err := findProgram(name)
	if err != nil {
		return err
	}
	said, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, first)
	}
	return nil
}

// queryWithin bounds a program that only looks: a service manager that hangs must not hang this command.
const queryWithin = 2 * time.Second

// queryProgram returns what a program of the system prints.
func queryProgram(ctx context.Context, name string, args ...string) (string, error) {
	path, err := findProgram(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	said, err := exec.CommandContext(ctx, path, args...).Output()
	return string(said), err
}

// findProgram looks where the system has its programs: with root's rights nobody's PATH chooses what runs.
func findProgram(name string) (string, error) {
	for _, folder := range [...]string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: not found", name)
}

func (a *app) tell(said string, err error) error {
	a.changed = err == nil
	if err == nil && !a.quiet {
		fmt.Fprintln(a.out, said)
	}
	return err
}
