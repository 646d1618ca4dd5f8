package watch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"portmap/internal/finding"
	"portmap/internal/lab"
	"portmap/internal/reconcile"
)

func newLog(out *strings.Builder) *Log {
	return &Log{Out: out, Explain: func(err error) (text, remedy string) {
		text, remedy, _ = strings.Cut(err.Error(), "; ")
		return text, remedy
	}}
}

func TestLogLines(t *testing.T) {
	one := lab.Mappings(t, "443:8443")
	many := lab.Mappings(t, "1:11", "2:12", "3:13", "4:14", "5:15", "6:16", "7:17")
	wrong := Repaired{Wrong: errors.New("line 3 is wrong; write another")}
	tests := []struct {
		name string
		tell func(*Log)
		want string
	}{
		{"nothing", func(l *Log) { l.repaired(Repaired{Edited: true, Total: 3}, []string{"nft"}) }, ""},
		{"begin", func(l *Log) { l.watching(1); l.watching(0) },
			"portmap: watching 1 mapping\nportmap: watching 0 mappings\n"},
		{"put back", func(l *Log) { l.repaired(Repaired{Added: one}, []string{"nft"}) },
			"portmap: put back 443:8443/tcp after a change by nft\n"},
		{"by nobody known", func(l *Log) { l.repaired(Repaired{Added: one}, nil) }, "portmap: put back 443:8443/tcp\n"},
		{"by somebody with a strange name", func(l *Log) { l.repaired(Repaired{Added: one}, []string{"a\nb", "c"}) },
			"portmap: put back 443:8443/tcp after a change by \"a\\nb\", c\n"},
		{"many", func(l *Log) { l.repaired(Repaired{Added: many}, nil) },
			"portmap: put back 1:11/tcp, 2:12/tcp, 3:13/tcp, 4:14/tcp, 5:15/tcp and 2 more\n"},
		{"took out", func(l *Log) { l.repaired(Repaired{Removed: one}, nil) }, "portmap: took out 443:8443/tcp\n"},
		{"damage", func(l *Log) { l.repaired(Repaired{Damage: "a chain is gone"}, nil) },
			"portmap: made the rules anew (a chain is gone)\n"},
		{"edit", func(l *Log) { l.repaired(Repaired{Edited: true, Added: one, Removed: many[:2]}, nil) },
			"portmap: the file was edited: removed 1:11/tcp, 2:12/tcp, added 443:8443/tcp\n"},
		{"a wrong edit, once", func(l *Log) { l.repaired(wrong, nil); l.repaired(wrong, nil) },
			"portmap: line 3 is wrong\n  write another\nportmap: what the file said before stays live\n"},
		{"a wrong edit, right again", func(l *Log) { l.repaired(wrong, nil); l.repaired(Repaired{}, nil) },
			"portmap: line 3 is wrong\n  write another\nportmap: what the file said before stays live\n" +
				"portmap: the file is right again\n"},
		{"a wrong edit, when somebody asks", func(l *Log) {
			l.repaired(wrong, nil)
			l.forget()
			l.repaired(wrong, nil)
		},
			strings.Repeat("portmap: line 3 is wrong\n  write another\nportmap: what the file said before stays live\n",
				2)},
		{"no mapping from the start", func(l *Log) {
			l.repaired(Repaired{Partly: true, Wrong: &reconcile.EmptyError{Name: "f", Mappings: 2}}, nil)
		},
			"portmap: f has no mapping, and 2 mappings are in place\n" +
				"portmap: what is live stays, but is not put back if others flush it: the file does not have it\n"},
		{"trouble, once", func(l *Log) {
			l.failed(errors.New("no memory"))
			l.failed(errors.New("no memory"))
			l.repaired(Repaired{}, nil)
		},
			"portmap: no memory\nportmap: watch: it works again\n"},
		{"a fight", func(l *Log) { l.fight(10, 5*time.Second, []string{"nft"}) },
			"portmap: put back 10 times, and still something takes the rules away after a change by nft: now at most " +
				"once in 5s, and less often while that lasts\n"},
		{"quiet", func(l *Log) {
			l.Quiet = true
			l.repaired(Repaired{Added: one, Warnings: []finding.Finding{{ID: finding.LineLeftOut, Text: "a thing"}}},
				nil)
			l.failed(errors.New("no memory"))
		},
			"portmap: warning: a thing\nportmap: no memory\n"},
		{"journal", func(l *Log) { l.Journal = true; l.repaired(Repaired{Added: one, Wrong: wrong.Wrong}, nil) },
			"<4>portmap: line 3 is wrong\n<4>  write another\n<4>portmap: what the file said before stays live\n" +
				"<5>portmap: put back 443:8443/tcp\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			out := &strings.Builder{}
			test.tell(newLog(out))
			if out.String() != test.want {
				t.Errorf("the log is\n%swant\n%s", out, test.want)
			}
		})
	}
}

func TestToJournal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(file.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		"":                                       false,
		"8:1":                                    false,
		fmt.Sprintf("%d:%d", stat.Dev, stat.Ino): true,
	} {
		if got := ToJournal(func(string) string { return stream }, file); got != want {
			t.Errorf("JOURNAL_STREAM=%s: %v", stream, got)
		}
	}
}

func TestWatchdogIsForOneProcess(t *testing.T) {
	for whose, want := range map[string]time.Duration{"": 3 * time.Second, "7": 3 * time.Second, "8": 0} {
		s := SupervisorOf(func(name string) string {
			return map[string]string{"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": whose}[name]
		}, 7)
		if s.watchdog != want {
			t.Errorf("WATCHDOG_PID=%s: %v, want %v", whose, s.watchdog, want)
		}
	}
	Supervisor{}.Notify("READY=1") // to nobody
}
