package nft

import (
	"context"
	"fmt"
	"testing"

	"portmap/internal/lab"
	"portmap/rules"
)

// One mapping more and one less, with more and more others live: the transactions must not grow with their
// number. (To delete waits for the kernel's grace period, so only the adding is timed.)
func BenchmarkAddOne(b *testing.B) {
	for _, others := range []int{1, 1000, 60000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			host := lab.New(b).Host("host")
			host.Do(func() { benchmarkAddOne(b, others) })
		})
	}
}

func benchmarkAddOne(b *testing.B, others int) {
	backend, err := Open()
	if err != nil {
		b.Fatal(err)
	}
	defer backend.Close()
	var all []rules.Mapping
	for i := range others + 1 {
		m, err := rules.Parse(fmt.Sprintf("%d:%d", i+1, 60100))
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, m)
	}
	ctx := context.Background()
	one := all[others:]
	if err := backend.Apply(ctx, rules.Change{Reset: true, Add: all[:others]}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := backend.Apply(ctx, rules.Change{Add: one}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := backend.Apply(ctx, rules.Change{Remove: one, Before: all}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// A look at everything, with more and more mappings live.
func BenchmarkLive(b *testing.B) {
	for _, mappings := range []int{1, 1000, 60000} {
		b.Run(fmt.Sprint(mappings), func(b *testing.B) {
			host := lab.New(b).Host("host")
			host.Do(func() {
				backend, err := Open()
				if err != nil {
					b.Fatal(err)
				}
				defer backend.Close()
				var lines []string
				for i := range mappings {
					lines = append(lines, fmt.Sprintf("%d:60100", i+1))
				}
				if err := backend.Apply(context.Background(),
					rules.Change{Reset: true, Add: lab.Mappings(b, lines...)}); err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					if _, err := backend.Live(context.Background()); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
