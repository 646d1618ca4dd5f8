package filters

import (
	"fmt"
	"slices"
	"strings"

	"portmap/rules"
)

// Requested returns the backend that --backend names, else the one of the file; "" if neither names one. The error is a
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

// Or joins words: "auto, nft or iptables".
func Or(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// facts are what the choice depends on.
type facts struct {
	requested string // by --backend, else by the file; "" if neither names one
	kinds     []fact // the preferred one first
}

// fact is what is known about one kind. A kind that was not asked counts as usable and without mappings.
type fact struct {
	name     string
	unusable error // why this host cannot use it; nil if it can
	denied   bool  // it exists, but this process may not use it: a later call returns the error
	holds    bool  // it holds mappings
}

// choice is the kind to use, and the kinds from which mappings move to it: indexes of the list of kinds.
type choice struct {
	use  int
	from []int
}

// choose decides. The error is a [*NoneError], or the reason why the kind to use, or one to move from, is unusable.
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
			return choice{}, k.unusable // its mappings can be neither read nor moved
		}
		c.from = append(c.from, i)
	}
	return c, nil
}

// preferred returns the requested kind, else the one that holds mappings, else the first that this host can use.
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

// none returns the error for a kind that cannot be used. If the first kind, which needs no package, is usable, the
// error is only about the other one.
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
	Cure string // what to type or to install, as a part of a sentence
}

func (e *UnusableError) Error() string { return e.Err.Error() }

func (e *UnusableError) Unwrap() error { return e.Err }

// DeniedError says that the host has a kind, but this process may not use it.
type DeniedError struct{ error }

func (e *DeniedError) Unwrap() error { return e.error }

// NoneError says that this host cannot use the chosen kind, and why no other takes its place.
type NoneError struct {
	Unusable []error // the reason for each kind that cannot be used
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
