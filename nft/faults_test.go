package nft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { lab.Main(m) }

// wire stands between the backend and the kernel: it passes messages on, and can spoil a transaction on its way.
type wire struct {
	t     *testing.T
	spoil func(batch []netlink.Message, pass func([]netlink.Message) error) error
}

// talk takes what the backend sends, a transaction or a question, and returns what the kernel answers.
func (w *wire) talk(request []netlink.Message) ([]netlink.Message, error) {
	switch {
	case request == nil:
		return nil, io.EOF
	case request[0].Header.Type == netlink.HeaderType(unix.NFNL_MSG_BATCH_BEGIN):
		pass := func(batch []netlink.Message) error { return commit(w.t, batch) }
		if w.spoil != nil {
			return nil, w.spoil(request, pass)
		}
		return nil, pass(request)
	}
	return w.ask(request[0])
}

func (w *wire) ask(question netlink.Message) ([]netlink.Message, error) {
	kernel := dialKernel(w.t)
	defer kernel.Close()
	header := question.Header
	question.Header.Sequence, question.Header.PID, question.Header.Length = 0, 0, 0
	answer, err := kernel.Execute(question)
	for i := range answer {
		answer[i].Header.Sequence, answer[i].Header.PID = header.Sequence, header.PID
		answer[i].Header.Flags &^= netlink.Multi
	}
	var op *netlink.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if len(answer) == 0 && err == nil {
		err = io.EOF
	}
	return answer, err
}

func dialKernel(t *testing.T) *netlink.Conn {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadBuffer(bufferSize)
	_ = conn.SetWriteBuffer(bufferSize)
	return conn
}

func commit(t *testing.T, batch []netlink.Message) error {
	kernel := dialKernel(t)
	defer kernel.Close()
	batch = slices.Clone(batch)
	for i := range batch {
		batch[i].Header.Sequence, batch[i].Header.PID = 0, 0
	}
	if _, err := kernel.SendMessages(batch); err != nil {
		return err
	}
	for range batch[1 : len(batch)-1] {
		if _, err := kernel.Receive(); err != nil {
			return err
		}
	}
	return nil
}

// hosts runs f on a host of its own, with a sound backend and one whose messages go over a wire.
func hosts(t *testing.T, f func(sound, wired *Backend, w *wire)) {
	t.Helper()
	host := lab.New(t).Host("host")
	host.Do(func() {
		sound, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer sound.Close()
		w := &wire{t: t}
		wired, err := open(listKernel, nftables.WithTestDial(w.talk))
		if err != nil {
			t.Error(err)
			return
		}
		defer wired.Close()
		f(sound, wired, w)
	})
}

func liveTexts(t *testing.T, b *Backend) string {
	t.Helper()
	live, err := b.Live(context.Background())
	if err != nil || live.Damaged != "" {
		t.Errorf("read back: %q, %v", live.Damaged, err)
	}
	var lines []string
	for _, m := range live.Mappings {
		lines = append(lines, m.String())
	}
	return strings.Join(lines, "\n")
}

