// Package others looks for rules of other tools that meet the packets of a mapping: that translate its port as well,
// such as Docker's, keep it out of connection tracking, or drop it on its way to the server. It only looks, at the
// chains that packets to this host meet, and only as long as that is quick: of more than some hundred rules it says
// nothing.
package others
