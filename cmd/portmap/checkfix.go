package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"portmap/internal/check"
	"portmap/internal/finding"

	"golang.org/x/term"
)

// mostFixes bounds how many cures one run types: a cure that does not help must not be typed for ever.
const mostFixes = 20

// fix types the cures that can be undone, one after the other, and checks again after each.
func (a *app) fix(ctx context.Context, selectors []string, report check.Report, o checkOptions) (check.Report, error) {
	answers := bufio.NewScanner(a.in)
	offered, typed := map[string]bool{}, false
	for range mostFixes {
		f, found := nextCure(report, offered)
		if !found {
			break
		}
		offered[f.Remedy] = true
		fmt.Fprintf(a.out, "\nto cure: %s\n  type:    %s\n  to undo: %s\n", f.Text, f.Remedy, f.Undo)
		if !o.yes {
			fmt.Fprint(a.out, "type it? [y/N] ")
			if err := a.flushOutput(); err != nil {
				return report, err
			}
			yes, err := agrees(ctx, answers)
			if err != nil {
				return report, err
			}
			if stdin, file := a.in.(*os.File); !file || !term.IsTerminal(int(stdin.Fd())) {
				fmt.Fprintln(a.out) // which a person has typed
			}
			if !yes {
				fmt.Fprintln(a.out, "not typed")
				continue
			}
		}
		if err := a.flushOutput(); err != nil {
			return report, err
		}
		if err := typeCommand(ctx, f.Remedy); err != nil {
			fmt.Fprintf(a.out, "it failed: %v\n", err)
			continue
		}
		typed = true
		next, err := a.look(ctx, selectors, !o.noSend)
		if err != nil {
			return report, err
		}
		report = next
		fmt.Fprintln(a.out, outcome(report, f))
	}
	switch {
	case typed:
		fmt.Fprintln(a.out)
		a.checkText(report, o)
	case len(offered) == 0:
		a.note("nothing was typed: --fix types only what it can undo, and no such command cures this")
	}
	return report, nil
}

// agrees waits for an answer. An interrupt ends that.
func agrees(ctx context.Context, answers *bufio.Scanner) (yes bool, err error) {
	said := make(chan string, 1)
	go func() {
		answers.Scan() // at the end of the input it says nothing
		said <- strings.ToLower(strings.TrimSpace(answers.Text()))
	}()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case answer := <-said:
		return answer == "y" || answer == "yes", nil
	}
}

// nextCure returns the first finding with a cure that can be undone, and that was not offered yet.
func nextCure(r check.Report, offered map[string]bool) (finding.Finding, bool) {
	for _, f := range r.Findings() {
		if f.Remedy != "" && f.Undo != "" && !offered[f.Remedy] && f.Severity() != finding.Hint {
			return f, true
		}
	}
	return finding.Finding{}, false
}

// outcome says what came of a cure.
func outcome(r check.Report, cured finding.Finding) string {
	for _, f := range r.Findings() {
		if f.ID == cured.ID && f.Text == cured.Text && f.Mapping.String() == cured.Mapping.String() {
			return "typed, and it is still so"
		}
	}
	return "typed, and it is cured"
}

// typeCommand has the shell run a command as it is printed. portmap in it is the program of this run, and root needs no
// sudo.
func typeCommand(ctx context.Context, command string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	lead := `portmap() { "$0" "$@"; }; `
	if os.Geteuid() == 0 {
		lead += `sudo() { "$@"; }; `
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", lead+command, self)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}
