package integration

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"portmap/internal/lab"
	"portmap/rules"
)

// The users of the tests: the one whose server may answer, and one whose may not. They need no account.
const (
	owner    = 1000
	squatter = 1234
)

// silence is how long a client waits for what must not come. It is short, so that a test can ask often.
const silence = 300 * time.Millisecond

// needUsers skips a test where this process has only one user: in a user namespace without root.
func needUsers(t testing.TB) {
	t.Helper()
	if lab.UnprivilegedUID() == 0 {
		t.Skip("needs root: a user namespace has one user only")
	}
}

// everywhere is every address of a host, IPv4 and IPv6, for a server.
func everywhere(port int) string { return fmt.Sprintf("[::]:%d", port) }

// askAll asks on a port in all ways at once, over TCP and UDP.
func askAll(host, client *lab.Host, port int, within time.Duration) map[string]lab.Answer {
	var mutex sync.Mutex
	var wait sync.WaitGroup
	answers := map[string]lab.Answer{}
	for _, w := range ways(host, client) {
		for _, network := range []string{"tcp", "udp"} {
			wait.Add(1)
			go func() {
				defer wait.Done()
				a, _ := w.from.AskWithin(within, network, "", fmt.Sprintf("%s:%d", w.address, port))
				mutex.Lock()
				defer mutex.Unlock()
				answers[network+" "+w.name] = a
			}()
		}
	}
	wait.Wait()
	return answers
}

// A server of the owner or of root answers, one of another user does not get a byte out, over TCP and UDP, IPv4 and
// IPv6, to other hosts and to this one, whatever else the mapping asks for.
func TestOnlyTheOwnerAnswers(t *testing.T) {
	needUsers(t)
	eachBackend(t, func(t *testing.T, b backend) {
		host, client := b.pair(t)
		for _, mapping := range []string{
			"443:8443/tcp,udp --owner 1000", "443:8443/tcp,udp --owner 1000 --hide",
			"440-450:8440-8450/tcp,udp --owner 1000",
		} {
			added := b.add(t, host, mapping)
			for _, uid := range []int{owner, 0, squatter} {
				end := host.EchoAs(uid, "tcp", everywhere(8443))
				end2 := host.EchoAs(uid, "udp", everywhere(8443))
				within := 2 * time.Second
				if uid == squatter {
					within = silence
				}
				for way, a := range askAll(host, client, 443, within) {
					if answered := a.Server.IsValid(); answered != (uid != squatter) || uid == squatter && !a.TimedOut {
						t.Errorf("%s, %s: a server of user %d: %+v", mapping, way, uid, a)
					}
				}
				end()
				end2()
			}
			b.change(t, host, changeOf(nil, added))
		}
	})
}

func changeOf(add, remove []rules.Mapping) rules.Change {
	return rules.Change{Add: add, Remove: remove}
}
