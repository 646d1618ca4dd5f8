package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/others"
	"portmap/internal/reconcile"
	"portmap/internal/servers"
	"portmap/internal/switches"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// Request is what to look at.
type Request struct {
	Rows    []reconcile.Row // the mappings that are asked about
	Listing reconcile.Listing
	Probe   bool // send packets
	Facts   Facts
	Boot    []finding.Finding // about the next boot

	// Typed returns a command of portmap for the same file, to be pasted.
	Typed func(words ...string) string
}

// Report says what was found. Findings are in the order in which a packet meets their causes, those that keep clients
// from a server before all others.
type Report struct {
	Results  []Result
	Host     []finding.Finding // those that are about no mapping in particular
	Unprobed string            // why no packet was sent; "" if some were
	Failed   bool              // some should have been, and could not
	Denied   bool              // because it is not permitted
	Left     int               // mappings for which no packet was sent, since others were enough
}

// Result is what was found about one mapping.
type Result struct {
	reconcile.Row
	Ways     []Way
	Note     string // why none was gone, or one was left out; or ""
	Findings []finding.Finding
}

// MostProbed is for how many mappings packets are sent at most.
const MostProbed = 100

// Run looks at the host and sends packets.
func Run(ctx context.Context, r Request) (Report, error) {
	report := Report{Results: make([]Result, len(r.Rows))}
	for i, row := range r.Rows {
		report.Results[i].Row = row
	}
	found, err := r.findings(ctx)
	if err != nil {
		return report, err
	}
	var explained []finding.Finding
	if r.Probe {
		explained, err = report.probe(ctx, &r.Facts)
		switch {
		case ctx.Err() != nil:
			return report, ctx.Err()
		case errors.Is(err, unix.EPERM):
			report.Unprobed, report.Failed, report.Denied = "no packet was sent, since that needs root", true, true
		case err != nil: // what else was found is still of use
			report.Unprobed, report.Failed = fmt.Sprintf("no packet was sent: %v", err), true
		}
	} else {
		report.Unprobed = "no packet was sent, since --no-probe asks for that"
	}
	report.spread(explained, found)
	return report, nil
}

// findings returns what can be found out without a packet.
func (r *Request) findings(ctx context.Context) (list []finding.Finding, err error) {
	mappings := make([]rules.Mapping, 0, len(r.Rows))
	list = make([]finding.Finding, 0, len(r.Rows)) // one each, if no server listens
	for _, row := range r.Rows {
		mappings = append(mappings, row.Mapping)
		list = append(list, r.Listing.RulesOf(row)...)
		for _, f := range servers.Advise([]rules.Mapping{row.Mapping}, r.Facts.Servers, r.Typed) {
			if row.File != "" && !row.Saved { // the commands are for the file that is listed
				f.Remedy, f.Undo = "", ""
			}
			list = append(list, f)
		}
		if row.State != reconcile.Missing {
			list = append(list, r.switchedOff(row.Mapping)...)
		}
	}
	list = append(list, r.Listing.Damage()...)
	if r.Listing.Denied == nil {
		system := others.Tables
		switch {
		case r.Listing.Legacy:
			system = others.Legacy
		case r.Listing.Shared:
			system = others.IPTables
		}
		r.Facts.Others, err = others.Look(ctx, mappings)
		if err != nil {
			return nil, fmt.Errorf("look at the rules of others: %w", err)
		}
		list = append(list, slices.Concat(others.Advise(r.Facts.Others, system), others.Dropped(r.Facts.Others),
			others.Forwarded(r.Facts.Others))...)
	}
	r.Facts.Filters, _ = others.LookFilters(ctx) // without privileges there are none
	for _, f := range slices.Concat(switches.Advise(mappings, r.Typed), r.Boot, staticFindings(ctx, r.Facts)) {
		if f.ID != finding.SourceHidden { // which is as it is meant to be
			list = append(list, f)
		}
	}
	return list, nil
}

// tellApart is why what became of the probe says nothing of clients.
const tellApart = "the rules tell clients apart, and the probe is none of those that they let in"

