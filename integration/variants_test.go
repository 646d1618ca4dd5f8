package integration

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/ipt"
	"portmap/rules"
)

// Of two variants the one is taken that holds our rules, else the one that holds more of others, else what `iptables`
// means.
func TestVariantInUse(t *testing.T) {
	open := func(h *lab.Host) (used ipt.Variant) {
		h.Do(func() {
			b, err := ipt.Open(context.Background(), ipt.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			used, _ = b.Variants()
		})
		return used
	}
	nft, legacy := backends()[1], backends()[2]
	host := lab.New(t).Host("host")
	if got := open(host); got != ipt.NFTables { // Debian's alternative
		t.Errorf("with no rules at all it is %s", got)
	}
	legacy.prefer(host)
	if got := open(host); got != ipt.Legacy {
		t.Errorf("with rules in iptables-legacy it is %s", got)
	}
	nft.add(t, host, "443:8443")
	if got := open(host); got != ipt.NFTables {
		t.Errorf("with our rules in iptables-nft it is %s", got)
	}
}

// Rules in both variants: list says so, apply and flush take those away that are not used.
func TestRulesInBothVariants(t *testing.T) {
	for _, last := range []string{"apply", "flush"} {
		t.Run(last, func(t *testing.T) {
			nft, legacy := backends()[1], backends()[2]
			host, _ := nft.pair(t)
			p := nft.command(t, host)
			p.run("add", "443:8443")
			legacy.add(t, host, "443:8443", "81:8081")
			if r := p.try("list"); !strings.Contains(r.Err,
				"iptables-legacy holds rules of portmap, beside iptables-nft") {
				t.Errorf("list says %+v", r)
			}
			p.run(last)
			if rest := ownRules(legacy.save(host)); rest != "" {
				t.Errorf("left in iptables-legacy:\n%s", rest)
			}
			if got := ownRules(nft.save(host)); (got == "") != (last == "flush") {
				t.Errorf("in iptables-nft are\n%s", got)
			}
		})
	}
}

// A variant that is there and cannot be used, as in the sandbox of a boot unit, does not keep the other from working.
func TestOtherVariantIsBroken(t *testing.T) {
	nft, legacy := backends()[1], backends()[2]
	host, client := nft.pair(t) // whose iptables-legacy holds rules
	host.Echo("tcp", "192.0.2.1:8443")
	broken := map[string]string{}
	for _, tool := range legacy.tools {
		for _, suffix := range []string{"", "-save", "-restore"} {
			broken[tool+suffix] = "echo 'Address family not supported by protocol' >&2; exit 1"
		}
	}
	folders := []string{nft.programs(t, nil), legacy.programs(t, broken)}
	b := nft
	b.open = func() (rules.Backend, error) { return ipt.Open(context.Background(), ipt.Options{Folders: folders}) }
	b.add(t, host, "443:8443")
	b.change(t, host, rules.Change{Reset: true, Remove: lab.Mappings(t, "443:8443"),
		Add: lab.Mappings(t, "443:8443", "80:8080")})
	if live := b.live(t, host); texts(live) != "80:8080/tcp\n443:8443/tcp" || live.Damaged != "" {
		t.Errorf("live are %s; %s", texts(live), live.Damaged)
	}
	if answer, err := client.Ask("tcp", "", "192.0.2.1:443"); err != nil || answer.Server.Port() != 8443 {
		t.Errorf("%+v, %v", answer, err)
	}
}

// -v names the variant, its version and the program.
func TestDescribe(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		var says string
		host.Do(func() {
			if opened, err := b.open(); err == nil {
				says = opened.(*ipt.Backend).Describe(context.Background())
			}
		})
		if !regexp.MustCompile(`^` + b.name + ` \d+\.\d+\.\d+ \(/.+iptables.*\)$`).MatchString(says) {
			t.Errorf("Describe says %q", says)
		}
	})
}

// With root's rights nobody's PATH chooses what runs.
func TestPathIsNotTrusted(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, _ := b.pair(t)
		p := b.command(t, host)
		script := fmt.Sprintf("touch %q; exit 1", p.file+".ran")
		replaced := map[string]string{}
		for _, tool := range b.tools {
			replaced[tool], replaced[tool+"-save"], replaced[tool+"-restore"] = script, script, script
		}
		cmd := p.cmd("add", "443:8443")
		cmd.Env = []string{"PATH=" + b.programs(t, replaced) + ":/usr/bin", "XTABLES_LIBDIR=" + t.TempDir()}
		if r := host.TryCommand(cmd); r.Code != 0 {
			t.Errorf("%+v", r)
		}
		if _, err := os.Stat(p.file + ".ran"); err == nil {
			t.Error("a program of the PATH was run")
		}
		consistent(t, p)
	})
}
