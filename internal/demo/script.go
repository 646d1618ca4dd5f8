package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// script goes through the demonstration, and remembers whether all was as it should be.
type script struct {
	ctx            context.Context
	out            io.Writer
	client, server peer
	column         int // of the comment after a command
	failed         bool
}

func (s *script) play(name Script) error {
	s.say("All of this happens in a throw-away network; nothing on this machine is touched.")
	if name == Guards {
		return s.playGuards()
	}
	return s.playMapping()
}

// playMapping shows that a mapping works, until it is removed.
func (s *script) playMapping() error {
	s.column = 34
	if err := s.showServer(); err != nil {
		return err
	}
	s.say("\nNobody answers on the public port yet:")
	s.fetchFromClient("https://"+hostIPv4+"/", "connection refused")
	s.say("")
	if err := s.portmap("add", "443:8443"); err != nil {
		return err
	}
	s.say("\nNow it does, for another host, which the server sees under its own address:")
	s.fetchFromClient("https://"+hostIPv4+"/", "200: hello, "+clientIPv4)
	s.fetchFromClient("https://["+hostIPv6+"]/", "200: hello, "+clientIPv6)
	s.say("\n... and on the host itself:")
	s.fetchHere("https://127.0.0.1/", "200: hello, 127.0.0.1")
	s.fetchHere("https://[::1]/", "200: hello, ::1")
	s.say("")
	if err := s.portmap("list"); err != nil {
		return err
	}
	if err := s.portmap("remove", "443"); err != nil {
		return err
	}
	s.fetchFromClient("https://"+hostIPv4+"/", "connection refused")
	s.fetchFromClient("https://["+hostIPv6+"]/", "connection refused")
	return s.verdict("")
}

// verdict ends the script. A person's own mapping may have options.
func (s *script) verdict(options string) error {
	if s.failed {
		return errors.New("not all of it went as it should")
	}
	add := strings.TrimSpace("sudo portmap add 443:8443 " + options)
	s.say("\nIt works on this machine. For your own server: %s", add)
	return nil
}

func (s *script) showServer() error {
	refused, err := s.server.read()
	if err != nil {
		return err
	}
	if _, err := s.server.read(); err != nil { // "ready"
		return err
	}
	s.say("\nA server with HTTPS on port 8443, run without privileges. Port 443 is not for it:")
	s.say("$ %s --port 443", serverName)
	s.say("%s", refused)
	s.say("$ %s --port 8443 &", serverName)
	s.failed = s.failed || refused != "permission denied"
	return nil
}

func (s *script) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// portmap runs the very command. Its file is in the demonstration's own file system.
func (s *script) portmap(args ...string) error { return s.run(s.out, args...) }

func (s *script) run(out io.Writer, args ...string) error {
	s.say("$ portmap %s", strings.Join(args, " "))
	cmd := exec.CommandContext(s.ctx, self, append([]string{"--config", configFile}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("portmap %s failed", strings.Join(args, " "))
	}
	return nil
}

func (s *script) fetchFromClient(url, want string) {
	s.fetchWithin(answerLimit, url, want)
}

// fetchWithin fetches from the other host. How long it waits is shown only where that matters.
func (s *script) fetchWithin(limit time.Duration, url, want string) {
	got, err := s.client.ask(limit.String() + " " + url)
	if err != nil {
		got = err.Error()
	}
	command := "$ curl -k "
	if limit != answerLimit {
		command += fmt.Sprintf("-m %v ", limit.Seconds())
	}
	s.show(fmt.Sprintf("%-*s # from another host", s.column, command+url), got, want)
}

func (s *script) fetchHere(url, want string) {
	s.show("$ curl -k "+url, fetch(url, answerLimit), want)
}

// show prints what came of a command, and compares it but for the version of HTTP before it.
func (s *script) show(command, got, want string) {
	s.say("%s", command)
	s.say("%s", got)
	if got != want && !strings.HasSuffix(got, " "+want) {
		s.wrong(want)
	}
}

// wrong says what the last lines should have been.
func (s *script) wrong(want string) {
	s.say("   ... which should have been: %s", want)
	s.failed = true
}
