package ipt_test

import (
	"context"
	"fmt"
	"log"

	"portmap/ipt"
	"portmap/rules"
)

// It needs root, and iptables: it is compiled only.
func Example() {
	ctx := context.Background()
	m, err := rules.Parse("443:8443/tcp,udp --name shop")
	if err != nil {
		log.Fatal(err)
	}
	backend, err := ipt.Open(ctx, ipt.Options{}) // of iptables-nft and iptables-legacy the one in use
	if err != nil {
		log.Fatal(err)
	}
	if err := backend.Apply(ctx, rules.Change{Add: []rules.Mapping{m}}); err != nil {
		log.Fatal(err)
	}
	live, err := backend.Live(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range live.Mappings {
		fmt.Println(l.Mapping, l.Connections)
	}
	if err := backend.Close(); err != nil { // the rules stay
		log.Fatal(err)
	}
}
