package integration

import (
	"context"
	"strings"
	"testing"

	"portmap/internal/lab"
	"portmap/ipt"
	"portmap/rules"
)

// A program that is killed while it looks for the mappings, by an out-of-memory killer for example, has not said that
// there are none: no others are put into the other variant.
func TestLookAtOtherVariantIsKilled(t *testing.T) {
	nft, legacy := backends()[1], backends()[2]
	host, _ := legacy.barePair(t)
	legacy.add(t, host, "443:8443")
	killed := legacy.programs(t, map[string]string{legacy.tools[0]: "kill -9 $$"})
	var err error
	host.Do(func() {
		var b rules.Backend
		b, err = ipt.Open(context.Background(), ipt.Options{Folders: []string{nft.programs(t, nil), killed}})
		if err == nil {
			err = b.Apply(context.Background(), rules.Change{Add: lab.Mappings(t, "80:8080")})
		}
	})
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the error is %v", err)
	}
	if live := nft.live(t, host); strings.Contains(texts(live), "80:8080") {
		t.Errorf("in the other variant live are %s", texts(live))
	}
}
