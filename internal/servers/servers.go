package servers

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"

	"portmap/internal/accounts"
	"portmap/rules"
	"portmap/rules/facts"
)

// Server is a process that listens.
type Server struct {
	PID      int // 0 where it may not be seen
	Command  string
	User     string // the name, else the uid
	UID      uint32 `json:"-"`
	Address  string // what it is bound to: "[::]:8443"
	Port     uint16 `json:"-"`
	Loopback bool   `json:"-"` // it is bound to a loopback address
	SSH      bool   `json:"-"` // one gets into this host by it
}

// Name returns the command as it can stand in a sentence. A process chooses it: what is more than a word stands in
// quotes, so that it cannot be taken for a PID or a user.
func (s Server) Name() string {
	more := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._/:+@-", r)
	}
	if s.Command != "" && strings.IndexFunc(s.Command, more) < 0 {
		return s.Command
	}
	return strconv.Quote(s.Command)
}

// Who names the server for a sentence: "node[812] (user rwserve)".
func (s Server) Who() string {
	if s.PID == 0 {
		return "a process of user " + s.User
	}
	return fmt.Sprintf("%s[%d] (user %s)", s.Name(), s.PID, s.User)
}

// Found is what listens on the ports of some mappings.
type Found struct {
	byPort map[portKey][]socket
	wanted map[uint32]bool // inodes of sockets on ports of the mappings
	who    map[uint32]process
	users  map[uint32]string
}

type portKey struct {
	protocol rules.Protocols
	port     uint16
}

// Find looks for what listens on the listen and target ports of the mappings, in this network namespace.
func Find(mappings []rules.Mapping) (Found, error) {
	f := Found{byPort: map[portKey][]socket{}, wanted: map[uint32]bool{}, users: map[uint32]string{}}
	var protocols rules.Protocols
	for i := range mappings {
		protocols |= mappings[i].Protocols()
	}
	sockets, err := listening(protocols)
	if err != nil {
		return Found{}, fmt.Errorf("look for servers: %w", err)
	}
	for _, s := range sockets {
		key := portKey{s.protocol, s.local.Port()}
		f.byPort[key] = append(f.byPort[key], s)
	}
	for i := range mappings {
		m := &mappings[i]
		want := func(s socket) { f.wanted[s.inode] = true }
		f.each(m, m.ListenPorts(), want)
		f.eachBehind(m, want)
		for _, ports := range facts.LocalTargets(m) { // at which address is told
			f.eachAt(m, netip.Addr{}, ports, want)
		}
	}
	return f, nil
}

// ResolveProcesses finds the processes of all that was found, in one walk over /proc. Without it servers have no PID
// and no command.
func (f *Found) ResolveProcesses() {
	f.who = map[uint32]process{}
	if len(f.wanted) > 0 {
		f.who = processes("/proc", f.wanted)
	}
}

// each calls visit for the sockets on the ports that packets of the mapping can reach.
func (f Found) each(m *rules.Mapping, ports rules.Ports, visit func(socket)) {
	f.eachAt(m, m.Listen(), ports, visit)
}

// eachAt is each for packets to one address; to any where it is the zero Addr.
func (f Found) eachAt(m *rules.Mapping, address netip.Addr, ports rules.Ports, visit func(socket)) {
	for _, protocol := range m.Protocols().Each() {
		for i := range ports.Count() {
			for _, s := range f.byPort[portKey{protocol, ports.First + uint16(i)}] {
				if s.answers(address, m.Families()) {
					visit(s)
				}
			}
		}
	}
}

// eachBehind calls visit for the sockets of this host to which the mapping leads.
func (f Found) eachBehind(m *rules.Mapping, visit func(socket)) {
	for _, t := range targetsHere(m) {
		f.eachAt(m, t.Addr, t.Ports, visit)
	}
}

// targetsHere returns the servers on this host, each at the address to which packets come.
func targetsHere(m *rules.Mapping) (list []rules.Target) {
	for _, ports := range facts.LocalTargets(m) {
		list = append(list, rules.Target{Addr: m.Listen(), Ports: ports})
	}
	for _, t := range m.Targets() {
		if t.Addr.IsLoopback() {
			list = append(list, t)
		}
	}
	return list
}

// Of returns the servers behind a mapping to this host, by address.
func (f Found) Of(m rules.Mapping) []Server {
	return f.list(func(visit func(socket)) { f.eachBehind(&m, visit) })
}

// Shadowed returns the servers that listen on the listen ports themselves: new connections pass them by.
func (f Found) Shadowed(m rules.Mapping) []Server {
	return f.list(func(visit func(socket)) { f.eachShadowed(&m, visit) })
}

// eachShadowed calls visit for the sockets on the listen ports that lose packets to the mapping.
func (f Found) eachShadowed(m *rules.Mapping, visit func(socket)) {
	f.each(m, m.ListenPorts(), func(s socket) {
		// Mappings to other hosts, and those with --interface, leave connections to a loopback address alone.
		if m.Interface() == "" && facts.RemoteFamilies(m) == 0 || !s.loopback() {
			visit(s)
		}
	})
}

func (f Found) list(each func(func(socket))) []Server {
	var list []Server
	each(func(s socket) {
		server := f.server(s)
		if !slices.Contains(list, server) {
			list = append(list, server)
		}
	})
	sort.SliceStable(list, func(i, k int) bool {
		return cmp.Or(cmp.Compare(list[i].Port, list[k].Port), cmp.Compare(list[i].PID, list[k].PID)) < 0
	})
	return list
}

func (f Found) server(s socket) Server {
	name, known := f.users[s.uid]
	if !known {
		name = accounts.Name(s.uid)
		f.users[s.uid] = name
	}
	p := f.who[s.inode]
	return Server{
		PID: p.pid, Command: p.command, User: name, UID: s.uid, Address: s.local.String(),
		Port: s.local.Port(), Loopback: s.loopback(), SSH: p.ssh || s.protocol == rules.TCP &&
			s.local.Port() == sshPort && p.pid == 1,
	}
}

// sshPort is where an init process that listens starts sshd with the first connection: ssh.socket of systemd.
const sshPort = 22
