package filters

import (
	"context"
	"errors"
	"slices"
)

// Opened is the packet filter to use. From are the others that hold mappings, which are to move to it.
type Opened struct {
	*Filter
	From []*Filter
}

// Close closes all filters.
func (o *Opened) Close() error {
	errs := []error{o.Filter.Close()}
	for _, f := range o.From {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Open chooses and opens the packet filter of this host: the requested one; else the one that holds mappings already;
// else the first that this host can use. With everywhere it searches all filters for mappings, also after it has found
// some.
func Open(ctx context.Context, kinds []Kind, requested string, everywhere bool) (*Opened, error) {
	f, err := survey(ctx, kinds, requested, everywhere)
	if err != nil {
		return nil, err
	}
	open := make([]*Filter, len(kinds))
	c, err := f.openChosen(ctx, kinds, open)
	o := &Opened{}
	for i, filter := range open {
		switch {
		case filter == nil:
		case err == nil && i == c.use:
			o.Filter = filter
		case err == nil && slices.Contains(c.from, i):
			o.From = append(o.From, filter)
		default:
			_ = filter.Close()
		}
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// openChosen opens the chosen kinds. A kind that cannot be opened is unusable, and the choice is made again without it.
func (f *facts) openChosen(ctx context.Context, kinds []Kind, open []*Filter) (choice, error) {
	for {
		c, wrong := choose(*f)
		need := append([]int{c.use}, c.from...)
		if wrong != nil { // the error names another kind that could be used
			need = need[:0]
			for i := range kinds {
				need = append(need, i)
			}
		}
		again := false
		for _, i := range need {
			if open[i] != nil || f.kinds[i].unusable != nil {
				continue
			}
			var err error
			if open[i], err = kinds[i].Open(ctx); errors.As(err, new(*UnusableError)) {
				f.kinds[i].unusable, again = err, true
			} else if err != nil {
				return choice{}, err
			}
		}
		if !again {
			return c, wrong
		}
	}
}

// survey finds out the facts that the choice depends on, and no others: each one costs a process or a transaction.
func survey(ctx context.Context, kinds []Kind, requested string, everywhere bool) (facts, error) {
	f := facts{requested: requested, kinds: make([]fact, len(kinds))}
	for i, k := range kinds {
		f.kinds[i].name = k.Name
	}
	holds := false
	for i, k := range kinds {
		if holds && !everywhere || k.Name == requested && i == len(kinds)-1 {
			continue
		}
		var err error
		f.kinds[i].holds, err = k.Present(ctx)
		holds = holds || f.kinds[i].holds
		switch {
		case errors.As(err, new(*UnusableError)):
			f.kinds[i].unusable = err
		case errors.As(err, new(*DeniedError)):
			if requested == "" || requested == k.Name {
				f.kinds[i].denied = true
				return f, nil
			}
		case err != nil:
			return f, err
		}
	}
	if requested != "" || holds {
		return f, nil
	}
	for i, k := range kinds {
		if f.kinds[i].unusable != nil {
			continue
		}
		err := k.Try(ctx)
		switch {
		case errors.As(err, new(*UnusableError)):
			f.kinds[i].unusable = err
		case err == nil, errors.As(err, new(*DeniedError)):
			return f, nil
		default:
			return f, err
		}
	}
	return f, nil
}
