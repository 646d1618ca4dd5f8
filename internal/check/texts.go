package check

import (
	"context"
	"os/exec"
	"strings"

	"portmap/internal/nftext"
	"portmap/internal/others"
	"portmap/internal/trace"
	"portmap/ipt"
)

// Texts has the rules that packets met, as their tools list them. What was read is kept. The zero Texts is ready.
type Texts struct {
	nft    nftext.Reader
	saved  map[string]string // what iptables-nft lists, by program and table
	chains others.Chains     // what was read of the ways to where packets were stopped
}

// Refresh forgets what was read, if rules have changed since the last call.
func (t *Texts) Refresh() error {
	changed, err := t.nft.Refresh()
	if changed {
		t.saved, t.chains = nil, others.Chains{}
	}
	return err
}

// Close lets go of the kernel.
func (t *Texts) Close() error { return t.nft.Close() }

// rule returns the rule of a hop.
func (t *Texts) rule(ctx context.Context, p *trace.Packet, hop *trace.Hop) (nftext.Rule, error) {
	system, program := systemOf(p, hop)
	return t.read(ctx, others.Place{System: system, Family: hop.Family, Table: hop.Table, Chain: hop.Chain,
		Number: hop.Handle}, program)
}

// read returns a rule of nf_tables. That of iptables-nft is written as its program does.
func (t *Texts) read(ctx context.Context, at others.Place, program string) (nftext.Rule, error) {
	rule, err := t.nft.Rule(at.Family, at.Table, at.Chain, at.Number)
	if err == nil && at.System == others.IPTables {
		if text := t.line(ctx, program, at.Table, at.Chain, rule.Number); text != "" {
			rule.Text = text
		}
	}
	return rule, err
}

// line returns a rule as iptables-nft lists it: "-A INPUT -p tcp --dport 8443 -j DROP". It is "" where that cannot be.
func (t *Texts) line(ctx context.Context, program, table, chain string, number int) string {
	key := program + " " + table
	if _, known := t.saved[key]; !known {
		cmd := exec.CommandContext(ctx, ipt.Program(program+"-save"), "-t", table)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
		text, err := cmd.Output()
		if err != nil {
			text = nil
		}
		if t.saved == nil {
			t.saved = map[string]string{}
		}
		t.saved[key] = string(text)
	}
	for line := range strings.Lines(t.saved[key]) {
		if !strings.HasPrefix(line, "-A "+chain+" ") {
			continue
		}
		if number--; number == 0 {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
