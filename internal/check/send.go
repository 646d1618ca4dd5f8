package check

import (
	"context"
	"errors"
	"fmt"

	"portmap/internal/probe"
	"portmap/internal/servers"
	"portmap/internal/trace"
	"portmap/rules"
)

// send has a client go all ways, and sets what became of its packets.
func send(ctx context.Context, ways []Way, found *servers.Found) (seen counters, err error) {
	if err := probe.Ready(); err != nil {
		return seen, err
	}
	client, err := probe.Open()
	if err != nil {
		return seen, fmt.Errorf("make a client: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	tracer, err := trace.Open(trace.Selection{Every: true, In: client.Interface},
		trace.Selection{Every: true, Out: client.Interface})
	if err != nil {
		tracer = nil // without nf_tables, counters are all that there is
	} else {
		defer func() { err = errors.Join(err, tracer.Close()) }()
	}
	questions := make([]probe.Question, len(ways))
	for i := range ways {
		questions[i] = ways[i].question()
	}
	before := readCounters(ctx)
	answers := client.Ask(ctx, questions)
	seen = readCounters(ctx).since(before)
	entries, err := probe.Entries(answers)
	if err != nil {
		return seen, fmt.Errorf("ask connection tracking: %w", err)
	}
	for i := range ways {
		ways[i].answer, ways[i].entry = answers[i], entries[i]
		ways[i].expect(answers[i].From.Addr())
	}
	if tracer != nil {
		packets, err := tracer.Rest()
		if err != nil {
			return seen, err
		}
		assign(ways, packets)
	}
	asked := map[string]bool{} // one family says what the other would
	for i := range ways {
		w := &ways[i]
		w.judge()
		if w.Reached && w.Protocol == rules.TCP && !asked[w.Mapping.String()] {
			asked[w.Mapping.String()] = true
			w.leaked = w.leaks(ctx, client, mappingsOf(ways), found)
		}
	}
	return seen, ctx.Err()
}

func mappingsOf(ways []Way) []rules.Mapping {
	list := make([]rules.Mapping, 0, len(ways))
	for i := range ways {
		list = append(list, ways[i].Mapping)
	}
	return list
}

// assign gives each way its packets: the first one that the client sent, since others are repetitions; and of the
// answers the first one, or if none came the first one that was dropped.
func assign(ways []Way, packets []*trace.Packet) {
	for i := range ways {
		w := &ways[i]
		for _, p := range packets {
			switch {
			case p.Protocol != w.Protocol:
			case p.From == w.answer.From && p.To == w.To && w.out == nil:
				w.out = p
			case p.To == w.answer.From && (w.back == nil ||
				w.answer.Outcome != probe.Answered && p.Dropped() && !w.back.Dropped()):
				w.back = p
			}
		}
	}
}
