// Package conf reads and edits the text of portmap.conf: one mapping a line, comments, and at most one line that fixes
// the backend. An edit keeps comments, order and white space byte for byte.
//
// Package store keeps the file.
package conf
