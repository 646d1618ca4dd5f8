package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"portmap/internal/finding"
	"portmap/internal/servers"
	"portmap/rules"
)

// State is how a mapping is.
type State string

// The states, as they are printed.
const (
	Active    State = "active"
	NoServer  State = "no server" // nothing listens on the target port here
	Missing   State = "missing"   // saved, not in the kernel
	Temporary State = "temporary" // live, in no file
	Damaged   State = "damaged"   // live, but the rules are not as portmap leaves them: see Listing.Damaged
)

// Row is one mapping of a Listing.
type Row struct {
	Mapping     rules.Mapping
	State       State
	Connections uint64 // since it went into the kernel
	Servers     []Server
	Saved       bool
	File        string // another file that holds it, beside the one that is listed; mostly empty
}

// Server is a process behind a mapping.
type Server = servers.Server

// Listing is every mapping, saved or live: first those of the file, in its order.
type Listing struct {
	Backend string
	Notes   []finding.Finding // that mappings are elsewhere, too, or could be; mostly empty
	Rows    []Row
	File    string // the saved file, as it is
	Damaged string // what is wrong with the rules in the kernel, or ""
	Foreign string // how to take out what others put among them, where Apply would be refused for it
	Wrong   error  // what is wrong with the file: Rows has its lines that are right; or nil
	NoFile  bool   // there is no saved file

	repair string // the command that makes damaged rules again
}

// Unsaved returns the mappings that only the kernel has and that are not temporary: their file was lost, or changed by
// hand.
func (l Listing) Unsaved() []rules.Mapping {
	var found []rules.Mapping
	for _, r := range l.Rows {
		if !r.Saved && !r.Mapping.Temporary() && r.File == "" {
			found = append(found, r.Mapping)
		}
	}
	return found
}

// Findings returns what a person should know who sees the rows.
func (l Listing) Findings() []finding.Finding {
	list := slices.Concat(l.Notes, l.Damage())
	for _, r := range l.Rows {
		if !r.Saved && r.File != "" {
			list = append(list, finding.Finding{
				ID: finding.OtherFile, Mapping: r.Mapping,
				Text: fmt.Sprintf("%s is of another file, %s", r.Mapping.Spec(), r.File),
			})
		}
	}
	if len(l.Rows) == 0 && l.Wrong == nil {
		list = append(list, finding.Finding{ID: finding.NoMappings, Text: "no mappings",
			Remedy: "sudo portmap add 443:8443"})
	}
	return list
}

// Damage returns one finding if the rules in the kernel are damaged, else none.
func (l Listing) Damage() []finding.Finding { return damage(l.Damaged, l.Foreign, l.repair) }

// damage returns what is wrong with the rules. If others put something among them, that has to be taken out first.
func damage(why, foreign, repair string) []finding.Finding {
	if why == "" {
		return nil
	}
	text := fmt.Sprintf("the rules in the kernel are damaged (%s)", why)
	if foreign == "" {
		return []finding.Finding{{ID: finding.RulesDamaged, Text: text, Remedy: repair}}
	}
	do, command, _ := strings.Cut(foreign, ": ")
	return []finding.Finding{{ID: finding.RulesForeign, Text: text + "; " + do, Remedy: command}}
}

// List reads the file, the kernel and the sockets. It takes no lock: what it shows is a moment's view. A line of the
// file that is wrong does not hide the others, nor what is live: see Listing.Wrong.
func (h *Host) List(ctx context.Context) (Listing, error) {
	content, err := h.File.Read()
	if err != nil {
		return Listing{}, err
	}
	text, wrong := h.parse(ctx, Content{h.File.Path, content})
	if wrong != nil {
		if text, _, err = h.reader().ParseGood(ctx, content); err != nil {
			return Listing{}, err
		}
	}
	if err := h.use(ctx, text.Backend(), true); err != nil {
		return Listing{}, err
	}
	live, err := h.lookAtKernel(ctx)
	if err != nil {
		return Listing{}, err
	}
	l := Listing{
		Backend: h.filter.Name(), Notes: h.variantNote(), File: text.String(), Damaged: live.Damaged,
		Foreign: live.Foreign, Wrong: wrong,
		repair: h.typed("apply"), NoFile: content == nil,
	}
	if h.moves() { // all packets are served, by another backend than the one asked for
		l.Notes, l.Damaged = []finding.Finding{{ID: finding.OtherBackend, Text: live.Damaged}}, ""
	}
	l.Rows = rowsOf(text.Set(), live.Live)
	elsewhere := h.otherFiles(ctx)
	for i := range l.Rows {
		l.Rows[i].File = elsewhere.files[l.Rows[i].Mapping.String()]
	}
	behind, err := servers.Find(targetsOf(l.Rows))
	if err != nil {
		return Listing{}, err
	}
	behind.Name()
	for i := range l.Rows {
		row := &l.Rows[i]
		row.Servers = behind.Of(row.Mapping)
		row.State = stateOfRow(row, l.Damaged != "")
	}
	return l, nil
}

func targetsOf(rows []Row) []rules.Mapping {
	list := make([]rules.Mapping, 0, len(rows))
	for i := range rows {
		list = append(list, rows[i].Mapping)
	}
	return list
}

// rowsOf joins what is saved with what is live. A row's state is Missing or nothing yet.
func rowsOf(saved rules.Set, live rules.Live) []Row {
	connections := make(map[string]uint64, len(live.Mappings))
	for i := range live.Mappings {
		connections[live.Mappings[i].String()] = live.Mappings[i].Connections
	}
	rows := make([]Row, 0, saved.Len())
	inFile := make(map[string]bool, saved.Len())
	for _, m := range saved.Mappings() {
		inFile[m.String()] = true
		row := Row{Mapping: m, Saved: true, State: Missing}
		if n, ok := connections[m.String()]; ok {
			row.State, row.Connections = "", n
		}
		rows = append(rows, row)
	}
	for _, m := range live.Mappings {
		if !inFile[m.String()] {
			rows = append(rows, Row{Mapping: m.Mapping, Connections: m.Connections})
		}
	}
	return rows
}

// stateOfRow returns the state that matters most. Whether packets still reach one mapping of a damaged table cannot be
// told, so damage counts for all that are live.
func stateOfRow(row *Row, damaged bool) State {
	switch {
	case row.State == Missing:
		return Missing
	case damaged:
		return Damaged
	case len(row.Servers) == 0 && len(row.Mapping.Targets()) == 0:
		return NoServer
	case !row.Saved && row.File == "":
		return Temporary
	}
	return Active
}
