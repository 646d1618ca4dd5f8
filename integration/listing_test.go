package integration

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/ipt"
	"portmap/rules"
)

// firstThen is a script that filters what a program prints with other, the first time that it is asked for the table
// nat, or each time.
func firstThen(t *testing.T, program, filter string, always bool) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	condition := `case "$*" in *nat*) ;; *) exec ` + path + ` "$@";; esac`
	if !always {
		once := filepath.Join(t.TempDir(), "once")
		condition += fmt.Sprintf("\nif [ -e %[1]s ]; then exec %[2]s \"$@\"; fi; : > %[1]s", once, path)
	}
	return condition + "\n" + path + ` "$@" | ` + filter
}

// An iptables-save that prints less than there is and exits with 0, as iptables-nft-save does when the kernel does not
// answer it: what it left out is not taken for gone.
func TestListingIsNotWhole(t *testing.T) {
	lost := map[string]string{
		"a chain":       "sed '/:PORTMAP/d; /PORTMAP/d'",
		"a jump":        "sed '/-A PREROUTING.*! --dst-type/d'",
		"a mapping":     "sed '/443:8443/d'",
		"all":           "true",
		"the end":       "sed '/^COMMIT/d'",
		"text of jumps": "sed 's/ --limit-iface-in//'",
	}
	onlyNFT := map[string]bool{"a chain": true, "a jump": true, "a mapping": true}
	eachVariant(t, func(t *testing.T, b backend) {
		for name, filter := range lost {
			if onlyNFT[name] && b.name != string(ipt.NFTables) {
				continue // iptables-legacy-save gets a table from the kernel in one piece
			}
			t.Run(name, func(t *testing.T) {
				host, _ := b.barePair(t)
				b.add(t, host, "443:8443")
				save := b.tools[0] + "-save"
				for _, always := range []bool{false, true} {
					part := b.in(b.programs(t, map[string]string{save: firstThen(t, save, filter, always)}))
					var live rules.Live
					var err error
					host.Do(func() {
						var k rules.Backend
						if k, err = part.open(); err == nil {
							defer k.Close()
							live, err = k.Live(context.Background())
						}
					})
					switch {
					case err == nil && live.Damaged == "" && texts(live) == "443:8443/tcp":
					case err == nil && always && name == "text of jumps": // what a later version may print is not known
					case err == nil:
						t.Errorf("always %t: live are %q, damaged: %q", always, texts(live), live.Damaged)
					case !always && !strings.Contains(err.Error(), "a part"):
						t.Errorf("%v", err)
					}
				}
			})
		}
	})
}

// A look at the other variant that failed for the moment has not found out that it is not in use. A kernel that lacks
// it has.
func TestLookAtOtherVariantFails(t *testing.T) {
	nft, legacy := backends()[1], backends()[2]
	host, _ := legacy.barePair(t)
	legacy.add(t, host, "443:8443")
	for says, known := range map[string]bool{
		"iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist (do you need to " +
			"insmod?)": true,
		"iptables v1.8.9 (legacy): can't initialize iptables table `nat': Permission denied (you must be root)": true,
		"iptables v1.8.9 (legacy): can't initialize iptables table `nat': Input/output error":                   false,
		"getsockopt failed strangely: Input/output error":                                                       false,
	} {
		failing := fmt.Sprintf("cat >&2 <<'END'\n%s\nEND\nexit 3", says)
		all := map[string]string{}
		for _, tool := range legacy.tools {
			all[tool], all[tool+"-save"] = failing, failing
		}
		options := ipt.Options{Folders: []string{nft.programs(t, nil), legacy.programs(t, all)}}
		var present bool
		var presentErr, openErr error
		host.Do(func() {
			present, presentErr = ipt.Present(context.Background(), options)
			var b *ipt.Backend
			if b, openErr = ipt.Open(context.Background(), options); openErr == nil {
				defer b.Close()
			}
		})
		if present || (presentErr == nil) != known || (openErr == nil) != known {
			t.Errorf("%s: present is %t, %v; opening: %v", says, present, presentErr, openErr)
		}
	}
}

// A Reset is right whatever is there, also if that is no longer what was read for it.
func TestResetAfterChangeOfOthers(t *testing.T) {
	eachVariant(t, func(t *testing.T, b backend) {
		host, _ := b.barePair(t)
		b.add(t, host, "443:8443", "80:8080")
		b.with(t, host, func(k rules.Backend) error {
			if _, err := k.Live(context.Background()); err != nil {
				return err
			}
			for _, tool := range b.tools {
				host.Run(tool, "-t", "nat", "-D", "PORTMAP", "2")
				host.Run(tool, "-t", "nat", "-D", "PORTMAP", "1")
			}
			return k.Apply(context.Background(), rules.Change{Reset: true, Add: lab.Mappings(t, "81:8081", "443:8443")})
		})
		if live := b.live(t, host); live.Damaged != "" || texts(live) != "81:8081/tcp\n443:8443/tcp" {
			t.Errorf("live are %q, damaged: %q", texts(live), live.Damaged)
		}
	})
}
