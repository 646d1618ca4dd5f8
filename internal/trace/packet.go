package trace

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"portmap/internal/attribute"
	"portmap/rules"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Packet is one packet and its way.
type Packet struct {
	At       time.Time
	Protocol rules.Protocols // 0 for other protocols
	From, To netip.AddrPort  // as they were where the way begins
	In, Out  uint32          // indexes of interfaces; 0: none
	Arrived  netip.AddrPort  // where it went when it had passed all rules; zero if it was not seen there
	Hops     []Hop
	Tracked  Connection

	id   uint32
	last time.Time
	over bool           // its ID is that of another packet now
	to   netip.AddrPort // at the hook of the last report
}

// Dropped reports whether a rule or a policy ended the packet.
func (p *Packet) Dropped() bool {
	last := p.Last()
	return last != nil && last.Verdict == Drop
}

// Last returns the last hop; nil if there is none, or no packet.
func (p *Packet) Last() *Hop {
	if p == nil || len(p.Hops) == 0 {
		return nil
	}
	return &p.Hops[len(p.Hops)-1]
}

// Hop is a rule that a packet met, or the policy at the end of a chain.
type Hop struct {
	Family  byte // of the table: unix.NFPROTO_IPV4 and so on
	Table   string
	Chain   string
	Handle  uint64 // of the rule; 0 for a policy
	Policy  bool
	Verdict Verdict
	Jump    string         // the chain to which a jump or goto leads
	To      netip.AddrPort // the destination of the packet at this hook
}

// Verdict is what a rule decided.
type Verdict string

// The verdicts, in the words of nft(8).
const (
	Accept   Verdict = "accept"
	Drop     Verdict = "drop"
	Continue Verdict = "continue"
	Return   Verdict = "return"
	Jump     Verdict = "jump"
	Goto     Verdict = "goto"
	Queue    Verdict = "queue"
)

// verdicts are the codes of the kernel (linux/netfilter.h, and enum nft_verdicts in linux/netfilter/nf_tables.h).
func verdictOf(code int32) Verdict {
	switch code {
	case 0:
		return Drop
	case 1:
		return Accept
	case -3:
		return Jump
	case -4:
		return Goto
	case -5:
		return Return
	}
	if code&0xff == 3 {
		return Queue
	}
	return Continue
}

// event is one report of the kernel.
type event struct {
	id                 uint32
	kind               uint32
	hop                Hop
	network, transport []byte
	protocol           uint32 // NFPROTO_IPV4 or NFPROTO_IPV6
	in, out            uint32
	tracked            Connection
}

// tracePolicy is NFT_TRACETYPE_POLICY, the kind of a report on a policy.
const tracePolicy = 1

func (t *Tracer) take(m netlink.Message) {
	if m.Header.Type != subsystem|unix.NFT_MSG_TRACE || len(m.Data) < 4 {
		return
	}
	e := eventOf(m)
	now := time.Now()
	p := t.open[e.id]
	if e.hop.Table == t.table && strings.HasPrefix(e.hop.Chain, endPrefix) {
		if p != nil {
			p.Arrived, p.last = p.destination(e), now
			p.track(e)
		}
		return
	}
	if e.hop.Table == t.table {
		if e.hop.Handle == 0 { // on its way through the chains that mark others, or followed for somebody else
			return
		}
		if p == nil || len(p.Hops) > 0 || p.Arrived.IsValid() { // a new packet: IDs are used again
			p = &Packet{id: e.id, At: now}
			if old := t.open[e.id]; old != nil {
				old.over = true
			}
			t.open[e.id] = p
			t.queue = append(t.queue, p)
		}
		p.begin(e)
		p.last = now
		return
	}
	if p == nil { // followed for somebody else
		return
	}
	p.last = now
	p.track(e)
	e.hop.To = p.destination(e)
	if e.hop.Policy || e.hop.Handle != 0 { // the end of a chain, without a rule, decides nothing
		p.Hops = append(p.Hops, e.hop)
	}
	p.to = e.hop.To
	if e.out != 0 {
		p.Out = e.out
	}
}

