package ipt

import (
	"strconv"
	"strings"
)

// share is the part of the connections that a rule matches, of one of several targets. The zero value is all of them.
//
// Without a hash it is the first of each `of` that reach the rule: the rules of the targets stand one behind the other,
// so that the first of three takes every third connection, and the second every other one of the rest. With a hash it
// is the clients whose address has the hash number, of as many as there are targets.
type share struct {
	of     int
	hashed bool
	number int
}

// stickySeed is the seed of the hash that gives clients to targets. It never changes. With it the match cluster gives
// an IPv4 client the same number as nf_tables does (net/netfilter/xt_cluster.c, xt_cluster_hash; nft_hash.c,
// nft_jhash_eval). Of an IPv6 address it takes the first 32 bits only.
const stickySeed = 0x706f7274

const hexPrefix = "0x"

func (s share) words() []string {
	switch {
	case s.of == 0:
		return nil
	case s.hashed:
		mask := strconv.FormatUint(1<<s.number, 16)
		return []string{"-m", "cluster",
			"--cluster-local-nodemask", hexPrefix + strings.Repeat("0", 8-len(mask)) + mask,
			"--cluster-total-nodes", strconv.Itoa(s.of),
			"--cluster-hash-seed", hexPrefix + strconv.FormatInt(stickySeed, 16)}
	}
	return []string{"-m", "statistic", "--mode", "nth", "--every", strconv.Itoa(s.of), "--packet", "0"}
}

// shareIn reads a share at the front of words, in the form in which it is written, and returns how many words it has.
func shareIn(words []string) (s share, length int) {
	const each, hash = 8, 8
	number := func(at int) int {
		n, err := strconv.ParseUint(words[at], 0, 33)
		if err != nil {
			return 0
		}
		return int(n)
	}
	switch {
	case len(words) >= each && words[1] == "statistic":
		s, length = share{of: number(5)}, each
	case len(words) >= hash && words[1] == "cluster":
		mask := number(3)
		for s = (share{of: number(5), hashed: true}); mask > 1; mask /= 2 {
			s.number++
		}
		length = hash
	default:
		return share{}, 0
	}
	if strings.Join(s.words(), " ") != strings.Join(words[:length], " ") {
		return share{}, 0
	}
	return s, length
}
