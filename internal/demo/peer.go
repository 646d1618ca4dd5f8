package demo

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// peer is a process that answers lines with lines.
type peer struct {
	name string
	cmd  *exec.Cmd
	in   io.Writer
	out  *bufio.Reader
}

func newPeer(name string, cmd *exec.Cmd, in io.Writer, out io.Reader) peer {
	return peer{name, cmd, in, bufio.NewReader(out)}
}

func (p peer) ask(line string) (string, error) {
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		return "", fmt.Errorf("the %s ended early: %w", p.name, err)
	}
	return p.read()
}

// stop ends the process, and returns when it is gone.
func (p peer) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p peer) read() (string, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the %s ended early: %w", p.name, err)
	}
	return strings.TrimSuffix(line, "\n"), nil
}
