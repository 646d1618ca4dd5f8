// Package demo is what `portmap demo` runs.
package demo

import (
	"context"
	"errors"
	"io"
)

// Run runs the demonstration.
func Run(context.Context, io.Writer, bool) error { return errors.New("not built yet") }

// Stage runs a stage of it.
func Stage(context.Context, string, []string) error { return errors.New("not built yet") }
