package switches

import (
	"path/filepath"
	"testing"

	"portmap/internal/lab"
	"portmap/internal/rundir"
)

func TestMain(m *testing.M) { lab.Main(m) }

// What is switched on is as it was afterwards, whatever happened in between.
func TestWhatWasThere(t *testing.T) {
	for name, c := range map[string]struct {
		before  map[string]string // switches that are set before
		between func(run rundir.Dir) error
		want    map[string]string
	}{
		"off": {want: map[string]string{Forward4: "0", Forward6: "0"}},
		"on already": {before: map[string]string{Forward4: "1"},
			want: map[string]string{Forward4: "1", Forward6: "0"}},
		"one interface by itself": {before: map[string]string{"ipv4/conf/lo/forwarding": "1"},
			want: map[string]string{Forward4: "0", "ipv4/conf/lo/forwarding": "1",
				"ipv4/conf/default/forwarding": "0"}},
		"set by somebody else": {between: func(rundir.Dir) error { return write(Forward4, "0") },
			want: map[string]string{Forward4: "0", Forward6: "0"}},
		"switched on twice": {between: func(run rundir.Dir) error {
			_, err := Raise(run, []string{Forward4, Forward6})
			return err
		}, want: map[string]string{Forward4: "0", Forward6: "0"}},
		"killed before it was set": {between: func(rundir.Dir) error { return write(Forward6, "0") },
			want: map[string]string{Forward4: "0", Forward6: "0"}},
		"put back and taken back": {between: func(run rundir.Dir) error {
			s, err := Lower(run, nil)
			if err == nil {
				err = s.Undo()
			}
			return err
		}, want: map[string]string{Forward4: "0", Forward6: "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			lab.New(t).Host("host").Do(func() {
				run := rundir.At(filepath.Join(t.TempDir(), "run"))
				for name, value := range c.before {
					err = write(name, value)
				}
				if err == nil {
					_, err = Raise(run, []string{Forward4, Forward6})
				}
				if err == nil && c.between != nil {
					err = c.between(run)
				}
				if err == nil {
					_, err = Lower(run, nil)
				}
				for name, want := range c.want {
					if got, _ := Read(name); got != want {
						t.Errorf("%s is %s, want %s", name, got, want)
					}
				}
				if left, err := run.Switches(); len(left) > 0 || err != nil {
					t.Errorf("remembered are %v, %v", left, err)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// What cannot be remembered is not set, and a change that is taken back leaves everything as it was.
func TestNothingHalfDone(t *testing.T) {
	lab.New(t).Host("host").Do(func() {
		if _, err := Raise(rundir.Dir{}, []string{Forward4}); err == nil {
			t.Error("a switch is set whose value is not remembered")
		}
		run := rundir.At(filepath.Join(t.TempDir(), "run"))
		if _, err := Raise(run, []string{Forward4, "ipv4/conf/nosuch/forwarding"}); err == nil {
			t.Error("a switch that is not there is set")
		}
		s, err := Raise(run, []string{RouteLocalnet})
		if err == nil {
			err = s.Undo()
		}
		if err != nil {
			t.Error(err)
		}
		for _, name := range []string{Forward4, RouteLocalnet} {
			if got, _ := Read(name); got != "0" {
				t.Errorf("%s is %s", name, got)
			}
		}
		if left, err := run.Switches(); len(left) > 0 || err != nil {
			t.Errorf("remembered are %v, %v", left, err)
		}
	})
}