// Whatever the kernel answers, a change that failed has changed nothing, and the connection can be used again.
func TestKernelErrors(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENOENT, unix.EEXIST, unix.EBUSY, unix.ENOBUFS, unix.ENOMEM,
		unix.EMSGSIZE, unix.EOPNOTSUPP, unix.EINVAL} {
		t.Run(errno.Error(), func(t *testing.T) {
			hosts(t, func(sound, wired *Backend, w *wire) {
				ctx := context.Background()
				if err := wired.Apply(ctx,
					rules.Change{Add: lab.Mappings(t, "443:8443", "80:8080 --source 10.0.0.0/8")}); err != nil {
					t.Fatalf("over a sound wire: %v", err)
				}
				before := liveTexts(t, sound)
				w.spoil = func([]netlink.Message, func([]netlink.Message) error) error { return errno }
				change := rules.Change{Remove: lab.Mappings(t, "443:8443"),
					Add: lab.Mappings(t, "443:9443", "81:8081 --interface eth0")}
				err := wired.Apply(ctx, change)
				if !errors.Is(err, errno) {
					t.Errorf("Apply says %v, want %v in it", err, errno)
				}
				drift := errno == unix.ENOENT || errno == unix.EEXIST || errno == unix.EBUSY
				if errors.Is(err, rules.ErrDrift) != drift {
					t.Errorf("Apply says %v; is that drift? want %v", err, drift)
				}
				if after := liveTexts(t, sound); after != before {
					t.Errorf("live were\n%s\nand are\n%s", before, after)
				}
				w.spoil = nil
				if err := wired.Apply(ctx, change); err != nil {
					t.Errorf("afterwards: %v", err)
				}
				if after := liveTexts(t,
					wired); after != "80:8080/tcp --source 10.0.0.0/8\n81:8081/tcp --interface eth0\n443:9443/tcp" {
					t.Errorf("afterwards live are\n%s", after)
				}
			})
		})
	}
}

// The answer was lost, not the request: the kernel has done it, and that is what counts.
func TestLostAnswer(t *testing.T) {
	for _, lost := range []error{unix.ENOBUFS, os.ErrDeadlineExceeded, os.NewSyscallError("recvmsg", unix.EIO)} {
		t.Run(lost.Error(), func(t *testing.T) {
			hosts(t, func(sound, wired *Backend, w *wire) {
				w.spoil = func(batch []netlink.Message, pass func([]netlink.Message) error) error {
					if err := pass(batch); err != nil {
						return err
					}
					return lost
				}
				ctx := context.Background()
				for _, change := range []rules.Change{
					{Reset: true, Add: lab.Mappings(t, "443:8443")},
					{Remove: lab.Mappings(t, "443:8443"), Add: lab.Mappings(t, "80:8080")},
				} {
					if err := wired.Apply(ctx, change); err != nil {
						t.Errorf("%v: %v", change, err)
					}
				}
				if live := liveTexts(t, sound); live != "80:8080/tcp" {
					t.Errorf("live are\n%s", live)
				}
			})
		})
	}
}

// The answer was lost, and what is there cannot be read: that is reported, and not the errno of the lost answer, which
// is that of a change that was not made.
func TestLostAnswerCannotBeSettled(t *testing.T) {
	hosts(t, func(sound, _ *Backend, w *wire) {
		wired, err := open(func(uint16, uint16, []byte, func([]byte)) error { return unix.EAGAIN },
			nftables.WithTestDial(w.talk))
		if err != nil {
			t.Error(err)
			return
		}
		defer wired.Close()
		w.spoil = func(batch []netlink.Message, pass func([]netlink.Message) error) error {
			return errors.Join(pass(batch), unix.ENOBUFS)
		}
		err = wired.Apply(context.Background(), rules.Change{Add: lab.Mappings(t, "443:8443")})
		if err == nil || errors.Is(err, unix.ENOBUFS) || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("Apply says %v", err)
		}
		if live := liveTexts(t, sound); live != "443:8443/tcp" {
			t.Errorf("live are %q", live)
		}
	})
}

func manyMappings(t *testing.T) []rules.Mapping {
	var lines []string
	for i := range 3000 {
		lines = append(lines, fmt.Sprintf("%d:60000", 1000+i))
	}
	return lab.Mappings(t, lines...)
}