// probe sends packets for the first mappings that can be reached, and returns what it shows.
func (r *Report) probe(ctx context.Context, in *Facts) ([]finding.Finding, error) {
	var ways []Way
	var of []int // the result of each way
	var list []finding.Finding
	probed := 0
	for i := range r.Results {
		one := &r.Results[i]
		if one.State == reconcile.Missing {
			continue
		}
		if probed == MostProbed {
			r.Left++
			continue
		}
		its, why := waysOf(one.Mapping, in)
		if one.Note = why; why == noAddress && !one.Mapping.Listen().IsValid() &&
			one.Mapping.Families() != rules.IPv6 { // of IPv6 alone another finding says more
			list = append(list, finding.Finding{ID: finding.AddressAbsent, Mapping: one.Mapping,
				Text: fmt.Sprintf("%s: %s", one.Mapping.Spec(), noAddress)})
		}
		if len(its) > 0 {
			probed++
		}
		for range its {
			of = append(of, i)
		}
		ways = append(ways, its...)
	}
	if len(ways) == 0 {
		r.Unprobed = "no packet was sent: there is no mapping that other hosts reach"
		if !slices.ContainsFunc(r.Results, func(one Result) bool { return one.State != reconcile.Missing }) {
			r.Unprobed = "no packet was sent, since no mapping is in the kernel"
		}
		return list, nil
	}
	seen, err := send(ctx, ways, &in.Servers)
	if err != nil {
		return nil, err
	}
	var texts Texts
	whys := make([][]finding.Finding, len(ways))
	for i := range ways {
		w := &ways[i]
		if whys[i] = shutOut(&in.Filters, w); len(whys[i]) == 0 {
			whys[i] = texts.explain(ctx, w, seen)
		}
		if w.Untold {
			r.Results[of[i]].Note = tellApart
		}
		w.explained, w.Path = len(whys[i]) > 0, texts.pathOf(ctx, w)
	}
	for i := range ways {
		one := &r.Results[of[i]]
		if one.Note == tellApart { // a cure of another way would let in everybody there
			for k := range whys[i] {
				whys[i][k].Remedy, whys[i][k].Undo = "", ""
			}
		}
		one.Ways = append(one.Ways, ways[i])
		list = append(list, slices.Concat(whys[i], ways[i].leaked)...)
	}
	return list, texts.Close()
}

// spread gives each mapping its findings: first those that packets explained, which settle some of the others.
func (r *Report) spread(explained, others []finding.Finding) {
	index := map[string]int{}
	for i := range r.Results {
		index[r.Results[i].Mapping.String()] = i
	}
	for _, f := range explained {
		one := &r.Results[index[f.Mapping.String()]]
		one.Findings = add(one.Findings, f)
	}
	settled := make([][]finding.ID, len(r.Results))
	for i := range r.Results {
		settled[i] = settledBy(r.Results[i].Findings)
	}
	full := slices.ContainsFunc(explained, func(f finding.Finding) bool { return f.ID == finding.ConntrackDrops })
	for _, f := range others {
		switch i, about := index[f.Mapping.String()]; {
		case full && f.ID == finding.ConntrackFull: // the other one says more
		case f.Mapping.IsZero() || !about:
			r.Host = add(r.Host, f)
		case !slices.Contains(settled[i], f.ID):
			r.Results[i].Findings = add(r.Results[i].Findings, f)
		}
	}
	for i := range r.Results {
		one := &r.Results[i]
		one.weigh(r.Host)
		finish(one.Findings)
	}
	finish(r.Host)
}

// finish orders findings, and says how their remedies last.
func finish(list []finding.Finding) {
	sortFindings(list)
	for i := range list {
		list[i].Keep = keepOf(list[i].Remedy)
	}
}

// weigh holds what was found without a packet to what became of the packets. The host's own findings can be a cause,
// too.
func (one *Result) weigh(host []finding.Finding) {
	if s := one.Status(); s == Untried || s == Missing {
		return
	}
	reached := !slices.ContainsFunc(one.Ways, func(w Way) bool { return !w.Reached && !w.Untold })
	if reached { // they got through what seemed to be in their way
		one.Findings = slices.DeleteFunc(one.Findings, func(f finding.Finding) bool { return refutable(f.ID) })
		return
	}
	if slices.ContainsFunc(one.Findings, isCause) || slices.ContainsFunc(host, isCause) {
		one.Findings = slices.DeleteFunc(one.Findings, func(f finding.Finding) bool { return symptom(f.ID) })
		return
	}
	for i := range one.Ways {
		w := &one.Ways[i]
		if !w.Reached && !w.explained {
			one.Findings = add(one.Findings, w.about(finding.Unexplained,
				"no server got it, and no rule and no counter of this host says why")[0])
		}
	}
}

// add appends a finding, once. The same cause in both families is one, with both remedies.
func add(list []finding.Finding, f finding.Finding) []finding.Finding {
	for i := range list {
		old := &list[i]
		switch {
		case old.ID != f.ID || old.Text != f.Text:
			continue
		case !strings.Contains(old.Remedy, f.Remedy):
			old.Remedy += " && " + f.Remedy
			if f.Undo != "" {
				old.Undo += " && " + f.Undo
			}
		}
		return list
	}
	return append(list, f)
}
