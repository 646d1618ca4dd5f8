package integration

import (
	"cmp"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portmap/internal/finding"
	"portmap/internal/lab"
)

// checkedHost is a host with a mapping, and a client of it.
type checkedHost struct {
	*testing.T
	b            backend
	p            portmap
	host, client *lab.Host
	net          *lab.Net
	asks         []question
	servers      []func()  // what ends each of the host's servers
	far          *lab.Host // of a router: the host with the server
	lead         string    // what a shell has besides
	more         any       // what one cause needs for its cure
}

// question is what a client asks: "tcp 192.0.2.1:443".
type question string

func (q question) parts() (network, to string) {
	network, to, _ = strings.Cut(string(q), " ")
	return network, to
}

// newCheckedHost makes a host whose clients reach it at 192.0.2.1 and 2001:db8::1, and has portmap add a mapping. Its
// servers run as the owner of --owner, where this process has several users.
func newCheckedHost(t *testing.T, b backend, words string, serve []string) *checkedHost {
	n := lab.New(t)
	s := &checkedHost{T: t, b: b, net: n, host: n.Host("host"), client: n.Host("client")}
	n.Link(s.host, "192.0.2.1/24", "2001:db8::1/64", s.client, "192.0.2.2/24", "2001:db8::2/64")
	b.prefer(s.host)
	s.p = b.command(t, s.host)
	for _, server := range serve {
		s.serve(server)
	}
	if words != "" {
		s.p.run(append([]string{"add", "-q"}, strings.Fields(words)...)...)
	}
	return s
}

// serve starts a server of the host: "tcp [::]:8443".
func (s *checkedHost) serve(what string) {
	s.Helper()
	network, address := question(what).parts()
	uid := 0
	if lab.UnprivilegedUID() != 0 {
		uid = owner
	}
	s.servers = append(s.servers, s.host.EchoAs(uid, network, address))
}

// endServers ends all servers of the host.
func (s *checkedHost) endServers() {
	for _, end := range s.servers {
		end()
	}
	s.servers = nil
}

// run runs commands on the host, one a line.
func (s *checkedHost) run(script string) {
	s.Helper()
	if r := s.host.TryCommand(s.shell(script)); r.Code != 0 {
		s.Fatalf("%s: exit %d\n%s%s", script, r.Code, r.Out, r.Err)
	}
}

// shell is a shell in which commands can be pasted: it has portmap, and sudo for root, who needs none. iptables-legacy
// has one lock for all hosts otherwise.
func (s *checkedHost) shell(script string) *exec.Cmd {
	lead := "set -e\nsudo() { \"$@\"; }\nportmap() { \"$PORTMAP\" \"$@\"; }\n"
	cmd := exec.Command("sh", "-c", lead+s.lead+script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PORTMAP=" + s.p.path,
		"XTABLES_LOCKFILE=" + filepath.Join(filepath.Dir(s.p.file), "xtables.lock")}
	return cmd
}

// reached reports whether the client is answered by the mapping's server, on port 8443 or that of a test.
func (s *checkedHost) reached(q question, within time.Duration) bool {
	network, to := q.parts()
	answer, err := s.client.AskWithin(within, network, "", to)
	return err == nil && answer.Server.IsValid() && answer.Server.Port() != 443
}

// comes reports whether the client is answered soon: an interface that was just brought up loses packets.
func (s *checkedHost) comes(q question) bool {
	for range 10 {
		if s.reached(q, time.Second) {
			return true
		}
	}
	return false
}

// direct says what becomes of a client that goes past the mapping.
func (s *checkedHost) direct() string {
	answer, err := s.client.AskWithin(silence, "tcp", "", "192.0.2.1:8443")
	switch {
	case answer.Refused:
		return "refused"
	case answer.TimedOut:
		return "dropped"
	case err != nil:
		return "rejected"
	}
	return "answered"
}

// ruleset returns all rules of the host, without counters.
func (s *checkedHost) ruleset() string {
	s.Helper()
	all := s.host.Run("nft", "-s", "list", "ruleset") + s.host.Run("iptables-legacy-save") +
		s.host.Run("ip6tables-legacy-save")
	for _, nothing := range [...]string{`(?m)^#.*\n`, `(?m) \[\d+:\d+\]$`, // chains that iptables makes before any rule
		`(?m)^\tchain [A-Z]+ \{\n\t\ttype [a-z]+ hook [a-z]+ priority [-a-z0-9]+; policy accept;\n\t\}\n\n?`,
		`(?m)^table ip6? [a-z]+ \{\n\}\n`} {
		all = regexp.MustCompile(nothing).ReplaceAllString(all, "")
	}
	return strings.ReplaceAll(all, "\t}\n\n}", "\t}\n}")
}

// checked is what `check -o json` says.
type checked struct {
	Code     int    `json:"-"`
	Err      string `json:"-"`
	Clean    bool
	Mappings []struct {
		Mapping, Status string
		Findings        []checkedFinding
	}
	Host     []checkedFinding
	Unprobed *string
	Left     int
}

type checkedFinding struct {
	ID             finding.ID
	Severity, Text string
	Remedy, Undo   string
}

func (c checked) findings() (list []checkedFinding) {
	for _, m := range c.Mappings {
		list = append(list, m.Findings...)
	}
	return append(list, c.Host...)
}

// ids returns what was found, in order.
func (c checked) ids() (ids []finding.ID) {
	for _, f := range c.findings() {
		ids = append(ids, f.ID)
	}
	return ids
}

