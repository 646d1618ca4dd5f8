package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"portmap/internal/reconcile"
	"portmap/internal/switches"
	"portmap/internal/watch"

	"github.com/spf13/cobra"
)

// watchInterval is how long an edit through a symbolic link, or a change of which the kernel did not tell, can go
// unnoticed.
const watchInterval = 2 * time.Second

func (a *app) watch() *cobra.Command {
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Stay, put back what others flush, and apply the file when it is edited",
		Long: `Stay, put back what others take out of the kernel, and apply the file when it is edited. An invalid edit
is reported, and the last valid version stays live. If the file is invalid at the start, its valid lines are applied.
SIGHUP applies the file again. SIGTERM and SIGINT end it and leave the rules.

It also puts back what portmap flush takes away: end it first.`,
		Example: `  portmap watch
  portmap watch -q      # report trouble only
  portmap watch --for 30s`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if duration < 0 {
				return usageError{fmt.Errorf("--for %s: must not be negative", duration)}
			}
			watch := func(h *reconcile.Host) error { return a.runWatch(cmd.Context(), h, duration) }
			return wrap(a.with(watch), "watch")
		},
	}
	cmd.Flags().DurationVar(&duration, "for", 0, "end after this `TIME`, such as 30s or 5m; 0 is never")
	return cmd
}

func (a *app) runWatch(ctx context.Context, h *reconcile.Host, duration time.Duration) error {
	debug.SetGCPercent(100) // unlike the other commands, this one does not end soon
	debug.SetMemoryLimit(math.MaxInt64)
	signal.Reset(syscall.SIGHUP) // for the other commands it is an end
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	if end, err := h.Run.BeginWatch(); err == nil {
		defer end()
	} else {
		a.say("flush will not know of this watch: %v", err)
	}
	file, err := watch.FolderOf(a.config)
	if err != nil {
		return err
	}
	defer file.Close()
	repairer := watch.NewHostRepairer(h)
	defer repairer.Close()
	w := watch.Watch{
		Repairer: repairer, Log: a.watchLog(), File: file, Reload: hangup,
		Supervisor: watch.SupervisorOf(a.getenv, os.Getpid()),
		Drifted:    func() bool { return switches.Lost(h.Run) },
		Interval:   watchInterval, For: duration, Now: time.Now, CPU: watch.ProcessCPU,
	}
	if err := w.Run(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

func (a *app) watchLog() *watch.Log {
	file, isFile := a.err.(*os.File)
	return &watch.Log{
		Out: a.err, Journal: isFile && watch.ToJournal(a.getenv, file), Quiet: a.quiet,
		Explain: func(err error) (text, remedy string) {
			text, remedy, _ = a.explain(wrap(a.withoutQuotes(err), "watch"))
			return oneLine(text), oneLine(remedy)
		},
	}
}
