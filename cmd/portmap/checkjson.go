package main

import (
	"encoding/json"

	"portmap/internal/check"
	"portmap/internal/finding"
	"portmap/internal/trace"
)

// The form of `check -o json` is a promise to scripts, as docs/check.schema.json has it: fields may be added, none is
// renamed or taken away.

type jsonReport struct {
	Clean    bool          `json:"clean"`
	Mappings []jsonResult  `json:"mappings"`
	Host     []jsonFinding `json:"host"` // about no mapping in particular
	Unprobed *string       `json:"unprobed"`
	Left     int           `json:"left"` // mappings for which no packet was sent, since others were enough
}

type jsonResult struct {
	Mapping  string        `json:"mapping"`
	Name     *string       `json:"name"`
	Status   string        `json:"status"`
	Note     *string       `json:"note"`
	Servers  []jsonServer  `json:"servers"`
	Ways     []jsonWay     `json:"ways"`
	Findings []jsonFinding `json:"findings"`
}

type jsonWay struct {
	Protocol     string         `json:"protocol"`
	Family       string         `json:"family"`
	Address      string         `json:"address"`
	Expected     []string       `json:"expected"`
	Reached      bool           `json:"reached"`
	Result       string         `json:"result"`
	Milliseconds *float64       `json:"milliseconds"`
	Path         []jsonHop      `json:"path"`
	Conntrack    *jsonConntrack `json:"conntrack"`
}

type jsonConntrack struct {
	ID    uint32 `json:"id"`
	State string `json:"state"`
	Reply bool   `json:"reply"`
	DNAT  bool   `json:"dnat"`
}

type jsonHop struct {
	Place string `json:"place"`
	Text  string `json:"text"`
	Parts bool   `json:"parts"`
}

type jsonFinding struct {
	ID       string  `json:"id"`
	Severity string  `json:"severity"`
	Mapping  *string `json:"mapping"`
	Text     string  `json:"text"`
	Seen     *string `json:"seen"`
	Remedy   *string `json:"remedy"`
	Keep     *string `json:"keep"`
	Undo     *string `json:"undo"`
}

func (a *app) checkJSON(r check.Report) error {
	out := jsonReport{Clean: r.Clean(), Mappings: []jsonResult{}, Host: findingsJSON(r.Host), Left: r.Left,
		Unprobed: orNull(r.Unprobed)}
	for i := range r.Results {
		out.Mappings = append(out.Mappings, resultJSON(&r.Results[i]))
	}
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(out)
}

func resultJSON(one *check.Result) jsonResult {
	out := jsonResult{Mapping: one.Mapping.Spec(), Name: orNull(one.Mapping.Name()), Status: string(one.Status()),
		Note: orNull(one.Note), Servers: []jsonServer{}, Ways: []jsonWay{}, Findings: findingsJSON(one.Findings)}
	for _, s := range one.Servers {
		out.Servers = append(out.Servers, jsonServer{PID: s.PID, Command: s.Command, User: s.User, Address: s.Address})
	}
	for i := range one.Ways {
		out.Ways = append(out.Ways, wayJSON(&one.Ways[i]))
	}
	return out
}

func wayJSON(w *check.Way) jsonWay {
	out := jsonWay{Protocol: w.Protocol.String(), Family: familyWord(w.Family()), Address: w.To.String(),
		Reached: w.Reached, Result: w.Result(), Expected: []string{}, Path: []jsonHop{},
		Conntrack: conntrackJSON(w.Tracked())}
	for _, e := range w.Expected {
		out.Expected = append(out.Expected, e.String())
	}
	for _, hop := range w.Path {
		out.Path = append(out.Path, jsonHop(hop))
	}
	if w.Took > 0 {
		ms := float64(w.Took.Microseconds()) / 1000
		out.Milliseconds = &ms
	}
	return out
}

// conntrackJSON returns nil where the kernel does not tell.
func conntrackJSON(c trace.Connection) *jsonConntrack {
	if c.State == "" {
		return nil
	}
	return &jsonConntrack{ID: c.ID, State: c.State, Reply: c.Answer, DNAT: c.Translated}
}

func findingsJSON(list []finding.Finding) []jsonFinding {
	out := []jsonFinding{}
	for _, f := range list {
		out = append(out, jsonFinding{ID: string(f.ID), Severity: string(f.Severity()),
			Mapping: orNull(f.Mapping.Spec()), Text: f.Text, Seen: orNull(f.Seen), Remedy: orNull(f.Remedy),
			Keep: orNull(f.Keep), Undo: orNull(f.Undo)})
	}
	return out
}
