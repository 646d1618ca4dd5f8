package servers

import (
	"encoding/binary"
	"testing"

	"portmap/rules"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"golang.org/x/sys/unix"
)

// A list that the kernel says was interrupted is read again, and only the last reading counts.
func TestInterruptedList(t *testing.T) {
	asked := 0
	conn := nltest.Dial(func(request []netlink.Message) ([]netlink.Message, error) {
		if asked++; asked == 1 {
			return nil, unix.EINTR
		}
		answer := netlink.Message{Header: request[0].Header, Data: make([]byte, messageLength)}
		answer.Header.Flags = 0
		if asked < 4 {
			answer.Header.Flags = netlink.DumpInterrupted
		}
		answer.Data[0] = unix.AF_INET
		binary.BigEndian.PutUint16(answer.Data[4:], uint16(8440+asked))
		return []netlink.Message{answer}, nil
	})
	defer conn.Close()
	found, err := list(conn, rules.TCP, unix.AF_INET)
	if err != nil || len(found) != 1 || found[0].local.Port() != 8444 {
		t.Errorf("after %d readings there are %v, %v", asked, found, err)
	}
}
