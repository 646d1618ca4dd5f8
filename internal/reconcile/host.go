package reconcile

import (
	"context"
	"fmt"
	"strings"

	"portmap/internal/conf"
	"portmap/internal/filters"
	"portmap/internal/finding"
	"portmap/internal/flows"
	"portmap/internal/rundir"
	"portmap/internal/store"
	"portmap/rules"
)

// Host is a machine with its kernel and its file.
type Host struct {
	Kinds  []filters.Kind        // the packet filters that may be used, the preferred one first
	Choice string                // the one to use and to keep in the file; empty for what the file says
	Unfix  bool                  // the file is to say none, and what it says does not count; without Choice
	Opened func(*filters.Opened) // is called with what was opened; may be nil

	// Command returns a command of portmap for the same file, to be pasted; nil for that of the default file.
	Command func(words ...string) string

	KeepGoing bool // leaves invalid lines of the file out, and reports them as warnings
	File      *store.File
	Services  rules.Services
	Users     rules.Users
	Redact    func(error) error // takes out of an error about a line what may not be shown; nil shows all
	Run       rundir.Dir        // what is known of this network namespace until the next reboot

	// Guard may refuse a change before anything is changed, by what would become of the mappings; nil refuses nothing.
	Guard func([]Outcome) error

	// Forget deletes connection-tracking entries that a change has made untrue. An error is a warning: the change
	// stands.
	Forget func(context.Context, flows.Change) error

	filter  *filters.Opened   // nil before it is open
	fixed   string            // what the file said about it then
	leftOut []finding.Finding // the lines that the last parse left out
}

// Close lets go of the kernel.
func (h *Host) Close() error {
	if h.filter == nil {
		return nil
	}
	return h.filter.Close()
}

// use opens the packet filter, when the file has said which, and again when it says another.
func (h *Host) use(ctx context.Context, saved string, everywhere bool) error {
	if h.Unfix {
		saved = ""
	}
	if h.filter != nil && saved == h.fixed {
		return nil
	}
	name, err := filters.Requested(h.Kinds, h.Choice, saved)
	if err != nil {
		return &OpenError{err}
	}
	f, err := filters.Open(ctx, h.Kinds, name, everywhere)
	if err != nil {
		return &OpenError{err}
	}
	_ = h.Close() // of the one before; what it did is done
	if h.filter, h.fixed = f, saved; h.Opened != nil {
		h.Opened(f)
	}
	return nil
}

func (h *Host) typed(words ...string) string {
	if h.Command == nil {
		return "sudo portmap " + strings.Join(words, " ")
	}
	return h.Command(words...)
}

// fixBackend returns a file's content that says which packet filter is to be used, where one was chosen.
func (h *Host) fixBackend(content []byte) []byte {
	if h.Unfix {
		return conf.WithoutBackend(content)
	}
	return conf.SetBackend(content, h.Choice)
}

// reader reads files of mappings.
func (h *Host) reader() conf.Reader {
	return conf.Reader{Services: h.Services, Users: h.Users, Backends: filters.Names(h.Kinds)}
}

// OpenError says that there is no packet filter to be used: none at all, or not the one that the file names.
type OpenError struct{ error }

func (e *OpenError) Unwrap() error { return e.error }

// Filter returns the packet filter in use; if none is open yet, it opens the one that the file asks for. Everywhere
// looks for mappings in the others, too.
func (h *Host) Filter(ctx context.Context, everywhere bool) (*filters.Filter, error) {
	if h.filter != nil {
		return h.filter.Filter, nil
	}
	saved, err := h.File.Read()
	if err != nil {
		return nil, err
	}
	if err := h.use(ctx, conf.Backend(saved), everywhere); err != nil {
		return nil, err
	}
	return h.filter.Filter, nil
}

// Verb is what became of a mapping.
type Verb string

// The verbs, as they are printed.
const (
	Added     Verb = "added"
	Removed   Verb = "removed"
	Unchanged Verb = "unchanged"
	Replaced  Verb = "replaced"
)

// Outcome is what became of one mapping.
type Outcome struct {
	Verb    Verb
	Mapping rules.Mapping
	Old     []rules.Mapping // of Replaced: what it stands in the place of
}

