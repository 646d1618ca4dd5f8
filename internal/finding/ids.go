package finding

// ID names what was found. Scripts rely on it: it never changes, and never gets another meaning.
type ID string

// Findings about the server behind a mapping, and about what the host lacks.
const (
	NoServer         ID = "no-server"         // nobody listens on the target port
	PortsSwapped     ID = "ports-swapped"     // nobody listens on the target port, and somebody on the listen port
	LoopbackOnly     ID = "loopback-only"     // the server listens where other hosts do not reach it
	ServerPartly     ID = "server-partly"     // nobody listens for one protocol or family of the mapping
	ServerAddress    ID = "server-address"    // the server listens at one of several addresses alone
	ServerBlocked    ID = "server-blocked"    // who listens on the target port is not the owner, and cannot answer
	ServerShadowed   ID = "server-shadowed"   // a server on the listen port loses clients to the mapping
	AddressAbsent    ID = "address-absent"    // this host does not have the listen address
	InterfaceAbsent  ID = "interface-absent"  // this host does not have the interface
	InterfaceAltname ID = "interface-altname" // packet rules do not know this name of the interface
	SharedTarget     ID = "shared-target"     // two mappings end at one port, and this kernel confuses their sockets
)

// Findings about targets on other hosts and on loopback addresses.
const (
	SourceHidden   ID = "source-hidden"   // the server sees this host's address as that of its clients
	ForwardingOff  ID = "forwarding-off"  // this host sends no packets on to other hosts
	ForwardDropped ID = "forward-dropped" // a chain of another tool drops what is sent on
	RouterIgnored  ID = "router-ignored"  // with IPv6 forwarding, an interface learns no routes from routers
	SwitchOff      ID = "switch-off"      // a switch of the kernel that a mapping needs could not be set
)

// Findings about rules of other tools.
const (
	ForeignRuleFirst ID = "foreign-rule-first" // another rule takes the packets before the mapping
	// another rule or the mapping: the chain that was made first decides
	ForeignRuleTied     ID = "foreign-rule-tied"
	ForeignRuleShadowed ID = "foreign-rule-shadowed" // the mapping takes the packets of another rule
	FirewallDrops       ID = "firewall-drops"        // a policy to drop keeps clients from the target port
	Untracked           ID = "untracked"             // a rule keeps the packets out of connection tracking
)

// Findings about the next boot, and about what takes rules away.
const (
	BootOff            ID = "boot-off"             // restore at boot is off
	BootMasked         ID = "boot-masked"          // the boot unit is masked
	BootOtherFile      ID = "boot-other-file"      // the mappings are not in the file that is restored
	BootFileHidden     ID = "boot-file-hidden"     // the boot unit does not see where the file really is
	BootFileUnreadable ID = "boot-file-unreadable" // the boot unit may not read the file
	FirewalldReload    ID = "firewalld-reload"     // a reload of firewalld takes the rules away
	WatchRunning       ID = "watch-running"        // a watch puts back what a flush takes away
)

// Findings about the rules in the kernel.
const (
	RulesMissing ID = "rules-missing" // a mapping is saved, and not in the kernel
	NotSaved     ID = "not-saved"     // a mapping is in the kernel, in no file, and not meant to be temporary
	RulesDamaged ID = "rules-damaged" // the rules are not as portmap leaves them
	// others put something among the rules, and they cannot be made again before it is out
	RulesForeign   ID = "rules-foreign"
	OtherBackend   ID = "other-backend"   // mappings are live in another backend than the one to be used
	OtherVariant   ID = "other-variant"   // this host has two variants of iptables
	FamilyMissing  ID = "family-missing"  // this host's iptables cannot do one address family
	ConntrackStale ID = "conntrack-stale" // connection tracking still has entries that a change made untrue
	TemporaryLost  ID = "temporary-lost"  // temporary mappings are gone, or cannot be put back
)

