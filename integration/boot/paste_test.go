//go:build boot

package boot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// user is the first ordinary user of a guest, who pastes; the step `paste` makes it.
const user = 1000

// pages are what a user pastes from, by the name that the step `paste` has for them.
func pages() map[string]string {
	return map[string]string{
		"readme":       "../../README.md",
		"lets-encrypt": "../../docs/lets-encrypt.md",
		"coming-from":  "../../docs/coming-from.md",
	}
}

// A section is a heading's anchor and all that stands under it to paste: the code blocks that are marked sh.
type section struct{ anchor, script string }

func sections(t *testing.T, path string) []section {
	t.Helper()
	page, err := os.ReadFile(path)
	must(t, err)
	found := []section{{}}
	pasted := false
	for line := range strings.Lines(string(page)) {
		switch {
		case strings.HasPrefix(line, "```"):
			pasted = line == "```sh\n"
		case pasted:
			found[len(found)-1].script += line
		case strings.HasPrefix(line, "##"):
			found = append(found, section{anchor: anchor(line)})
		}
	}
	return slices.DeleteFunc(found, func(s section) bool { return s.script == "" })
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	words := strings.ToLower(strings.TrimSpace(strings.TrimLeft(heading, "#")))
	return strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(words, ""), " ", "-")
}

// pastes tells whether a plan has a step that pastes; such a guest is given more.
func (p plan) pastes() bool {
	return slices.ContainsFunc(p, func(step string) bool { return paste.MatchString(step) })
}

// paste is a step that pastes a page, or a section of it.
var paste = regexp.MustCompile(`\bpaste (\S+)(?: (\S+))?$`)

// seedPaste writes what there is to paste into a guest, a checkout, and an ACME server.
func seedPaste(t *testing.T, folder string) {
	t.Helper()
	write := func(name, script string) {
		path := filepath.Join(folder, "paste", name+".sh")
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(script), 0o644))
	}
	for name, path := range pages() {
		whole := ""
		for _, s := range sections(t, path) {
			write(name+"/"+s.anchor, s.script)
			whole += s.script
		}
		write(name, whole)
		if name == "readme" {
			write("readme-of-a-package", withPackage(t, whole))
		}
	}
	const checkout = `
set -e
mkdir -p "$FOLDER/checkout/dist"
tar -C ../.. --exclude=./.git --exclude=./bin --exclude=./dist -c . | tar -C "$FOLDER/checkout" -x
cp "$PACKAGE" "$FOLDER/checkout/dist/"
cp "$PEBBLE" "$FOLDER/pebble"`
	cmd := exec.Command("sh", "-c", checkout)
	cmd.Env = append(cmd.Environ(), "FOLDER="+folder, "PACKAGE="+built(t, renewed, "*.deb"),
		"PEBBLE="+environment(t, "PORTMAP_BOOT_PEBBLE"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// withPackage is the README as one pastes it who takes a package, on Debian, in place of a command built by hand.
func withPackage(t *testing.T, script string) string {
	t.Helper()
	readme, err := os.ReadFile(pages()["readme"])
	must(t, err)
	row := regexp.MustCompile("(?m)^\\| Debian 13 \\|.*\\| `(sudo apt install [^`]*)` \\|$").FindSubmatch(readme)
	byHand := regexp.MustCompile(`(?m)^go build .*$`)
	if row == nil || len(byHand.FindAllString(script, -1)) != 1 {
		t.Fatal("the README does not say how to install a package, or to build by hand")
	}
	return byHand.ReplaceAllLiteralString(script, string(row[1]))
}

// borrowed are the options of systemd-nspawn by which a guest that pastes has this machine's Go, as from go.dev/dl, and
// the modules that were loaded for it. What it compiles is kept for the next guest.
func borrowed(t *testing.T) string {
	t.Helper()
	env := func(name string) string {
		out, err := exec.Command("go", "env", name).Output()
		must(t, err)
		return strings.TrimSpace(string(out))
	}
	compiled := filepath.Join(environment(t, "PORTMAP_BOOT_CACHE"), "go-build")
	must(t, os.MkdirAll(compiled, 0o755))
	must(t, os.Chown(compiled, user, user))
	return fmt.Sprintf("--bind-ro=%s:/usr/local/go --bind-ro=%s:/opt/go-mod --bind=%s:/opt/go-build", env("GOROOT"),
		env("GOMODCACHE"), compiled)
}

// Whoever pastes the README from top to bottom has a site with a certificate, and has it after a reboot.
func TestNspawnReadme(t *testing.T) {
	t.Parallel()
	for suite, page := range map[string]string{"bookworm": "readme", "trixie": "readme-of-a-package"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			p := plan{"letsencrypt", "paste " + page, "site", "reboot", "site"}
			nspawn(t, suite, p).check(t, p)
		})
	}
}

func TestNspawnPages(t *testing.T) {
	for name, p := range pasted() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nspawn(t, "bookworm", p).check(t, p)
		})
	}
}

// What nobody tries to paste goes stale.
func TestAllIsPasted(t *testing.T) {
	tried := map[string]bool{}
	for _, plans := range []map[string]plan{pasted(), firewalls()} {
		for _, p := range plans {
			for _, step := range p {
				if words := paste.FindStringSubmatch(step); words != nil {
					tried[words[1]+"#"+words[2]] = true
				}
			}
		}
	}
	tried["coming-from#started-from-a-terminal"] = true // by the step `terminal`
	for _, page := range []string{"lets-encrypt", "coming-from"} {
		for _, s := range sections(t, pages()[page]) {
			if !tried[page+"#"+s.anchor] {
				t.Errorf("nobody pastes %s#%s", page, s.anchor)
			}
		}
	}
}
