package integration

import (
	"strings"
	"syscall"
	"testing"
)

// A flush says that a watch puts back what it takes away, and only then.
func TestFlushNamesTheWatch(t *testing.T) {
	eachBackend(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		other, _ := b.barePair(t)
		p := b.command(t, host)
		p.run("add", "443:8443")
		const says = "a watch runs, and puts back what a flush takes away; end it first: sudo systemctl stop " +
			"portmap-watch"
		if r := p.try("flush"); strings.Contains(r.Err, "watch") {
			t.Errorf("no watch runs, and flush says %q", r.Err)
		}
		p.run("apply")
		w := p.watch()
		if r := p.try("flush", "--dry-run"); r.Code != 0 || !strings.Contains(r.Err, says) {
			t.Errorf("flush --dry-run: %+v", r)
		}
		if r := p.try("flush"); r.Code != 0 || !strings.Contains(r.Err, says) {
			t.Errorf("flush: %+v", r)
		}
		w.live(b, "443:8443/tcp")
		if r := b.command(t, other).try("flush"); strings.Contains(r.Err, "watch") {
			t.Errorf("a watch of another network: %q", r.Err)
		}
		w.ends(syscall.SIGKILL)
		if r := p.try("flush"); strings.Contains(r.Err, "watch") {
			t.Errorf("the watch was killed, and flush says %q", r.Err)
		}
	})
}
