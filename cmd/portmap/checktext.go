package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"portmap/internal/check"
	"portmap/internal/finding"
	"portmap/internal/trace"
	"portmap/rules"
)

// checkText prints a report for a person: a line for each mapping, and below it what was found.
func (a *app) checkText(r check.Report, o checkOptions) {
	a.printResults(r)
	if len(r.Host) > 0 {
		fmt.Fprintln(a.out, "this host")
		a.printFindings(r.Host)
	}
	tried := len(r.Results) > 0 && !o.noSend
	switch {
	case r.Denied && tried && r.Unprobed != "":
		a.note("%s; to send one: %s", r.Unprobed, a.command())
	case r.Denied:
		a.note("more can be found out as root: %s", a.command())
	case tried && r.Unprobed != "":
		a.note("%s", r.Unprobed)
	}
	if r.Left > 0 {
		a.note("packets were sent for %d mappings; %d more were not tried: name them to have them tried",
			check.MostProbed, r.Left)
	}
	if a.tty || a.verbose {
		a.noteBeyond(r)
	}
}

// printResults leaves out the mappings of which there is nothing to say, since others were enough.
func (a *app) printResults(r check.Report) {
	var shown []*check.Result
	var widths [2]int
	for i := range r.Results {
		one := &r.Results[i]
		if r.Left > 0 && one.Status() == check.Untried && one.Note == "" && len(one.Findings) == 0 {
			continue
		}
		shown = append(shown, one)
		widths[0] = max(widths[0], len(one.Mapping.Spec()))
		widths[1] = max(widths[1], len(one.Status()))
	}
	for _, one := range shown {
		line := fmt.Sprintf("%-*s  %-*s  %s", widths[0], one.Mapping.Spec(), widths[1], one.Status(), detail(one))
		fmt.Fprintln(a.out, a.paint(statusColour(one.Status()), strings.TrimRight(line, " ")))
		a.printFindings(one.Findings)
		if a.verbose {
			for k := range one.Ways {
				a.printWay(&one.Ways[k])
			}
		}
	}
}

func statusColour(s check.Status) string {
	switch s {
	case check.Unreachable, check.Missing:
		return red
	case check.Partly:
		return yellow
	}
	return ""
}

// detail says behind the status who answers, or why no packet was sent.
func detail(one *check.Result) string {
	switch one.Status() {
	case check.Reachable:
		return strings.Join(append(reachedBy(one), tookOf(one)...), ", ")
	case check.Partly:
		return strings.Join(reachedBy(one), ", ")
	case check.Untried:
		return one.Note
	}
	return ""
}

// reachedBy names the families by which the mapping is reached, and who answers there.
func reachedBy(one *check.Result) []string {
	var families rules.Families
	for i := range one.Ways {
		if one.Ways[i].Reached {
			families |= one.Ways[i].Family()
		}
	}
	var names []string
	for _, f := range families.Each() {
		names = append(names, f.String())
	}
	words := []string{strings.Join(names, " and ")}
	if who := serverTexts(one.Row, serverName); who != "" {
		words = append(words, who)
	} else if len(one.Ways) > 0 {
		words = append(words, joinAddresses(one.Ways[0].Expected))
	}
	return words
}

// tookOf returns how long the slowest answer took.
func tookOf(one *check.Result) []string {
	var longest time.Duration
	for i := range one.Ways {
		if !one.Ways[i].Quiet {
			longest = max(longest, one.Ways[i].Took)
		}
	}
	if longest == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%.1f ms", float64(longest.Microseconds())/1000)}
}

func (a *app) printFindings(list []finding.Finding) {
	for _, f := range list {
		fmt.Fprintf(a.out, "  %-6s  %s\n", f.Severity(), f.Text)
		for _, line := range [...]struct{ title, text string }{{"seen", f.Seen}, {"cure", f.Remedy}, {"keep", f.Keep}} {
			if line.text != "" {
				fmt.Fprintf(a.out, "  %6s  %s\n", line.title, line.text)
			}
		}
	}
}

// printWay prints the whole way of a packet, and where it should go.
func (a *app) printWay(w *check.Way) {
	fmt.Fprintf(a.out, "  %s  %s -> %s, expected at %s\n", w.Protocol, w.Sender(), w.To, joinAddresses(w.Expected))
	a.printSteps(w.Path)
	fmt.Fprintf(a.out, "    %s%s\n", w.Result(), conntrackText(w.Tracked()))
}

// conntrackText is what connection tracking knows of a packet, behind what became of it.
func conntrackText(c trace.Connection) string {
	if text := c.String(); text != "" {
		return "; conntrack: " + text
	}
	return ""
}

// printSteps prints the rules that a packet met, and marks where its way parts from that of the mapping.
func (a *app) printSteps(steps []check.Step) {
	width := 0
	for _, step := range steps {
		width = max(width, utf8.RuneCountInString(step.Place))
	}
	for _, step := range steps {
		mark := " "
		if step.Parts {
			mark = ">"
		}
		fmt.Fprintf(a.out, "  %s %-*s  %s\n", mark, width, step.Place, step.Text)
	}
}

func joinAddresses(list []netip.AddrPort) string {
	texts := make([]string, 0, len(list))
	for _, address := range list {
		texts = append(texts, address.String())
	}
	return strings.Join(texts, " or ")
}

// noteBeyond says what is not seen from this host, where nothing else keeps clients away, and how to see it.
func (a *app) noteBeyond(r check.Report) {
	var tried *check.Way
	for i := range r.Results {
		for k := range r.Results[i].Ways {
			w := &r.Results[i].Ways[k]
			if !w.Reached && !w.Untold {
				return
			}
			if tried == nil && w.Protocol == rules.TCP {
				tried = w
			}
		}
	}
	if tried == nil {
		return
	}
	address, from := tried.To.Addr(), "from another host"
	if address.IsPrivate() {
		from += ", perhaps with a public address in place of this one"
	}
	lines := fmt.Sprintf("\n  nc -vz %s %d", address, tried.To.Port())
	if url := location(tried.Mapping, address); strings.HasPrefix(url, "http") {
		lines += "\n  curl -kv " + url
	}
	a.note("not seen from here: a firewall of the hosting provider, and what rules do with certain clients; "+
		"to try it %s:%s", from, lines)
}
