package probe

// quicPort is where servers of HTTP/3 listen.
const quicPort = 443

// initialSize is the least that a server answers (RFC 9000, 14.1).
const initialSize = 1200

// datagramFor returns what is sent to a UDP port. On the port of HTTP/3 it is a packet of a version that no server has:
// one of those that are reserved to have servers say which ones they have (RFC 9000, 6.3 and 15). Elsewhere it is
// empty, since what a server there expects is not known.
func datagramFor(port uint16) []byte {
	if port != quicPort {
		return nil
	}
	long := []byte{0xc0, 0x1a, 0x2a, 0x3a, 0x4a} // a long header, and the version (RFC 8999, 5.1)
	for range [...]string{"destination", "source"} {
		long = append(long, 8, 'p', 'o', 'r', 't', 'm', 'a', 'p', 0) // the ID of a connection, behind its length
	}
	return append(long, make([]byte, initialSize-len(long))...)
}
