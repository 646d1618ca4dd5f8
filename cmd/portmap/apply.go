package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"portmap/internal/finding"
	"portmap/internal/reconcile"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func (a *app) apply() *cobra.Command {
	var file string
	var o reconcile.ApplyOptions
	var keepGoing, force bool
	cmd := &cobra.Command{
		Use:        "apply",
		SuggestFor: []string{"restore", "reload", "load", "sync"},
		Short:      "Make the kernel match the file, in one transaction",
		Long: `Make the kernel match the file, in one transaction. With -f, FILE is applied, and then takes the saved
file's place. Temporary mappings stay.

If the file has no mapping, or does not exist, while mappings are in place, it is refused: a failed pipe and a mistyped
name look the same. --empty removes them all the same. What -f replaces is kept as portmap.conf.old.

With --backend nft or iptables the mappings move there, and the file says so. --backend auto removes that from the file;
the rules stay where they are.`,
		Example: `  portmap apply
  portmap apply --dry-run
  portmap apply -f other.conf
  portmap list -o plain | ssh host sudo portmap apply -f -`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keepGoing && file != "" {
				return usageError{errKeepGoing}
			}
			content, err := a.content(file)
			if err != nil {
				return wrap(err, "apply")
			}
			o.Exists = !keepGoing // at boot a file that is missing is success
			return wrap(a.with(func(h *reconcile.Host) error {
				h.KeepGoing = keepGoing
				if !force {
					h.Guard = a.guard
				}
				report, err := h.Apply(cmd.Context(), content, o)
				if err != nil {
					return err
				}
				a.outcomes(report, o.DryRun)
				if !o.DryRun {
					a.noteBoot(report)
				}
				if report.Unfixed != "" {
					a.note("%[1]s the file: backend %[2]s; the rules stay in %[2]s", takenOut(o.DryRun), report.Unfixed)
				}
				if len(report.Outcomes) == 0 && report.Moved == "" && report.Unfixed == "" {
					a.note("%s, %s", unchanged(report, o.DryRun), count(report.Total, "mapping"))
				}
				if report.Content == nil {
					a.notes(finding.Finding{ID: finding.FileMissing, Text: a.config + " does not exist"})
				}
				return nil
			}), "apply")
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "apply `FILE` (- is standard input) and save it")
	cmd.Flags().BoolVar(&o.Empty, "empty", false, "remove all mappings if the file has none or does not exist")
	cmd.Flags().BoolVar(&force, "force", false, "take even the port of your SSH connection")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "say what would be done, and do nothing")
	cmd.Flags().BoolVar(&keepGoing, "keep-going", false,
		"leave out lines that are wrong, and say which: what the boot unit does")
	return cmd
}

func takenOut(dryRun bool) string {
	if dryRun {
		return "would remove from"
	}
	return "removed from"
}

// unchanged says what was done to rules whose mappings stay the same.
func unchanged(r reconcile.Report, dryRun bool) string {
	switch {
	case r.Damaged == "":
		return "nothing to change"
	case dryRun:
		return "would make the damaged rules again"
	}
	return "made the damaged rules again"
}

func (a *app) diff() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Show what apply would change: exit 0 nothing, 1 something, 2 trouble",
		Long: `Show what apply would change: exit 0 nothing, 1 something, 2 trouble. A line with + would be
added, one with - removed. Without the right to look at the kernel, each mapping of the file has a ?, and the exit code
is 3.`,
		Example: `  portmap diff
  portmap diff -f other.conf`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			differs, err := a.printDiff(cmd, file)
			switch {
			case err != nil:
				if code := a.report(cmd.Context(), wrap(err, "diff")); code == exitNotPermitted {
					return exitError(exitNotPermitted)
				}
				return exitError(exitUsage)
			case differs:
				return exitError(exitFailed)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "compare with `FILE` (- is standard input)")
	return cmd
}

func (a *app) printDiff(cmd *cobra.Command, file string) (differs bool, err error) {
	content, err := a.content(file)
	if err != nil {
		return false, err
	}
	err = a.with(func(h *reconcile.Host) error {
		difference, err := h.Diff(cmd.Context(), content)
		if errors.Is(err, unix.EPERM) {
			return cmp.Or(a.printUncompared(cmd.Context(), h, content), err)
		}
		if err != nil {
			return err
		}
		a.noteNoFile(difference.NoFile)
		differs = !difference.Change.Empty()
		for _, o := range difference.Outcomes() {
			sign := "+"
			if o.Verb == reconcile.Removed {
				sign = "-"
			}
			fmt.Fprintf(a.out, "%s%s\n", sign, o.Mapping)
		}
		for _, f := range difference.Damage() {
			a.note("%s", f) // what apply would change, so no warning
		}
		return nil
	})
	return differs, err
}

// printUncompared prints what the file says, where the kernel cannot be asked: whether it is live is not known.
func (a *app) printUncompared(ctx context.Context, h *reconcile.Host, content *reconcile.Content) error {
	text, err := h.Read(ctx, content)
	for _, m := range text.Set().Mappings() {
		fmt.Fprintf(a.out, "?%s\n", m)
	}
	return err
}

func (a *app) flush() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:        "flush",
		SuggestFor: []string{"clear", "stop", "reset"},
		Short:      "Take everything of portmap's out of the kernel, and leave the file",
		Long: `Take everything of portmap's out of the kernel, and leave the file. The mappings of files named by
--config are taken out, too; portmap apply brings back those of one file.`,
		Example: "  portmap flush\n  portmap apply      # brings it back",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return wrap(a.with(func(h *reconcile.Host) error {
				report, err := h.Flush(cmd.Context(), dryRun)
				if err != nil {
					return err
				}
				a.outcomes(report, dryRun)
				if h.Run.Watched() {
					a.notes(finding.Finding{
						ID: finding.WatchRunning, Text: "a watch runs, and puts back what a flush takes away",
						Remedy: a.boot().EndWatch(),
					})
				}
				return nil
			}), "flush")
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

const maxInput = 64 << 20

// content reads FILE or standard input; nil where no file was named.
func (a *app) content(file string) (*reconcile.Content, error) {
	content := &reconcile.Content{Name: file}
	var from io.Reader
	switch file {
	case "":
		return nil, nil
	case "-":
		content.Name, from, a.notShown = "standard input", a.in, nil
	default:
		f, err := a.open(file, os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	var err error
	content.Bytes, err = io.ReadAll(io.LimitReader(from, maxInput+1))
	if err == nil && len(content.Bytes) > maxInput {
		err = fmt.Errorf("%s: larger than %d MiB", content.Name, maxInput>>20)
	}
	return content, err
}