// check runs check.
func (s *checkedHost) check(args ...string) (c checked) {
	s.Helper()
	r := s.p.try(append([]string{"check", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.Out), &c); err != nil {
		s.Fatalf("check: exit %d, %v\n%s%s", r.Code, err, r.Out, r.Err)
	}
	c.Code, c.Err = r.Code, r.Err
	return c
}

// each runs a test for each host of a table, several at a time: most of a check is waiting.
func each[T any](t *testing.T, table []T, name func(T) string, test func(*testing.T, T)) {
	const atOnce = 6
	slots := make(chan bool, atOnce)
	var wait sync.WaitGroup
	for _, one := range table {
		wait.Add(1)
		slots <- true
		go func() {
			defer func() { <-slots; wait.Done() }()
			t.Run(name(one), func(t *testing.T) { test(t, one) })
		}()
	}
	wait.Wait()
}

// check names the one cause for which clients do not reach a server, as the first finding. Its cure, pasted, cures it,
// and opens nothing else.
func TestCheckNamesTheCause(t *testing.T) {
	each(t, brokenHosts(), func(h brokenHost) string { return h.cause }, func(t *testing.T, h brokenHost) {
		if h.users {
			needUsers(t)
		}
		s := h.make(t)
		for _, q := range s.asks {
			if !h.now && !s.comes(q) {
				t.Fatalf("%s is not answered before anything is wrong", q)
			}
		}
		h.breaks(s)
		found := s.check(h.only...)
		code := 1
		if (finding.Finding{ID: h.finds}).Severity() == finding.Hint {
			code = 0
		}
		if want := append([]finding.ID{h.finds}, h.also...); found.Code != code || !slices.Equal(found.ids(), want) {
			t.Fatalf("exit %d, found %+v, not only %v\n%s", found.Code, found.findings(), want, found.Err)
		}
		first := found.findings()[0]
		if first.Severity == string(finding.Broken) && !slices.ContainsFunc(s.asks, func(q question) bool {
			return !s.reached(q, silence)
		}) {
			t.Error("clients are answered all the same")
		}
		rules := s.cure(h, first)
		if again := s.check(h.only...); again.Code != 0 || len(again.ids()) > 0 {
			t.Errorf("after the cure: exit %d, %+v", again.Code, again.findings())
		}
		if first.Undo == "" {
			return
		}
		s.run(first.Undo)
		if after := s.ruleset(); after != rules {
			t.Errorf("after %s the rules are not what they were:\n%s", first.Undo, lineDiff(rules, after))
		}
	})
}

// cure types the remedy of a finding, or does what no command does, and looks at what came of it. It returns the rules
// as they were before, if the cure can be taken back.
func (s *checkedHost) cure(h brokenHost, f checkedFinding) (rules string) {
	s.Helper()
	before := s.direct()
	if f.Undo != "" {
		rules = s.ruleset()
	}
	switch {
	case h.hand != nil && f.Remedy != "":
		s.Errorf("there is a remedy, which is not tried: %s", f.Remedy)
	case h.hand != nil:
		h.hand(s)
	case f.Remedy == "":
		s.Fatalf("there is no remedy: %s", f.Text)
	default:
		s.run(f.Remedy)
		if h.then != nil {
			h.then(s)
		}
	}
	for _, q := range s.asks {
		if !s.comes(q) {
			s.Errorf("%s is not answered after %s", q, cmp.Or(f.Remedy, "the cure"))
		}
	}
	if after := s.direct(); h.hand == nil && !h.cutOff && before != "answered" && after != before {
		s.Errorf("8443 itself was %s, and is %s after %s", before, after, f.Remedy)
	}
	return rules
}

// twoCauses is a host with two faults.
type twoCauses struct {
	name   string
	breaks func(*checkedHost)
	want   []finding.ID
}

// Of two causes both are named, in the order in which a packet meets them. A server that answers in the place of the
// mapping's is not taken for it.
func TestCheckNamesBothCauses(t *testing.T) {
	policy := inputOf("drop", "")
	notrack := tableOf("inet fast", "pre", "filter hook prerouting priority raw", "tcp dport 443 notrack")
	each(t, []twoCauses{
		{"not tracked, and nobody listens", func(s *checkedHost) { loaded(notrack)(s); s.endServers() },
			[]finding.ID{finding.Untracked, finding.NoServer}},
		{"not tracked, and another server answers", func(s *checkedHost) {
			loaded(notrack)(s)
			s.serve("tcp [::]:443")
		}, []finding.ID{finding.Untracked, finding.ServerShadowed}},
		{"dropped, and listens on loopback only", func(s *checkedHost) {
			loaded(inputOf("accept", "tcp dport 8443 drop"))(s)
			s.endServers()
			s.serve("tcp 127.0.0.1:8443")
		}, []finding.ID{finding.RuleDrops, finding.LoopbackOnly}},
		{"flushed, and a policy to drop", func(s *checkedHost) {
			s.b.flush(s.host)
			loaded(policy)(s)
		}, []finding.ID{finding.RulesMissing, finding.FirewallDrops}},
		{"dropped before it is translated, and by a policy", twoDrops,
			[]finding.ID{finding.RuleDrops, finding.FirewallDrops}},
	}, func(c twoCauses) string { return c.name }, func(t *testing.T, c twoCauses) {
		s := brokenHost{}.make(t)
		c.breaks(s)
		found := s.check()
		if found.Code != 1 || !slices.Equal(found.ids(), c.want) || found.Mappings[0].Status == "reachable" {
			t.Errorf("exit %d, %s, found %+v", found.Code, found.Mappings[0].Status, found.findings())
		}
	})
}

// twoDrops drops clients at two places. Both cures can be taken back.
func twoDrops(s *checkedHost) {
	loaded(tableOf("inet early", "pre", "filter hook prerouting priority raw", "tcp dport 443 drop") + "\n" +
		inputOf("drop", ""))(s)
}
