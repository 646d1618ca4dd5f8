// Package conf is the text of portmap.conf: one mapping a line, comments, and at most one line that fixes the backend.
// It edits the text and keeps what it does not understand to be its own: comments, order, white space, byte for byte.
//
// Where the text is kept, and how it is replaced, is the business of package store.
package conf
