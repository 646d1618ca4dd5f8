package integration

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// New connections a second from one client: to the server itself, through a mapping, and through a mapping over the eight
// addresses of the host, where redirect collapses. One after another, from one thread: the ratios are what counts.
func BenchmarkNewConnections(b *testing.B) {
	for _, c := range []struct {
		name      string
		port      int
		addresses int
	}{{"direct", 8443, 1}, {"mapped", 443, 1}, {"mapped, 8 addresses", 443, 8}} {
		b.Run(c.name, func(b *testing.B) {
			host, client := backends()[0].barePair(b)
			var targets []string
			for i := range c.addresses {
				address := fmt.Sprintf("192.0.2.%d", 20+i)
				host.Address("eth0", address+"/24")
				targets = append(targets, fmt.Sprintf("%s:%d", address, c.port))
			}
			client.Run("sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000", "net.ipv4.tcp_tw_reuse=1")
			if c.port == 443 {
				backends()[0].add(b, host, "443:8443")
			}
			host.Echo("tcp", "0.0.0.0:8443")
			client.Do(func() {
				for i := 0; b.Loop(); i++ {
					if err := connectOnce(targets[i%len(targets)]); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connections/s")
		})
	}
}

func connectOnce(address string) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = io.Copy(io.Discard, conn)
	return err
}
