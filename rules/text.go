package rules

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// appendWords splits a line as a shell splits the words of a command: at spaces and tabs, up to a word that begins with
// '#'. Quotes mean nothing: no part of a mapping can hold a space.
func appendWords(words []string, line string) []string {
	start := -1
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ' || c == '\t' || c == '\r':
			if start >= 0 {
				words, start = append(words, line[start:i]), -1
			}
		case start < 0 && c == '#':
			return words
		case start < 0:
			start = i
		}
	}
	if start >= 0 {
		words = append(words, line[start:])
	}
	return words
}

// checkName accepts what CLI names may be: [A-Za-z0-9][A-Za-z0-9._-]{0,62}.
func checkName(s string) *InvalidError {
	ok := s != "" && len(s) <= 63 && isAlnum(s[0])
	for i := 0; ok && i < len(s); i++ {
		ok = isAlnum(s[i]) || strings.IndexByte("._-", s[i]) >= 0
	}
	if !ok {
		return &InvalidError{Part: s, Why: "not a name",
			Fix: "a name has 1-63 letters, digits, dots, dashes and underscores, and starts with a letter or digit"}
	}
	return nil
}

// checkInterface accepts what the kernel accepts as a device name (net/core/dev.c, dev_valid_name) and no more, less
// what could not be told from a wildcard or could not be quoted in a saved rule set.
func checkInterface(s string) *InvalidError {
	const fix = "an interface name is 1-15 bytes as `ip link` shows it"
	switch {
	case s == "" || s == "." || s == "..":
		return &InvalidError{Part: s, Why: "not an interface name", Fix: fix}
	case len(s) > 15: // IFNAMSIZ is 16 with the NUL, linux/if.h
		return &InvalidError{Part: s, Why: "longer than 15 bytes", Fix: fix}
	case s == "lo":
		return &InvalidError{Part: s, Why: "only this host's own connections pass lo, and --interface excludes them",
			Fix: "for local clients alone listen on 127.0.0.1 or [::1]"}
	case strings.ContainsRune(s, '*') || strings.HasSuffix(s, "+"):
		return &InvalidError{Part: s, Why: "wildcards are not taken",
			Fix: "name one interface, and write one mapping for each"}
	case !utf8.ValidString(s) || strings.ContainsAny(s, "/:\"\\"):
		return &InvalidError{Part: s, Why: "not an interface name", Fix: fix}
	}
	for _, r := range s {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return &InvalidError{Part: s, Why: "an interface name has no white space", Fix: fix}
		}
	}
	return nil
}

// checkUser accepts a uid or a user name as useradd(8) and systemd allow them.
func checkUser(s string) *InvalidError {
	ok := s != "" && len(s) <= 32 && (isAlnum(s[0]) || s[0] == '_')
	for i := 0; ok && i < len(s); i++ {
		ok = isAlnum(s[i]) || strings.IndexByte("_.@-", s[i]) >= 0 || s[i] == '$' && i == len(s)-1
	}
	if !ok {
		return &InvalidError{Part: s, Why: "not a user", Fix: "write a user's name or uid"}
	}
	return nil
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
