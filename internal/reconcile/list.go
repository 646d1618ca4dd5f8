package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"portmap/internal/conf"
	"portmap/internal/finding"
	"portmap/internal/servers"
	"portmap/rules"

	"golang.org/x/sys/unix"
)

// State is how a mapping is.
type State string

// The states, as they are printed.
const (
	Active    State = "active"
	NoServer  State = "no server"  // nothing listens on the target port here
	Blocked   State = "blocked"    // who listens there is not the owner, and cannot answer
	LocalOnly State = "local only" // who listens is bound to loopback, where other hosts do not reach it
	Partly    State = "partly"     // nothing listens for one protocol or address family
	Missing   State = "missing"    // saved, not in the kernel
	Temporary State = "temporary"  // live, in no file, and nothing else is to be said of it
	Unknown   State = "unknown"    // saved; the kernel cannot be asked: see Listing.Denied
	Damaged   State = "damaged"    // live, but the rules are not as portmap leaves them: see Listing.Damaged
)

// Row is one mapping of a Listing.
type Row struct {
	Mapping     rules.Mapping
	State       State
	Reason      string // why it is not active, as a sentence without a full stop; or ""
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
	Legacy  bool   // the rules are in x_tables: those of iptables-legacy
	Shared  bool   // the rules are in tables that are not portmap's alone: those of iptables
	File    string // the saved file, as it is
	Damaged string // what is wrong with the rules in the kernel, or ""
	Foreign string // how to take out what others put among them, where Apply would be refused for it
	Wrong   error  // what is wrong with the file: Rows has its lines that are right; or nil
	NoFile  bool   // there is no saved file
	Denied  error  // why the kernel could not be asked: Rows has what is saved; or nil

	Behind servers.Found // what listens on the ports of the rows, with its processes

	repair string // the command that makes damaged rules again
	undo   string // the command that takes all rules away again
	save   string // the command that saves what is live
}

// Mark says of a live mapping that no file has that it will not last; "" of others.
func (r Row) Mark() string {
	switch {
	case r.Saved || r.File != "":
		return ""
	case r.Mapping.Temporary():
		return "temporary"
	}
	return "not saved"
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

// InStep reports whether file and kernel have the same mappings, so that `portmap apply` changes none.
func (l Listing) InStep() bool {
	return l.Wrong == nil && l.Damaged == "" && len(l.Unsaved()) == 0 && !slices.ContainsFunc(l.Rows, inState(Missing))
}

// Findings returns what a person should know who sees the rows.
func (l Listing) Findings() []finding.Finding {
	list := slices.Concat(l.Notes, l.Damage(), l.states())
	for _, r := range l.Rows {
		if !r.Saved && r.File != "" {
			list = append(list, finding.Finding{
				ID: finding.OtherFile, Mapping: r.Mapping,
				Text: fmt.Sprintf("%s is of another file, %s", r.Mapping.Spec(), r.File),
			})
		}
	}
	if len(l.Rows) == 0 && l.Wrong == nil && l.Denied == nil {
		list = append(list, finding.Finding{ID: finding.NoMappings, Text: "no mappings",
			Remedy: "sudo portmap add 443:8443"})
	}
	return list
}

// states returns a finding for each state that needs one, however many mappings are in it.
func (l Listing) states() (list []finding.Finding) {
	for _, s := range [...]struct {
		id     finding.ID
		of     func(Row) bool
		cure   string // behind the reason
		remedy string
	}{
		{finding.RulesMissing, inState(Missing), "", l.repair},
		{finding.NoServer, inState(NoServer), "; connections are refused until one does", ""},
		{finding.LoopbackOnly, inState(LocalOnly), "; make it listen on every address", ""},
		{finding.ServerPartly, inState(Partly), "; connections there are refused until one does", ""},
		{finding.NotSaved, func(r Row) bool { return r.State != Damaged && r.Mark() == "not saved" }, "", l.save},
	} {
		var reasons []string
		var first *Row
		for i := range l.Rows {
			row := &l.Rows[i]
			if !s.of(*row) {
				continue
			}
			reason := row.Reason
			if s.id == finding.NotSaved {
				reason = "live, and in no file"
			}
			reason = row.Mapping.Spec() + ": " + reason
			if first == nil {
				first = row
			}
			reasons = append(reasons, reason)
		}
		if first == nil {
			continue
		}
		text := reasons[0]
		if more := len(reasons) - 1; more > 0 {
			text += fmt.Sprintf(" (and %d more)", more)
		}
		list = append(list, finding.Finding{ID: s.id, Mapping: first.Mapping, Text: text + s.cure, Remedy: s.remedy})
	}
	return list
}

// RulesOf returns what is wrong with the rules of one row: they are missing, or nobody saved them.
func (l Listing) RulesOf(row Row) []finding.Finding {
	switch {
	case row.State == Missing:
		return []finding.Finding{{ID: finding.RulesMissing, Mapping: row.Mapping,
			Text: row.Mapping.Spec() + ": saved, and not in the kernel", Remedy: l.repair, Undo: l.undo}}
	case row.Mark() == "not saved" && row.State != Damaged:
		return []finding.Finding{{ID: finding.NotSaved, Mapping: row.Mapping,
			Text: row.Mapping.Spec() + ": live, and in no file", Remedy: l.save}}
	}
	return nil
}

func inState(state State) func(Row) bool { return func(r Row) bool { return r.State == state } }

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
	_, command, _ := strings.Cut(foreign, ": ")
	return []finding.Finding{{ID: finding.RulesForeign, Text: text, Remedy: command}}
}

