package nft

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules/notify"
)

// listening returns a host, and the notices of its kernel.
func listening(t *testing.T) (*lab.Host, *Changes) {
	t.Helper()
	lab.Need(t, "nft")
	host := lab.New(t).Host("host")
	var k *Changes
	var err error
	host.Do(func() { k, err = Listen() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return host, k
}

func next(t *testing.T, notices <-chan notify.Notice) notify.Notice {
	t.Helper()
	select {
	case n := <-notices:
		return n
	case <-time.After(5 * time.Second):
		t.Fatal("no notice within 5 s")
		return notify.Notice{}
	}
}

// nft runs lines, each of which is a transaction.
func runNFT(t *testing.T, h *lab.Host, lines string) {
	t.Helper()
	cmd := exec.Command("nft", "-i")
	cmd.Stdin = strings.NewReader(lines)
	if r := h.TryCommand(cmd); r.Code != 0 {
		t.Fatalf("nft -i: %+v", r)
	}
}

func TestOneNoticeForEachTransaction(t *testing.T) {
	host, k := listening(t)
	notices := k.Notices(t.Context())
	before, err := k.Mark()
	if err != nil {
		t.Fatal(err)
	}
	var elements []string
	for i := range 1000 {
		elements = append(elements, fmt.Sprint(1+i))
	}
	runNFT(t, host, "add table inet other\nadd set inet other s { type inet_service ; elements = { "+
		strings.Join(elements, ", ")+" } ; }\nflush ruleset\n")
	for i := range 3 {
		if n, want := next(t, notices), (notify.Notice{Mark: before + uint64(i) + 1, By: "nft"}); n != want {
			t.Errorf("notice %+v, want %+v", n, want)
		}
	}
	if after, err := k.Mark(); err != nil || after != before+3 {
		t.Errorf("generation %d, %v; want %d", after, err, before+3)
	}
}

func TestLostNoticesAreTold(t *testing.T) {
	host, k := listening(t)
	if err := k.notices.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	runNFT(t, host, strings.Repeat("add table inet other\ndelete table inet other\n", 200))
	notices := k.Notices(t.Context())
	for range 400 {
		if next(t, notices).Lost {
			return
		}
	}
	t.Error("400 notices fit into 4 kB")
}

func TestNoticesEnd(t *testing.T) {
	_, k := listening(t)
	notices := k.Notices(context.Background())
	k.Close()
	select {
	case n, open := <-notices:
		if open {
			t.Errorf("notice %+v", n)
		}
	case <-time.After(5 * time.Second):
		t.Error("whoever waits for notices waits for ever")
	}
}

// Where there is no nf_tables nobody speaks, and that is told from other trouble.
func TestSilentKernel(t *testing.T) {
	host := lab.New(t).Host("host")
	for _, kernel := range []lab.Kernel{lab.NoTables, lab.NoNfnetlink} {
		var err error
		host.On(kernel).Do(func() { _, err = Listen() })
		if !errors.Is(err, ErrMissing) {
			t.Errorf("kernel %d: %v", kernel, err)
		}
	}
}