// Elements are lost on the way without an error: the count afterwards finds it, and what was there before is
// there again.
func TestLostElements(t *testing.T) {
	for name, change := range map[string]func(old []rules.Mapping) rules.Change{
		"beside others": func([]rules.Mapping) rules.Change { return rules.Change{Add: manyMappings(t)} },
		"in place of others": func(old []rules.Mapping) rules.Change {
			return rules.Change{Reset: true, Remove: old, Add: manyMappings(t)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			hosts(t, func(sound, wired *Backend, w *wire) {
				ctx := context.Background()
				old := lab.Mappings(t, "443:8443", "80:8080 --source 10.0.0.0/8")
				if err := wired.Apply(ctx, rules.Change{Add: old}); err != nil {
					t.Fatal(err)
				}
				before := liveTexts(t, sound)
				spoiled := 0
				w.spoil = func(batch []netlink.Message, pass func([]netlink.Message) error) error {
					element := netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSETELEM)
					at := slices.IndexFunc(batch, func(m netlink.Message) bool {
						return m.Header.Type == element && len(m.Data) > maxMessage/2
					})
					if at < 0 || spoiled > 0 {
						return pass(batch)
					}
					spoiled++
					return pass(slices.Delete(slices.Clone(batch), at, at+1))
				}
				err := wired.Apply(ctx, change(old))
				if err == nil || !strings.Contains(err.Error(), "taken back") || spoiled != 1 {
					t.Errorf("Apply says %v", err)
				}
				if after := liveTexts(t, sound); after != before {
					t.Errorf("live were\n%s\nand are\n%s", before, after)
				}
			})
		})
	}
}

// A list that the kernel says was interrupted is read again, from the start: one of rules, sets or elements. For ever
// is too long.
func TestInterruptedList(t *testing.T) {
	host := lab.New(t).Host("host")
	host.Do(func() {
		most, interrupted := 2, map[uint16]int{}
		b, err := open(func(request, answer uint16, body []byte, each func([]byte)) error {
			err := listKernel(request, answer, body, each)
			if interrupted[request]++; interrupted[request] <= most {
				return vnetlink.ErrDumpInterrupted
			}
			return err
		})
		if err != nil {
			t.Error(err)
			return
		}
		defer b.Close()
		if err := b.Apply(context.Background(),
			rules.Change{Add: lab.Mappings(t, "443:8443", "80:8080/udp --interface eth0")}); err != nil {
			t.Error(err)
		}
		if live := liveTexts(t, b); live != "80:8080/udp --interface eth0\n443:8443/tcp" {
			t.Errorf("live are\n%s", live)
		}
		for _, kind := range []uint16{unix.NFT_MSG_GETRULE, unix.NFT_MSG_GETSET, unix.NFT_MSG_GETSETELEM} {
			if interrupted[subsystem|kind] <= most {
				t.Errorf("lists of kind %d were interrupted %d times", kind, interrupted[subsystem|kind])
			}
		}
		most = 1 << 30
		if _, err := b.Live(context.Background()); !errors.Is(err, vnetlink.ErrDumpInterrupted) {
			t.Errorf("interrupted for ever: %v", err)
		}
	})
}

// What a backend cannot do is refused before the kernel is asked.
func TestUnsupported(t *testing.T) {
	hosts(t, func(sound, wired *Backend, w *wire) {
		w.spoil = func([]netlink.Message, func([]netlink.Message) error) error {
			t.Error("the kernel was asked")
			return nil
		}
		for line, part := range map[string]string{} {
			err := wired.Apply(context.Background(), rules.Change{Add: lab.Mappings(t, "80:8080", line)})
			var unsupported *rules.UnsupportedError
			if !errors.As(err, &unsupported) || unsupported.Part != part {
				t.Errorf("%s: %v; want %s refused", line, err, part)
			}
		}
	})
}

// A lost answer is no answer of the kernel's: it is asked again, so that nobody takes it for one without nf_tables.
func TestProbeIsRepeated(t *testing.T) {
	hosts(t, func(_, wired *Backend, w *wire) {
		asked := 0
		w.spoil = func(batch []netlink.Message, pass func([]netlink.Message) error) error {
			if asked++; asked == 1 {
				return os.NewSyscallError("recvmsg", unix.EIO)
			}
			return pass(batch)
		}
		if err := wired.Probe(); err != nil || asked != 2 {
			t.Errorf("asked %d times: %v", asked, err)
		}
	})
}
