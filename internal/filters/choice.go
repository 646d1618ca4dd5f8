package filters

import (
	"fmt"
	"slices"
	"strings"

	"portmap/rules"
)

// Requested returns what --backend says, else what the file says; "" if neither says anything. The error is a
// [*rules.InvalidError].
func Requested(kinds []Kind, flag, saved string) (string, error) {
	names := Names(kinds)
	switch {
	case flag == "auto" || flag == "":
		return saved, nil
	case slices.Contains(names, flag):
		return flag, nil
	}
	return "", &rules.InvalidError{Mapping: "--backend", Part: flag, Why: "not a backend",
		Fix: "write " + Or(append([]string{"auto"}, names...))}
}

// Or lists words: "auto, nft or iptables".
func Or(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// facts are what the choice depends on.
type facts struct {
	requested string // by --backend, else by the file; "" if neither says anything
	kinds     []fact // the preferred one first
}

// fact is what is known of one kind. What was not asked is taken for usable, and for one without mappings.
type fact struct {
	name     string
	unusable error // why this host cannot use it; nil if it can
	denied   bool  // it is there and not for us: what is asked of it later says so
	holds    bool  // it holds mappings
}

// choice is the kind to use, and those from which mappings are to move to it: places in the list of kinds.
type choice struct {
	use  int
	from []int
}

// choose decides. The error is a [*NoneError], or what is wrong with the one kind that is to be used or to be moved
// from.
func choose(f facts) (choice, error) {
	c := choice{use: f.preferred()}
	use := f.kinds[c.use]
	if use.unusable != nil {
		return choice{}, f.none(use)
	}
	for i, k := range f.kinds {
		if i == c.use || !k.holds {
			continue
		}
		if k.unusable != nil {
			return choice{}, k.unusable // what is there could be neither read nor moved
		}
		c.from = append(c.from, i)
	}
	return c, nil
}

// preferred is what was requested, else what holds mappings already, else the first that this host can use.
func (f facts) preferred() int {
	for _, wanted := range [...]func(fact) bool{
		func(k fact) bool { return k.name == f.requested },
		func(k fact) bool { return f.requested == "" && (k.holds || k.denied) },
		func(k fact) bool { return k.unusable == nil },
	} {
		if i := slices.IndexFunc(f.kinds, wanted); i >= 0 {
			return i
		}
	}
	return 0
}

// none is the error for a kind that cannot be used. The first kind needs no package, so whether it is usable is always
// said.
func (f facts) none(use fact) error {
	if f.kinds[0].unusable == nil {
		return use.unusable
	}
	e := &NoneError{}
	for _, k := range f.kinds {
		switch {
		case k.unusable != nil:
			e.Unusable = append(e.Unusable, k.unusable)
		case e.Instead == "":
			e.Instead = k.name
		}
	}
	return e
}

// UnusableError says that this host cannot use a kind.
type UnusableError struct {
	Err  error
	Cure string // what to type or to install, for a sentence
}

func (e *UnusableError) Error() string { return e.Err.Error() }

func (e *UnusableError) Unwrap() error { return e.Err }

// DeniedError says that a kind is there, and that this process cannot use it.
type DeniedError struct{ error }

func (e *DeniedError) Unwrap() error { return e.error }

// NoneError says that this host cannot use the kind that is to be used, and why no other takes its place.
type NoneError struct {
	Unusable []error // why, of each kind that cannot be used
	Instead  string  // a kind that could be used, and was not requested; may be empty
}

func (e *NoneError) Error() string {
	texts := make([]string, 0, len(e.Unusable))
	for _, err := range e.Unusable {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, ", and ")
}

// Remedy returns what to load or to install.
func (e *NoneError) Remedy() string {
	var cures []string
	for _, err := range e.Unusable {
		if u, ok := err.(*UnusableError); ok && u.Cure != "" { //nolint:errorlint // the list has no wrapped ones
			cures = append(cures, u.Cure)
		}
	}
	if e.Instead != "" {
		cures = append(cures, fmt.Sprintf("use %[1]s: sudo portmap apply --backend %[1]s", e.Instead))
	}
	return strings.Join(cures, ", or ")
}
