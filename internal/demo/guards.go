package demo

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// silence is how long a client waits for an answer that must not come.
const silence = 300 * time.Millisecond

const noAnswer = "no answer"

// playGuards shows that only the owner's server answers, and only on the public port.
func (s *script) playGuards() error {
	s.column = 40
	if err := s.showServer(); err != nil {
		return err
	}
	play := s.guardOneUser
	if user := squatterUser(); user != nil {
		play = func() error { return s.guardTwoUsers(user) }
	}
	if err := play(); err != nil {
		return err
	}
	s.say("")
	if err := s.portmap("remove", "443"); err != nil {
		return err
	}
	s.fetchFromClient("https://"+hostIPv4+":8443/", "200: hello, "+clientIPv4)
	return s.verdict("--owner USER --hide")
}

// guardTwoUsers lets another user take the target port while the server is down.
func (s *script) guardTwoUsers(squatter *syscall.Credential) error {
	owner := ownerID()
	s.say("\nOnly user %s may answer on 443, and other hosts do not get to 8443:", owner)
	if err := s.portmap("add", "443:8443", "--owner", owner, "--hide"); err != nil {
		return err
	}
	s.fetchGuarded()
	s.say("\nThe server stops, and another user takes its port:")
	s.say("$ kill %%%%")
	s.say("$ %s --port 8443 &   # user %d", squatterName, squatter.Uid)
	if err := s.replaceServer(stageSquatter, squatter); err != nil {
		return err
	}
	if err := s.showMuted(); err != nil {
		return err
	}
	s.say("\nThe squatter ends, and the server is back:")
	s.say("$ kill %%%%")
	s.say("$ %s --port 8443 &   # user %s", serverName, owner)
	if err := s.replaceServer(stageServer, serverUser()); err != nil {
		return err
	}
	s.fetchPublic()
	return nil
}

// guardOneUser takes the server itself for the squatter: where there is one user, nobody else can take the port.
func (s *script) guardOneUser() error {
	owner := ownerID()
	s.say("\nThere is only one user here, %s. To a mapping of another one the server is a squatter:", owner)
	if err := s.portmap("add", "443:8443", "--owner", otherID(owner), "--hide"); err != nil {
		return err
	}
	if err := s.showMuted(); err != nil {
		return err
	}
	s.say("\nNow it is the server of the right user. Other hosts do not get to 8443:")
	if err := s.portmap("add", "443:8443", "--owner", owner, "--hide", "--replace"); err != nil {
		return err
	}
	s.fetchGuarded()
	return nil
}

// showMuted shows that who listens on the target port cannot answer, and that it is seen.
func (s *script) showMuted() error {
	s.say("\nIt cannot send a byte through the mapping:")
	for _, host := range [...]string{hostIPv4, "[" + hostIPv6 + "]"} {
		s.fetchWithin(silence, "https://"+host+"/", noAnswer)
	}
	return s.list("blocked")
}

// fetchGuarded shows who gets to the owner's server, and how.
func (s *script) fetchGuarded() {
	s.fetchPublic()
	s.fetchFromClient("https://"+hostIPv4+":8443/", "connection refused")
	s.fetchFromClient("https://["+hostIPv6+"]:8443/", "connection refused")
	s.fetchHere("https://127.0.0.1:8443/", "200: hello, 127.0.0.1")
}

// fetchPublic fetches from the public port, over IPv4 and IPv6.
func (s *script) fetchPublic() {
	s.fetchFromClient("https://"+hostIPv4+"/", "200: hello, "+clientIPv4)
	s.fetchFromClient("https://["+hostIPv6+"]/", "200: hello, "+clientIPv6)
}

// list shows the mappings, and looks for a state.
func (s *script) list(state string) error {
	var text bytes.Buffer
	if err := s.run(io.MultiWriter(s.out, &text), "list"); err != nil {
		return err
	}
	if !strings.Contains(text.String(), " "+state+" ") {
		s.wrong(state)
	}
	return nil
}

// replaceServer ends what listens on 8443, and starts another stage there, as user: nil is the user of this process.
func (s *script) replaceServer(stage string, user *syscall.Credential) (err error) {
	s.server.stop()
	if s.server, err = startServer(s.ctx, stage, user); err != nil {
		return err
	}
	for range 2 { // what it says of 443, and "ready"
		if _, err := s.server.read(); err != nil {
			return err
		}
	}
	return nil
}

// ownerID is the uid of the server.
func ownerID() string {
	if user := serverUser(); user != nil {
		return strconv.Itoa(int(user.Uid))
	}
	return strconv.Itoa(os.Geteuid())
}

// otherID is a uid that the server does not have.
func otherID(owner string) string {
	if other := strconv.Itoa(squatter); other != owner {
		return other
	}
	return fmt.Sprint(nobody)
}