// Findings about files.
const (
	NoMappings     ID = "no-mappings"      // there is no mapping at all
	FileMissing    ID = "file-missing"     // there is no saved file
	FileInvalid    ID = "file-invalid"     // the saved file has an invalid line
	LineLeftOut    ID = "line-left-out"    // an invalid line was left out of what was applied
	ChangeLeftover ID = "change-leftover"  // what a killed change left behind cannot be removed
	OtherFile      ID = "other-file"       // another file holds the mapping
	OtherFileKeeps ID = "other-file-keeps" // mappings stay live, since another file holds them, too
	// a mapping of another file is taken away: it is in the way of this file's
	OtherFileConflict   ID = "other-file-conflict"
	OtherFileUnreadable ID = "other-file-unreadable" // it is not known which mappings another file holds
)

// Findings that only check looks for.
const (
	ConntrackFull     ID = "conntrack-full"     // connection tracking has hardly room for more connections
	EphemeralPort     ID = "ephemeral-port"     // an outgoing connection can take a target port
	CapabilityLeft    ID = "capability-left"    // the server's file may still bind privileged ports
	UnprivilegedPorts ID = "unprivileged-ports" // every user may listen on the listen port
	PortLeaked        ID = "port-leaked"        // the server tells clients the target port
	CertbotStandalone ID = "certbot-standalone" // a renewal listens where the mapping takes its packets
	UnitFailed        ID = "unit-failed"        // the boot unit failed
	TwoFiles          ID = "two-files"          // two files hold mappings of this host
	WatchStopped      ID = "watch-stopped"      // the watch is enabled and does not run
	IPv6Off           ID = "ipv6-off"           // the mapping is for IPv6, which is off
	InterfaceDown     ID = "interface-down"     // no packet can arrive on the interface
	ReversePath       ID = "rp-filter"          // the kernel drops clients whose answers would leave elsewhere
	BansBypassed      ID = "bans-bypassed"      // a source that a firewall bans reaches the mapping
	RedirectBack      ID = "redirect-back"      // another rule leads the target port to the listen port
	SocketBacklog     ID = "socket-backlog"     // the server does not accept the connections that wait
)

// Findings that packets show, which check sends.
const (
	RuleDrops      ID = "rule-drops"      // a rule drops or rejects clients
	CertainClients ID = "certain-clients" // rules let in certain clients, and the probe is none of them
	AnswerDropped  ID = "answer-dropped"  // a rule or a policy drops what the server answers
	NotTranslated  ID = "not-translated"  // somebody answers on the listen port, in the place of the mapping's server
	TargetRefuses  ID = "target-refuses"  // the server on another host refuses the connection
	TargetSilent   ID = "target-silent"   // the server on another host does not answer
	ConntrackDrops ID = "conntrack-drops" // connection tracking is full, and drops new connections
	KernelDrops    ID = "kernel-drops"    // the kernel dropped the packet, and no rule did
	ProbeUnsent    ID = "probe-unsent"    // the packet could not be sent
	Unexplained    ID = "unexplained"     // no server got the packet, and nothing says why
)

// kind is what all findings of one ID have in common.
type kind struct {
	id       ID
	severity Severity
	lead     string // what a remedy is for, as it stands before it
	warning  bool   // the message begins with "warning: "
}

