package nft

import "github.com/google/nftables"

const (
	tableName            = "portmap"
	chainPrerouting      = "prerouting"
	chainOutput          = "output"
	chainGuardPrerouting = "guard_prerouting"
	chainGuardOutput     = "guard_output"
	chainMapped          = "mapped"
	chainInvalid         = "invalid"
	chainGuardInput      = "guard_input"
	chainOwner           = "owner"
	chainRefuse          = "refuse"
	chainTexts           = "texts"
	chainRemote          = "remote"
	chainLoopback        = "loopback"
	chainGuardLoopback   = "guard_loopback"
	chainPostrouting     = "postrouting"
	setTargets           = "targets"
)

// mark is the comment of each set and map of ours. A table `inet portmap` in which no set has it is somebody else's.
const mark = "made by portmap"

func table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
}
