package reconcile

import (
	"portmap/nft"
	"portmap/rules"
)

// OpenBackend opens the packet filter that choice names: auto, nft or iptables. For auto it is what the file fixes, else nft.
func OpenBackend(choice, saved string) (rules.Backend, error) {
	if choice == "auto" {
		choice = "nft"
		if saved != "" {
			choice = saved
		}
	}
	switch choice {
	case "nft":
		b, err := nft.Open()
		if err != nil {
			return nil, err
		}
		return b, nil
	case "iptables":
		return nil, &rules.UnsupportedError{Part: "--backend iptables"}
	}
	return nil, &rules.InvalidError{Mapping: "--backend", Part: choice, Why: "not a backend", Fix: "write auto, nft or iptables"}
}
