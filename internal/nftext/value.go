package nftext

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// text writes a value of the field.
func (l loaded) text(value []byte) string {
	if l.write == nil {
		return hexadecimal(value)
	}
	return l.write(value)
}

// suffix is the length of a prefix: the mask's, or that of an address of which only whole bytes are compared.
func (l loaded) suffix(value []byte) string {
	whole := map[string]int{"ip saddr": 4, "ip daddr": 4, "ip6 saddr": 16, "ip6 daddr": 16}[l.name]
	switch {
	case whole == 0:
		return ""
	case l.mask != nil:
		ones := 0
		for _, b := range l.mask {
			for ; b&0x80 != 0; b <<= 1 {
				ones++
			}
		}
		return "/" + strconv.Itoa(ones)
	case len(value) < whole:
		return "/" + strconv.Itoa(len(value)*8)
	}
	return ""
}

func hexadecimal(value []byte) string { return fmt.Sprintf("0x%x", value) }

func number(value []byte) string {
	n := uint64(0)
	for _, b := range value {
		n = n<<8 | uint64(b)
	}
	return strconv.FormatUint(n, 10)
}

func native(value []byte) string {
	if len(value) != 4 {
		return hexadecimal(value)
	}
	return strconv.FormatUint(uint64(binary.NativeEndian.Uint32(value)), 10)
}

func interfaceName(value []byte) string {
	name := unix.ByteSliceToString(value)
	if len(name) == len(value) { // which begins so; iptables compares the zero byte behind a whole one, too
		name += "*"
	}
	return strconv.Quote(name)
}

func protocol(value []byte) string {
	if len(value) == 1 {
		name := map[byte]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_ICMP: "icmp",
			unix.IPPROTO_ICMPV6: "ipv6-icmp"}[value[0]]
		if name != "" {
			return name
		}
	}
	return number(value)
}

// packetType names a value of linux/if_packet.h.
func packetType(value []byte) string {
	names := [...]string{"host", "broadcast", "multicast", "other"}
	if len(value) == 1 && int(value[0]) < len(names) {
		return names[value[0]]
	}
	return hexadecimal(value)
}

func family(value []byte) string {
	if len(value) == 1 && value[0] == unix.NFPROTO_IPV6 {
		return "ipv6"
	}
	return "ipv4"
}

func addressType(value []byte) string {
	if native(value) == strconv.Itoa(unix.RTN_LOCAL) {
		return "local"
	}
	return native(value)
}

// address returns how an address of so many bytes is written, also if only its beginning is there.
func address(size int) func([]byte) string {
	return func(value []byte) string {
		if len(value) > size {
			return hexadecimal(value)
		}
		a, _ := netip.AddrFromSlice(append(append([]byte{}, value...), make([]byte, size-len(value))...))
		return a.String()
	}
}

// bits returns how a value is written whose bits have names.
func bits(names ...string) func([]byte) string {
	return func(value []byte) string {
		if len(value) != 4 {
			return hexadecimal(value)
		}
		var set []string
		for i, name := range names {
			if binary.NativeEndian.Uint32(value)&(1<<i) != 0 && name != "" {
				set = append(set, name)
			}
		}
		return strings.Join(set, ",")
	}
}
