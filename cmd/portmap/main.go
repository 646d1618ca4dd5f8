// Command portmap puts a server that runs unprivileged on one port on another, public one, in the kernel.
package main

import (
	"bufio"
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() { os.Exit(run()) }

func run() int {
	tuneCollector(memoryLimit("/"))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // the first signal ends the work in order, a second one at once
	a := &app{
		in: os.Stdin, out: bufio.NewWriter(os.Stdout), err: os.Stderr, tty: term.IsTerminal(int(os.Stdout.Fd())),
		getenv: os.Getenv, args: os.Args[1:],
	}
	return a.execute(ctx)
}