func eventOf(m netlink.Message) (e event) {
	e.hop.Family = m.Data[0]
	verdict := int32(-1) // NFT_CONTINUE
	eachAttribute(m.Data, func(kind uint16, value []byte) {
		switch kind {
		case unix.NFTA_TRACE_ID:
			e.id = attribute.Uint32(value)
		case unix.NFTA_TRACE_TYPE:
			e.kind = attribute.Uint32(value)
		case unix.NFTA_TRACE_TABLE:
			e.hop.Table = unix.ByteSliceToString(value)
		case unix.NFTA_TRACE_CHAIN:
			e.hop.Chain = unix.ByteSliceToString(value)
		case unix.NFTA_TRACE_RULE_HANDLE:
			if len(value) == 8 {
				e.hop.Handle = binary.BigEndian.Uint64(value)
			}
		case unix.NFTA_TRACE_VERDICT:
			attribute.Each(value, func(kind uint16, value []byte) {
				switch kind {
				case unix.NFTA_VERDICT_CODE:
					verdict = int32(attribute.Uint32(value))
				case unix.NFTA_VERDICT_CHAIN:
					e.hop.Jump = unix.ByteSliceToString(value)
				}
			})
		case unix.NFTA_TRACE_POLICY:
			verdict = int32(attribute.Uint32(value))
		case unix.NFTA_TRACE_NETWORK_HEADER:
			e.network = value
		case unix.NFTA_TRACE_TRANSPORT_HEADER:
			e.transport = value
		case unix.NFTA_TRACE_NFPROTO:
			e.protocol = attribute.Uint32(value)
		case unix.NFTA_TRACE_IIF:
			e.in = attribute.Uint32(value)
		case unix.NFTA_TRACE_OIF:
			e.out = attribute.Uint32(value)
		default:
			e.tracked.take(kind, value)
		}
	})
	e.hop.Verdict = verdictOf(verdict)
	e.hop.Policy = e.kind == tracePolicy
	return e
}

// begin takes what is known where the way begins.
func (p *Packet) begin(e event) {
	source, destination, protocol := e.addresses()
	if !source.IsValid() {
		return
	}
	p.From, p.To, p.In, p.Out, p.to = source, destination, e.in, e.out, destination
	switch protocol {
	case unix.IPPROTO_TCP:
		p.Protocol = rules.TCP
	case unix.IPPROTO_UDP:
		p.Protocol = rules.UDP
	}
}

// track takes what connection tracking knows. Before its own hook it knows nothing.
func (p *Packet) track(e event) {
	if e.tracked.State != "" {
		p.Tracked = e.tracked
	}
}

// destination returns where the packet goes at a hop. The kernel reports it once a base chain.
func (p *Packet) destination(e event) netip.AddrPort {
	if _, to, _ := e.addresses(); to.IsValid() {
		return to
	}
	return p.to
}

// addresses reads the headers of IPv4 (RFC 791, 3.1) and IPv6 (RFC 8200, 3), and the ports, which TCP and UDP have in
// the same place.
func (e event) addresses() (source, destination netip.AddrPort, protocol byte) {
	var from, to netip.Addr
	switch n := e.network; {
	case e.protocol == unix.NFPROTO_IPV4 && len(n) >= 20:
		from, to, protocol = netip.AddrFrom4([4]byte(n[12:16])), netip.AddrFrom4([4]byte(n[16:20])), n[9]
	case e.protocol == unix.NFPROTO_IPV6 && len(n) >= 40:
		from, to, protocol = netip.AddrFrom16([16]byte(n[8:24])), netip.AddrFrom16([16]byte(n[24:40])), n[6]
	default:
		return source, destination, 0
	}
	if len(e.transport) < 4 {
		return source, destination, 0
	}
	return netip.AddrPortFrom(from, binary.BigEndian.Uint16(e.transport)),
		netip.AddrPortFrom(to, binary.BigEndian.Uint16(e.transport[2:])), protocol
}
