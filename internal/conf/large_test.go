package conf

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"portmap/rules"
)

// large returns files of n lines, by the kind of their lines.
func large(n int) map[string]string {
	kinds := map[string]func(i int) string{
		"right":           func(i int) string { return fmt.Sprintf("%d:%d", 1+i%32768, 32769+i/32768) },
		"no mapping":      func(i int) string { return fmt.Sprintf("443:eighty%d", i) },
		"one mapping":     func(int) string { return "443:8443" },
		"all in conflict": func(i int) string { return fmt.Sprintf("443:%d", 444+i%60000) },
		"half unsupported": func(i int) string {
			return fmt.Sprintf("%d:8443%s", 1+i%8000, []string{"", " --owner bob"}[i%2])
		},
		"one name": func(i int) string { return fmt.Sprintf("%d:%d --name x", 1+i%30000, 30001+i%30000) },
		"loops":    func(i int) string { return fmt.Sprintf("%d:%d", 1+i%60000, 1+(i^1)%60000) },
		"wide":     func(i int) string { return fmt.Sprintf("1-65534:2-65535 --interface e%d", i) },
		"blank":    func(int) string { return "" },
		"backends": func(i int) string { return "backend " + []string{"nft", "iptables"}[i%2] },
	}
	files := map[string]string{}
	for name, line := range kinds {
		var b strings.Builder
		for i := range n {
			b.WriteString(line(i))
			b.WriteByte('\n')
		}
		files[name] = b.String()
	}
	files["one long line"] = strings.Repeat("1", n*600)
	files["one long mapping"] = "443:8443 --source " + strings.Repeat("10.0.0.0/8,", n*60)
	files["many words"] = strings.Repeat("a ", n*300)
	files["a long comment"] = "443:8443 " + strings.Repeat(" ", n*300) + strings.Repeat("# ", n*300)
	return files
}

// A file is read whatever is wrong with its lines, and a context that is done ends that.
func TestLargeFiles(t *testing.T) {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for name, content := range large(20000) {
		text, wrong, err := known.ParseGood(context.Background(), []byte(content))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, more, err := text.Without(context.Background(), refuseMore); err != nil || len(wrong) > maxErrors+1 ||
			len(more) > maxErrors+1 {
			t.Errorf("%s: %d and %d lines are wrong, %v", name, len(wrong), len(more), err)
		}
		if _, err := rules.NewSet(text.Set().Mappings()...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Count(content, "\n") < 2 {
			continue
		}
		if _, _, err := known.ParseGood(done, []byte(content)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: ParseGood goes on: %v", name, err)
		}
		if _, err := known.Parse(done, []byte(content)); err == nil {
			t.Errorf("%s: Parse goes on", name)
		}
		if _, _, err := text.Without(done, refuseMore); text.Set().Len() > 0 && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: Without goes on: %v", name, err)
		}
	}
}

// Of very many invalid lines some are named, and the others counted.
func TestManyWrongLinesAreCounted(t *testing.T) {
	_, wrong,
		err := known.ParseGood(context.Background(),
		[]byte(strings.Repeat("x\n", maxErrors+500)+"443:8443\n443:8444\n"))
	if err != nil || len(wrong) != maxErrors+1 {
		t.Fatalf("%d lines, %v", len(wrong), err)
	}
	if got := wrong[maxErrors].Error(); got != fmt.Sprintf("line %d: wrong as well, 501 lines more that are not shown",
		maxErrors+1) {
		t.Errorf("the last says %q", got)
	}
}

// A line of any length is one line, and its error is short.
func TestLongLines(t *testing.T) {
	for content, want := range map[string]string{
		strings.Repeat("1", 1<<20):                                  "a line of more than 131071 bytes",
		strings.Repeat("a ", 1<<20):                                 "a line of more than 131071 bytes",
		"443:8443 --source " + strings.Repeat("10.0.0.0/8,", 1<<17): "a line of more than 131071 bytes",
		"443:8443 " + strings.Repeat(" ", 1<<20) + "# why":          "",
		strings.Repeat(" ", 1<<20) + "443:8443":                     "",
		"443:8443 #" + strings.Repeat("# ", 1<<20):                  "",
		"#" + strings.Repeat("x", 1<<20):                            "",
	} {
		text, err := known.Parse(context.Background(), []byte("80:8080\n"+content))
		switch {
		case want == "" && (err != nil || text.Set().Len() == 0):
			t.Errorf("%.20q: %v", content, err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), "line 2: ") ||
			!strings.HasSuffix(err.Error(), want) || len(err.Error()) > 400):
			t.Errorf("%.20q: %.500v", content, err)
		}
	}
}

func BenchmarkParseGood100000(b *testing.B) {
	for name, content := range large(100000) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := known.ParseGood(context.Background(), []byte(content)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