// List reads the file, the kernel and the sockets. It takes no lock: what it shows is a moment's view. A line of the
// file that is wrong does not hide the others, nor what is live: see Listing.Wrong.
//
// With selectors only the mappings are listed that one of them means, see [rules.Set.Find]. One that means none is a
// [*SelectError].
func (h *Host) List(ctx context.Context, selectors ...string) (Listing, error) {
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
	l := Listing{
		Backend: text.Backend(), File: text.String(), Wrong: wrong, NoFile: content == nil,
		repair: h.typed("apply"), undo: h.typed("flush"),
		save: h.typed("list", "-o", "plain") + " | " + h.typed("apply", "-f", "-"),
	}
	saved, live, err := h.openAndLook(ctx, text, selectors)
	switch {
	case err == nil:
		l.fill(h, saved, live)
	case errors.Is(err, unix.EPERM):
		l.Denied = err
		l.Rows = rowsOf(saved, rules.Live{})
	default:
		return Listing{}, err
	}
	if l.Rows, err = h.selected(l.Rows, selectors); err != nil {
		return Listing{}, err
	}
	elsewhere := h.otherFiles(ctx)
	for i := range l.Rows {
		l.Rows[i].File = elsewhere.files[l.Rows[i].Mapping.String()]
	}
	if l.Behind, err = servers.Find(targetsOf(l.Rows)); err != nil {
		return Listing{}, err
	}
	l.Behind.ResolveProcesses()
	for i := range l.Rows {
		row := &l.Rows[i]
		row.Servers = l.Behind.Of(row.Mapping)
		l.judge(row)
	}
	return l, nil
}

// openAndLook returns the mappings of the file, and what the kernel holds. Where selectors mean few of them, it is
// these only.
func (h *Host) openAndLook(ctx context.Context, text conf.Text, selectors []string) (rules.Set, kernel, error) {
	saved := text.Set()
	if err := h.use(ctx, text.Backend(), true); err != nil {
		return saved, kernel{}, err
	}
	few, live, tells, err := h.lookFor(ctx, saved, selectors)
	if tells || err != nil {
		return few, live, err
	}
	live, err = h.lookAtKernel(ctx)
	return saved, live, err
}

// fill adds what the kernel holds.
func (l *Listing) fill(h *Host, saved rules.Set, live kernel) {
	l.Backend, l.Notes = h.filter.Name(), h.variantNote()
	l.Damaged, l.Foreign = live.Damaged, live.Foreign
	l.Legacy, l.Shared = h.filter.Legacy, h.filter.SharesTables
	if h.moves() { // all packets are served, by another backend than the one asked for
		l.Notes, l.Damaged = []finding.Finding{{ID: finding.OtherBackend, Text: live.Damaged}}, ""
	}
	l.Rows = rowsOf(saved, live.Live)
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

// judge sets the state that matters most, and why. Whether packets still reach one mapping of a damaged table cannot be
// told, so damage counts for all that are live.
func (l *Listing) judge(row *Row) {
	reach, why := l.Behind.Reach(row.Mapping)
	switch {
	case l.Denied != nil:
		row.State, row.Reason = Unknown, "the kernel's side needs root"
	case row.State == Missing:
		row.Reason = "saved, and not in the kernel"
	case l.Damaged != "":
		row.State, row.Reason = Damaged, l.Damaged
	case reach == servers.Unserved:
		row.State, row.Reason = NoServer, why
	case len(servers.Blocked(row.Mapping, row.Servers)) > 0:
		row.State, row.Reason = Blocked, servers.Blocked(row.Mapping, row.Servers)[0].Text
	case reach == servers.LocalOnly:
		row.State, row.Reason = LocalOnly, why
	case reach == servers.Partly:
		row.State, row.Reason = Partly, why
	case row.Mark() != "":
		row.State = Temporary
	default:
		row.State = Active
	}
}
