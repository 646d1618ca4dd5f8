package rules

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Users resolves the name of a user. The error says why that is not possible.
type Users func(name string) (uid uint32, err error)

// noUser is the uid that no user has: (uid_t)-1 says "no change" to chown(2) and setreuid(2).
const noUser = 1<<32 - 1

// setOwner takes the owner. A uid gets its shortest form.
func setOwner(m *Mapping, value string) *InvalidError {
	e := m.edit()
	e.owner = value
	if err := checkUser(value); err != nil {
		return err
	}
	if !isNumber(value) {
		return nil
	}
	uid, err := strconv.ParseUint(value, 10, 32)
	if err != nil || uid == noUser {
		return &InvalidError{Part: value, Why: "not a uid", Fix: "a uid is at most 4294967294"}
	}
	e.owner, e.uid, e.known = strconv.FormatUint(uid, 10), uint32(uid), true
	return nil
}

func isNumber(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// UID returns the owner's uid; false if there is none, or it is not resolved.
func (m Mapping) UID() (uint32, bool) {
	if e := m.extra(); e.known {
		return e.uid, true
	}
	return noUser, false
}

// Resolve looks up the uid of an owner with a name. The uid is no part of the text, nor of [Mapping.Equal]. The error
// is an [*InvalidError] if there is no such user.
func (m Mapping) Resolve(users Users) (Mapping, error) {
	if m.extras == nil || m.extras.owner == "" || isNumber(m.extras.owner) {
		return m, nil
	}
	own := *m.extras
	m.extras = &own
	if err := m.resolve(users); err != nil {
		err.Mapping = m.Spec()
		return Mapping{}, err
	}
	return m, nil
}

func (m *Mapping) resolve(users Users) *InvalidError {
	if m.extras == nil || m.extras.owner == "" || isNumber(m.extras.owner) {
		return nil
	}
	uid, err := users(m.extras.owner)
	if err != nil {
		return &InvalidError{Part: "--owner " + m.extras.owner, Why: err.Error(),
			Fix: "create that user, or write another one or its uid"}
	}
	m.extras.uid, m.extras.known = uid, true
	return nil
}

// MayAnswer reports whether a socket of this user may answer: any without an owner; else root's, and the owner's if it
// is resolved.
func (m Mapping) MayAnswer(uid uint32) bool {
	e := m.extra()
	return e.owner == "" || uid == 0 || e.known && uid == e.uid
}

// OwnerError says that one server answers for two mappings whose owners differ.
type OwnerError struct {
	Mapping Mapping // the new one
	With    Mapping // the one that was there
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s: has %s, and %s has %s; the same server answers both", e.Mapping.Spec(),
		ownerText(e.Mapping), e.With, ownerText(e.With))
}

// Remedy returns what to write instead.
func (e *OwnerError) Remedy() string {
	if e.With.Owner() == "" {
		return "give both the same owner: leave --owner out, or add it to the other one, too"
	}
	return "give both the same owner: --owner " + e.With.Owner()
}

func ownerText(m Mapping) string {
	if m.Owner() == "" {
		return "no owner"
	}
	return "the owner " + m.Owner()
}

// answerKey is what an answer shows of the mapping by which it was asked for, beside its address.
type answerKey struct {
	protocol       Protocols
	family         Families
	listen, target uint16
}

// answerers are mappings with one answerKey, by their listen addresses. Those that stay have the same owner if they
// have the same listen address, or one of them has none.
type answerers struct {
	every    int                // the first one of every address, or -1
	byListen map[netip.Addr]int // the first one of each address
	other    [2]int             // of byListen, one with each of two owners; -1 where there is none
}

// owners leaves out each mapping whose answers look like those of one before it that has another owner. An answer shows
// its ports and addresses. It does not show the interface by which the packet came, and the server that gives it is the
// same for all sources.
//
// Only mappings that ask for a source or an interface can have the same ports and addresses, and those to a server on a
// loopback address, which is the source of its answers: others overlap.
func (f *fitting) owners() error {
	owned := false
	for i := range f.mappings {
		m := &f.mappings[i]
		owned = owned || m.sharesServer() && m.extras.owner != ""
	}
	if !owned {
		return nil
	}
	seen := map[answerKey]*answerers{}
	for i := range f.mappings {
		if f.stays(i) && f.mappings[i].sharesServer() {
			if err := f.owner(i, seen); err != nil || f.enough() {
				return err
			}
		}
	}
	return nil
}

// sharesServer reports whether another mapping can have answers with the same ports and addresses.
func (m *Mapping) sharesServer() bool {
	return m.extras != nil && (m.extras.iface != "" || len(m.extras.sources) > 0 || m.hasLoopback())
}

// answerListen returns the listen address as far as answers show it.
func (m *Mapping) answerListen() netip.Addr {
	if m.hasLoopback() {
		return netip.Addr{}
	}
	return m.extras.listen
}

// owner compares one mapping with those before it, and notes it if it stays.
func (f *fitting) owner(at int, seen map[answerKey]*answerers) error {
	m := &f.mappings[at]
	var keys []answerKey
	for _, target := range m.servers() {
		if target.Remote() {
			continue
		}
		for i := range uint16(m.ports.Count()) {
			for _, protocol := range m.protocols.Each() {
				for _, family := range [...]Families{IPv4, IPv6} {
					if m.families.Has(family) {
						keys = append(keys, answerKey{protocol, family, m.ports.First + i, target.Ports.First + i})
					}
				}
			}
			if err := f.step(); err != nil {
				return err
			}
		}
	}
	for _, key := range keys {
		if a := seen[key]; a != nil {
			if with := f.otherOwner(m, a); with >= 0 {
				f.leave(at, &OwnerError{Mapping: *m, With: f.mappings[with]})
				return nil
			}
		}
	}
	for _, key := range keys {
		if seen[key] == nil {
			seen[key] = &answerers{every: -1, byListen: map[netip.Addr]int{}, other: [2]int{-1, -1}}
		}
		f.note(at, seen[key])
	}
	return nil
}

// otherOwner returns a mapping whose answers look like those of m and that has another owner, or -1.
func (f *fitting) otherOwner(m *Mapping, a *answerers) int {
	differs := func(at int) bool { return at >= 0 && f.mappings[at].extras.owner != m.extras.owner }
	if differs(a.every) {
		return a.every
	}
	if listen := m.answerListen(); listen.IsValid() {
		if at, there := a.byListen[listen]; there && differs(at) {
			return at
		}
		return -1
	}
	for _, at := range a.other {
		if differs(at) {
			return at
		}
	}
	return -1
}

// note adds a mapping that stays.
func (f *fitting) note(at int, a *answerers) {
	e, listen := f.mappings[at].extras, f.mappings[at].answerListen()
	if !listen.IsValid() {
		if a.every < 0 {
			a.every = at
		}
		return
	}
	if _, there := a.byListen[listen]; !there {
		a.byListen[listen] = at
	}
	switch {
	case a.other[0] < 0:
		a.other[0] = at
	case a.other[1] < 0 && f.mappings[a.other[0]].extras.owner != e.owner:
		a.other[1] = at
	}
}
