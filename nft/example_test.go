package nft_test

import (
	"context"
	"fmt"
	"log"

	"portmap/nft"
	"portmap/rules"
)

// It needs CAP_NET_ADMIN, and a kernel with nf_tables: it is compiled only.
func Example() {
	ctx := context.Background()
	m, err := rules.Parse("443:8443/tcp,udp --name shop")
	if err != nil {
		log.Fatal(err)
	}
	backend, err := nft.Open()
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

// Reset takes out whatever is there of ours, whole or damaged, and puts in what is to be: in one transaction.
func ExampleBackend_Apply() {
	ctx := context.Background()
	backend, err := nft.Open()
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	live, err := backend.Live(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	if live.Damaged == "" {
		return
	}
	set, err := live.Set()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(backend.Apply(ctx, rules.Change{Reset: true, Remove: set.Mappings(), Add: set.Mappings()}))
}
