package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

func TestRefusal(t *testing.T) {
	const sentence, remedy = "this system does not let ordinary users make a network of their own",
		"; try: sudo portmap demo"
	sysctl := func(name, value string) fs.FS { return fstest.MapFS{name: {Data: []byte(value + "\n")}} }
	for _, test := range []struct {
		err    error
		uid    int
		sysctl fs.FS
		want   string
		denied bool
	}{
		{unix.EPERM, 1000, sysctl("kernel/unprivileged_userns_clone", "0"),
			sentence + " (kernel.unprivileged_userns_clone=0)" + remedy, true},
		{unix.ENOSPC, 1000, sysctl("user/max_user_namespaces", "0"), sentence + " (user.max_user_namespaces=0)" +
			remedy, true},
		{fmt.Errorf("mount: %w", unix.EACCES), 1000, sysctl("kernel/apparmor_restrict_unprivileged_userns", "1"),
			sentence + " (kernel.apparmor_restrict_unprivileged_userns=1)" + remedy, true},
		{unix.EPERM, 1000, sysctl("kernel/apparmor_restrict_unprivileged_userns", "0"), sentence + remedy, true},
		{unix.EINVAL, 1000, sysctl("user/max_user_namespaces", "96365"), sentence + remedy, true},
		{unix.EPERM, 1000, fstest.MapFS{}, sentence + remedy, true},
		{fmt.Errorf("clone: %w", unix.EPERM), 0, fstest.MapFS{},
			"root may not make a network of its own here, as in most containers (operation not permitted); run it " +
				"outside", false},
		{unix.ENOMEM, 1000, fstest.MapFS{}, "make a throw-away network: cannot allocate memory", false},
	} {
		got := refusal(test.err, test.uid, test.sysctl)
		if got.Error() != test.want || errors.Is(got, fs.ErrPermission) != test.denied || errors.Is(got, unix.EPERM) {
			t.Errorf("%v for uid %d: %q (denied: %v), want %q (%v)", test.err, test.uid, got,
				errors.Is(got, fs.ErrPermission), test.want, test.denied)
		}
	}
}

func TestOutcome(t *testing.T) {
	killed := errors.New("signal: killed")
	for _, test := range []struct {
		interrupted error
		result      string
		exit        error
		want        string
		is          error
	}{
		{nil, `true false ""`, nil, "", nil},
		{nil, `true false "it rains"`, nil, "it rains", nil},
		{nil, `true true "forbidden"`, nil, "forbidden", fs.ErrPermission},
		{nil, "", killed, "ended early: signal: killed", killed},
		{nil, `true false ""`, killed, "ended early: signal: killed", killed},
		{nil, "", nil, "ended early", nil},
		{context.Canceled, "", killed, "context canceled", context.Canceled},
		{context.Canceled, `true false "it rains"`, nil, "context canceled", context.Canceled},
		{context.DeadlineExceeded, "", killed, "stopped before it was done: context deadline exceeded",
			context.DeadlineExceeded},
	} {
		got := outcome(test.interrupted, readResult(strings.NewReader(test.result)), test.exit)
		text := ""
		if got != nil {
			text = got.Error()
		}
		if text != test.want || (test.is != nil && !errors.Is(got, test.is)) {
			t.Errorf("outcome(%v, %s, %v) = %q, want %q", test.interrupted, test.result, test.exit, text, test.want)
		}
	}
}

func TestMaps(t *testing.T) {
	for _, test := range []struct {
		lines string
		want  bool
	}{
		{"         0          0 4294967295\n", true},
		{"         0       1000          1\n", false},
		{"     65534       1000          1\n", true},
		{"         0     100000      65534\n", false},
		{"         0     100000      65535\n", true},
		{"         0       1000          1\n         1     100000      65536\n", true},
		{"     65535          0          9\n", false},
		{"", false},
		{"0 0 many", false},
	} {
		if got := maps(test.lines, nobody); got != test.want {
			t.Errorf("maps(%q) = %v, want %v", test.lines, got, test.want)
		}
	}
}
