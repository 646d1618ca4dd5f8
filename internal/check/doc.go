// Package check says whether clients reach the servers behind mappings, and if not, why and what cures it.
package check