// kinds is the table of all IDs, in the order in which they are documented.
var kinds = []kind{
	{id: NoServer, severity: Broken},
	{id: PortsSwapped, severity: Broken, lead: "to swap them"},
	{id: LoopbackOnly, severity: Broken, lead: "or map to that address", warning: true},
	{id: ServerPartly, severity: Broken},
	{id: ServerAddress, severity: Hint},
	{id: ServerBlocked, severity: Broken, warning: true},
	{id: ServerShadowed, severity: Risk, warning: true},
	{id: AddressAbsent, severity: Broken, warning: true},
	{id: InterfaceAbsent, severity: Broken, warning: true},
	{id: InterfaceAltname, severity: Broken, warning: true},
	{id: SharedTarget, severity: Risk, lead: "to prevent it", warning: true},

	{id: SourceHidden, severity: Hint},
	{id: ForwardingOff, severity: Broken, lead: "to switch it on", warning: true},
	{id: ForwardDropped, severity: Broken, lead: "to let only these pass", warning: true},
	{id: RouterIgnored, severity: Risk, lead: "to have that", warning: true},
	{id: SwitchOff, severity: Broken, warning: true},

	{id: ForeignRuleFirst, severity: Broken, lead: "to have the mapping come first", warning: true},
	{id: ForeignRuleTied, severity: Risk, warning: true},
	{id: ForeignRuleShadowed, severity: Risk, warning: true},
	{id: FirewallDrops, severity: Broken, lead: "to let in what is mapped, and nothing else", warning: true},
	{id: Untracked, severity: Broken, lead: "to have these tracked", warning: true},

	{id: BootOff, severity: Risk, lead: "to have that"},
	{id: BootMasked, severity: Risk, lead: "to change that"},
	{id: BootOtherFile, severity: Risk},
	{id: BootFileHidden, severity: Risk, lead: "to mend that"},
	{id: BootFileUnreadable, severity: Risk, lead: "to mend that"},
	{id: FirewalldReload, severity: Risk, lead: "to have them back each time"},
	{id: WatchRunning, severity: Hint, lead: "end it first"},

	{id: RulesMissing, severity: Broken, lead: "to put it there", warning: true},
	{id: NotSaved, severity: Risk, lead: "to save it"},
	{id: RulesDamaged, severity: Broken, lead: "to make them again", warning: true},
	{id: RulesForeign, severity: Broken, lead: "to take it out", warning: true},
	{id: OtherBackend, severity: Risk},
	{id: OtherVariant, severity: Hint},
	{id: FamilyMissing, severity: Risk, warning: true},
	{id: ConntrackStale, severity: Risk, lead: "to have that", warning: true},
	{id: TemporaryLost, severity: Broken, warning: true},

	{id: NoMappings, severity: Hint, lead: "the first one"},
	{id: FileMissing, severity: Hint},
	{id: FileInvalid, severity: Broken, warning: true},
	{id: LineLeftOut, severity: Broken, warning: true},
	{id: ChangeLeftover, severity: Hint, warning: true},
	{id: OtherFile, severity: Hint},
	{id: OtherFileKeeps, severity: Hint},
	{id: OtherFileConflict, severity: Broken, warning: true},
	{id: OtherFileUnreadable, severity: Risk, warning: true},

	{id: ConntrackFull, severity: Risk, lead: "to double it", warning: true},
	{id: EphemeralPort, severity: Risk, lead: "to reserve it"},
	{id: CapabilityLeft, severity: Risk, lead: "to remove that"},
	{id: UnprivilegedPorts, severity: Risk, lead: "to end that"},
	{id: PortLeaked, severity: Risk, warning: true},
	{id: CertbotStandalone, severity: Risk, lead: "to have it answer there", warning: true},
	{id: UnitFailed, severity: Risk, lead: "when that is mended", warning: true},
	{id: TwoFiles, severity: Hint},
	{id: WatchStopped, severity: Risk, lead: "to start it", warning: true},
	{id: IPv6Off, severity: Broken, lead: "to switch it on", warning: true},
	{id: InterfaceDown, severity: Broken, lead: "to bring it up", warning: true},
	{id: ReversePath, severity: Risk, lead: "to accept them", warning: true},
	{id: BansBypassed, severity: Risk, lead: "to ban them there, too", warning: true},
	{id: RedirectBack, severity: Risk},
	{id: SocketBacklog, severity: Broken, warning: true},

	{id: RuleDrops, severity: Broken, lead: "to let these pass"},
	{id: CertainClients, severity: Hint},
	{id: AnswerDropped, severity: Broken, lead: "to let these pass"},
	{id: NotTranslated, severity: Broken},
	{id: TargetRefuses, severity: Broken},
	{id: TargetSilent, severity: Broken},
	{id: ConntrackDrops, severity: Broken, lead: "to make room"},
	{id: KernelDrops, severity: Broken},
	{id: ProbeUnsent, severity: Broken},
	{id: Unexplained, severity: Broken},
}

// IDs returns every ID, in the order in which they are documented.
func IDs() []ID {
	var ids []ID
	for _, k := range kinds {
		ids = append(ids, k.id)
	}
	return ids
}

// kindOf returns the zero kind for an ID that is not in the table.
func kindOf(id ID) kind {
	for _, k := range kinds {
		if k.id == id {
			return k
		}
	}
	return kind{}
}
