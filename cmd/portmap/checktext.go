package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"portmap/internal/check"
	"portmap/internal/finding"
	"portmap/rules"
)

// checkText prints a report for a person.
func (a *app) checkText(r check.Report) {
	for i := range r.Results {
		one := &r.Results[i]
		fmt.Fprintln(a.out, headline(one))
		a.printFindings(one.Findings)
		if a.verbose {
			for k := range one.Ways {
				a.printWay(&one.Ways[k])
			}
		}
	}
	if len(r.Host) > 0 {
		fmt.Fprintln(a.out, "this host")
		a.printFindings(r.Host)
	}
	_ = a.flushOutput()
	switch {
	case r.Denied && r.Unprobed == "":
		a.note("more can be found out as root: %s", a.command())
	case r.Denied:
		a.note("%s; to send one: %s", r.Unprobed, a.command())
	case r.Unprobed != "" && len(r.Results) > 0:
		a.note("%s", r.Unprobed)
	}
	if r.Left > 0 {
		a.note("packets were sent for %d mappings; %d more were not tried: name them to have them tried",
			check.MostProbed, r.Left)
	}
	a.noteBeyond(r)
}

// headline is the line of a mapping: whether clients reach it, and who answers.
func headline(one *check.Result) string {
	words := []string{one.Mapping.Spec(), string(one.Status())}
	switch one.Status() {
	case check.Reachable:
		words = append(words, strings.Join(append(reachedBy(one), tookOf(one)...), ", "))
	case check.Partly:
		words = append(words, strings.Join(reachedBy(one), ", "))
	case check.Untried:
		if one.Note != "" {
			words = append(words, one.Note)
		}
	}
	return strings.TrimRight(strings.Join(words, "  "), " ")
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
		for _, line := range [...]struct{ title, text string }{{"seen", f.Seen}, {"cure", f.Remedy}} {
			if line.text != "" {
				fmt.Fprintf(a.out, "  %6s  %s\n", line.title, line.text)
			}
		}
	}
}

// printWay prints the whole way of a packet beside where it should go, and marks where they part.
func (a *app) printWay(w *check.Way) {
	fmt.Fprintf(a.out, "  %s to %s/%s, which should reach %s\n", w.Sender(), w.To, w.Protocol,
		joinAddresses(w.Expected))
	for _, hop := range w.Path() {
		mark := " "
		if hop.Parts {
			mark = ">"
		}
		fmt.Fprintf(a.out, "  %s %-40s %s\n", mark, hop.Place, hop.Text)
	}
	fmt.Fprintf(a.out, "    %s\n", w.Result())
}

func joinAddresses(list []netip.AddrPort) string {
	texts := make([]string, 0, len(list))
	for _, address := range list {
		texts = append(texts, address.String())
	}
	return strings.Join(texts, " or ")
}

// noteBeyond says what is not to be seen from this host, and how to see it.
func (a *app) noteBeyond(r check.Report) {
	for i := range r.Results {
		for k := range r.Results[i].Ways {
			w := &r.Results[i].Ways[k]
			if w.Protocol != rules.TCP || w.Quiet {
				continue
			}
			a.note("a firewall in front of this host, and rules for one interface by its name, are not seen from here"+
				"; from elsewhere:\n  nc -vz %s %d\n  curl -kv %s", w.To.Addr(), w.To.Port(), url(w.To))
			return
		}
	}
}

func url(to netip.AddrPort) string {
	switch host := strings.TrimSuffix(to.String(), fmt.Sprintf(":%d", to.Port())); to.Port() {
	case 443:
		return "https://" + host + "/"
	case 80:
		return "http://" + host + "/"
	}
	return "https://" + to.String() + "/"
}