// Incoming returns the outcomes of mappings that were not live before.
func Incoming(outcomes []Outcome) (incoming []Outcome) {
	for _, o := range outcomes {
		if o.Verb == Added || o.Verb == Replaced {
			incoming = append(incoming, o)
		}
	}
	return incoming
}

// guard asks Guard about the mappings that come.
func (h *Host) guard(outcomes []Outcome) error {
	if incoming := Incoming(outcomes); h.Guard != nil && len(incoming) > 0 {
		return h.Guard(incoming)
	}
	return nil
}

// Report is what a change did, or in a dry run would do.
type Report struct {
	Outcomes []Outcome
	Total    int               // how many mappings there are now
	Warnings []finding.Finding // what did not stop the change
	First    bool              // whether there was no saved mapping before, and is one now
	Legacy   bool              // the rules are in x_tables: those of iptables-legacy
	Shared   bool              // the rules are in tables that are not portmap's alone: those of iptables
	Damaged  string            // what was wrong with the rules that Apply made again, or ""
	Unfixed  string            // the backend that the file fixed, and does not any more; mostly empty
	Moved    string            // that mappings went from one backend to another; mostly empty
	Notes    []finding.Finding // what a person should know

	Content []byte // of Apply: what it read
}

// state is the file and what of the kernel a change must know.
type state struct {
	text      conf.Text
	temporary []rules.Mapping
	own       rules.Set // saved in our file, and temporary
	others    others
	all       rules.Set // own, and what other files hold
	clash     error     // a temporary mapping does not go with the file, and is not in own
}

func (h *Host) readState(ctx context.Context, everywhere bool) (state, error) {
	content, err := h.File.Read()
	if err != nil {
		return state{}, err
	}
	text, err := h.parse(ctx, Content{h.File.Path, content})
	if err != nil {
		return state{}, err
	}
	return h.stateOf(ctx, h.File.Path, text, everywhere)
}

func (h *Host) stateOf(ctx context.Context, name string, text conf.Text, everywhere bool) (state, error) {
	if err := h.use(ctx, text.Backend(), everywhere); err != nil {
		return state{}, err
	}
	temporary, err := h.temporaryMappings(ctx)
	if err != nil {
		return state{}, err
	}
	var clash error
	if _, err := text.Set().Add(temporary...); err != nil {
		clash = fmt.Errorf("%s does not go with what is live: %w", name, err)
	}
	own, elsewhere := unite(text.Set(), temporary), h.otherFiles(ctx)
	return state{text, temporary, own, elsewhere, unite(own, elsewhere.set.Mappings()), clash}, nil
}

func (h *Host) parse(ctx context.Context, content Content) (conf.Text, error) {
	h.leftOut = nil
	if h.KeepGoing {
		text, wrong, err := h.reader().ParseGood(ctx, content.Bytes)
		h.leaveOut(content, wrong)
		return text, err
	}
	text, err := h.reader().Parse(ctx, content.Bytes)
	if err != nil {
		return conf.Text{}, fmt.Errorf("%s: %w", content.Name, err)
	}
	return text, nil
}

// parseAll is parse for a file that is to be live as a whole: a mapping that the backend does not support is invalid,
// too.
func (h *Host) parseAll(ctx context.Context, content Content) (conf.Text, error) {
	text, err := h.parse(ctx, content)
	if err != nil {
		return conf.Text{}, err
	}
	if err := h.use(ctx, text.Backend(), true); err != nil {
		return conf.Text{}, err
	}
	good, wrong, err := text.Without(ctx, h.filter.Supports)
	if err != nil {
		return conf.Text{}, err
	}
	if len(wrong) > 0 && !h.KeepGoing {
		return conf.Text{}, fmt.Errorf("%s: %w", content.Name, wrong[0])
	}
	h.leaveOut(content, wrong)
	return good, nil
}

func (h *Host) leaveOut(content Content, wrong []*conf.LineError) {
	for _, w := range wrong {
		err := fmt.Errorf("%s: %w", content.Name, w)
		if h.Redact != nil {
			err = h.Redact(err)
		}
		h.leftOut = append(h.leftOut, finding.Finding{ID: finding.LineLeftOut, Text: err.Error() + "; left out"})
	}
}
