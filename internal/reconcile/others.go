package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"portmap/internal/finding"
	"portmap/internal/shell"
	"portmap/internal/store"
	"portmap/rules"
)

// others is what other files of this host hold: those that were named by --config when mappings went into the kernel. A
// change that starts from one file does not touch their mappings.
type others struct {
	set        rules.Set         // those that go with each other
	files      map[string]string // by the text of each mapping: the file that has it
	unreadable string            // a file that cannot be read, or ""
}

// otherFiles reads the files that are recorded beside ours. One that is gone holds nothing any more.
func (h *Host) otherFiles(ctx context.Context) others {
	o := others{files: map[string]string{}}
	var all []rules.Mapping
	own, err := filepath.Abs(h.File.Path)
	if err != nil {
		return o
	}
	for _, path := range h.Run.Files() {
		if path == own || sameFile(path, own) {
			continue
		}
		content, err := store.At(path).Read()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			o.unreadable = path
			continue
		}
		text, _, err := h.reader().ParseGood(ctx, content)
		if err != nil {
			o.unreadable = path
			continue
		}
		for _, m := range text.Set().Mappings() {
			all = append(all, m)
			if !o.has(m) {
				o.files[m.String()] = path
			}
		}
	}
	if o.set, _, err = rules.Fit(ctx, all); err != nil {
		o.unreadable = own
	}
	return o
}

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// has reports whether another file holds a mapping.
func (o others) has(m rules.Mapping) bool { return o.files[m.String()] != "" }

// shared returns those of some mappings of our file that another file holds, too.
func (o others) shared(mappings []rules.Mapping) (shared []rules.Mapping) {
	for _, m := range mappings {
		if o.has(m) {
			shared = append(shared, m)
		}
	}
	return shared
}

// without returns those of some mappings that no other file holds.
func (o others) without(mappings []rules.Mapping) []rules.Mapping {
	return rules.Minus(mappings, o.shared(mappings))
}

// held returns those of some mappings that other files hold. Where one of these cannot be read, any may be its.
func (o others) held(mappings []rules.Mapping) (held []rules.Mapping) {
	for _, m := range mappings {
		if o.has(m) || o.unreadable != "" && !m.Temporary() {
			held = append(held, m)
		}
	}
	return held
}

// explain adds to a conflict that the mapping in the way is another file's.
func (o others) explain(err error) error {
	var conflict *rules.ConflictError
	if errors.As(err, &conflict) && o.has(conflict.With) {
		return &OtherFileError{Conflict: conflict, File: o.files[conflict.With.String()]}
	}
	return err
}

// yields says that a mapping of another file does not go with ours.
func (o others) yields(m rules.Mapping, err error) error {
	var conflict *rules.ConflictError
	if !errors.As(err, &conflict) {
		return err
	}
	ours := &rules.ConflictError{Mapping: conflict.With, With: m, Over: conflict.Over, Name: conflict.Name}
	return &OtherFileError{Conflict: ours, File: o.files[m.String()]}
}

// warning returns one finding if a file could not be read, else none.
func (o others) warning() []finding.Finding {
	if o.unreadable == "" {
		return nil
	}
	return []finding.Finding{{
		ID:   finding.OtherFileUnreadable,
		Text: o.unreadable + ", whose mappings are live, too, cannot be read: nothing that it may hold was removed",
	}}
}

// stay says which mappings are not removed with those of our file.
func (o others) stay(mappings []rules.Mapping) []finding.Finding {
	file := o.unreadable
	for _, m := range mappings {
		if o.has(m) {
			file = o.files[m.String()]
		}
	}
	return []finding.Finding{{
		ID:   finding.OtherFileKeeps,
		Text: fmt.Sprintf("not removed, since another file holds them, %s: %s", file, join(mappings)),
	}}
}

// HeldError refuses to remove a mapping that another file holds: the next apply of that file would bring it back.
type HeldError struct {
	Mapping rules.Mapping
	File    string
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s is of another file, %s", e.Mapping, e.File)
}

// Remedy returns the command that removes it.
func (e *HeldError) Remedy() string {
	return fmt.Sprintf("sudo portmap --config %s remove '%s'", shell.Quote(e.File), e.Mapping)
}

// OtherFileError says that a mapping is in the way that another file holds.
type OtherFileError struct {
	Conflict *rules.ConflictError
	File     string
}

func (e *OtherFileError) Error() string { return fmt.Sprintf("%v, of %s", e.Conflict, e.File) }

// Remedy returns the command that takes it away.
func (e *OtherFileError) Remedy() string {
	return fmt.Sprintf("to take that away: sudo portmap --config %s remove '%s'", shell.Quote(e.File), e.Conflict.With)
}

// recordFile records that our file has mappings in the kernel, for those who start from another file. It comes before
// the change: a watch of another file would remove them otherwise. A change that fails leaves a file recorded that
// holds nothing.
func (h *Host) recordFile(content []byte) {
	path, err := filepath.Abs(h.File.Path)
	if err != nil || len(content) == 0 {
		return
	}
	_ = h.Run.AddFile(path)
}
