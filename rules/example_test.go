package rules_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"portmap/rules"
)

// Two mappings make a Set, and the Set says where a packet goes.
func Example() {
	var mappings []rules.Mapping
	for _, text := range []string{"443:8443/tcp,udp --name shop", "80:8080 --source 10.0.0.0/8"} {
		m, err := rules.Parse(text)
		if err != nil {
			fmt.Println(err)
			return
		}
		mappings = append(mappings, m)
	}
	set, err := rules.NewSet(mappings...)
	if err != nil {
		fmt.Println(err)
		return
	}
	decision, mapped := set.Route(rules.Packet{
		Protocol:         rules.UDP,
		Source:           netip.MustParseAddr("198.51.100.1"),
		Destination:      netip.MustParseAddrPort("192.0.2.7:443"),
		DestinationLocal: true,
	})
	fmt.Println(mapped, decision.Mapping.Name(), decision.To)
	// Output: true shop [192.0.2.7:8443]
}

func ExampleNew() {
	m, err := rules.New(rules.Parts{
		ListenPorts: rules.Ports{First: 8000, Last: 8010},
		TargetPorts: rules.Ports{First: 9000, Last: 9010},
		Protocols:   rules.TCP | rules.UDP,
		Sources:     []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
	})
	fmt.Println(m, err)

	_, err = rules.New(rules.Parts{ListenPorts: rules.Ports{First: 443}, TargetPorts: rules.Ports{First: 443}})
	fmt.Println(err)
	// Output:
	// 8000-8010:9000-9010/tcp,udp --source 2001:db8::/32 <nil>
	// 443:443/tcp: maps to itself
}

// A mapping does not change: another one is made of its parts.
func ExampleMapping_Parts() {
	m, _ := rules.Parse("443:8443 --name shop")
	parts := m.Parts()
	parts.TargetPorts = rules.Ports{First: 9443}
	moved, err := rules.New(parts)
	fmt.Println(moved, err)
	// Output: 443:9443/tcp --name shop <nil>
}

func ExampleMapping_Options() {
	m, _ := rules.Parse("5432:15432 --source 10.0.0.0/8 -4 --temporary --name db")
	fmt.Println(m.Spec())
	for _, o := range m.Options() {
		fmt.Printf("%s=%q is written %s\n", o.Name, o.Value, o)
	}
	// Output:
	// 5432:15432/tcp
	// name="db" is written --name db
	// source="10.0.0.0/8" is written --source 10.0.0.0/8
	// temporary="" is written --temporary
}

// The server is on this host, or it has an address.
func ExampleMapping_TargetOf() {
	for _, text := range []string{"8000-8010:9000-9010", "443:10.0.0.5:8443,10.0.0.6:8443"} {
		m, _ := rules.Parse(text)
		port, here := m.TargetOf(8003)
		fmt.Println(port, here, m.Targets())
	}
	// Output:
	// 9003 true []
	// 0 false [{10.0.0.5 8443} {10.0.0.6 8443}]
}

// With services, ports can be named.
func ExampleParser() {
	services := func(network, name string) (int, error) {
		if network == "tcp" && name == "https" {
			return 443, nil // net.LookupPort asks /etc/services
		}
		return 0, &net.DNSError{Err: "unknown port", Name: name}
	}
	parser := rules.Parser{Services: services}
	fmt.Println(parser.Parse("https:8443 # the shop"))
	fmt.Println(parser.ParseWords([]string{"https:8443", "--name", "the shop"}))
	// Output:
	// 443:8443/tcp <nil>
	//  https:8443: --name the shop: not a name
}

// An error has what was wrong and what would be right.
func ExampleInvalidError() {
	_, err := rules.Parse("443:8443 --source 10.0.0.5/8")
	var invalid *rules.InvalidError
	if errors.As(err, &invalid) {
		fmt.Println(err)
		fmt.Println(invalid.Remedy())
	}
	// Output:
	// 443:8443: --source 10.0.0.5/8: has bits beyond /8
	// write 10.0.0.0/8
}

func ExampleSet_Add() {
	shop, _ := rules.Parse("443:8443 --name shop")
	other, _ := rules.Parse("192.0.2.7:443:9443")
	set, _ := rules.NewSet(shop)
	_, err := set.Add(other)
	fmt.Println(err)
	// Output: 192.0.2.7:443:9443/tcp: 443/tcp is already taken by 443:8443/tcp --name shop
}

// A backend takes the change that leads from one Set to another.
func ExampleSet_Diff() {
	before, _ := rules.Parse("443:8443")
	after, _ := rules.Parse("443:9443")
	from, _ := rules.NewSet(before)
	to, _ := rules.NewSet(after)
	change := from.Diff(to)
	fmt.Println("remove", change.Remove, "add", change.Add)
	fmt.Println("back:", change.Inverse().Remove, change.Inverse().Add)
	// Output:
	// remove [443:8443/tcp] add [443:9443/tcp]
	// back: [443:9443/tcp] [443:8443/tcp]
}
