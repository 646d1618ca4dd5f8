package ruletext

// Switches returns lines of comment that name switches of the kernel, which text of rules cannot carry.
func Switches(names []string) (text string) {
	for _, name := range names {
		text += "# It needs, and cannot set: sysctl -w " + name + "=1\n"
	}
	return text
}
