export PATH := $(PATH):/usr/local/go/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
PREFIX ?= /usr/local
UNITS ?= /usr/lib/systemd/system
INSTALLED = $(PREFIX)/bin/portmap $(PREFIX)/share/man/man8/portmap.8 $(PREFIX)/share/man/man5/portmap.conf.5 \
	$(PREFIX)/share/bash-completion/completions/portmap $(PREFIX)/share/zsh/site-functions/_portmap \
	$(PREFIX)/share/fish/vendor_completions.d/portmap.fish \
	$(patsubst internal/boot/%,$(UNITS)/%,$(wildcard internal/boot/*.service))

.PHONY: build test test-boot lint fuzz bench demo install uninstall packages clean help

build:	## a static binary, bin/portmap
	packaging/compile.sh '$(VERSION)' bin/portmap

test:	## all tests
	./test.sh

test-boot:	## real systems boot, in systemd-nspawn and in qemu; needs root on Debian
	./integration/boot/test.sh

lint:	## gofmt, go vet, golangci-lint
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	go vet ./...
	golangci-lint run ./...

fuzz:	## each fuzz target for a minute
	FUZZ_SECONDS=60 ./test.sh fuzz

bench:	## the speed of portmap, beside nft and iptables; needs root
	go test -run '^$$' -bench . -skip Beside ./...
	go test -run '^$$' -bench Beside -benchtime 31x -timeout 30m ./integration

demo:	## the whole thing in a throw-away network
	go run ./cmd/portmap demo

install: build	## what a package holds, under PREFIX (/usr/local) of DESTDIR, and the units, under UNITS; then: portmap enable
	install -D -m 755 bin/portmap $(DESTDIR)$(PREFIX)/bin/portmap
	install -d -m 755 $(addprefix $(DESTDIR),$(sort $(dir $(INSTALLED))))
	bin/portmap manual 8 >$(DESTDIR)$(PREFIX)/share/man/man8/portmap.8
	bin/portmap manual 5 >$(DESTDIR)$(PREFIX)/share/man/man5/portmap.conf.5
	bin/portmap completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/portmap
	bin/portmap completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_portmap
	bin/portmap completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/portmap.fish
	for unit in internal/boot/*.service; do \
		sed 's|/usr/bin/portmap|$(PREFIX)/bin/portmap|' $$unit >$(DESTDIR)$(UNITS)/$${unit##*/} || exit 1; done
	chmod 644 $(addprefix $(DESTDIR),$(filter-out %/bin/portmap,$(INSTALLED)))

uninstall:	## those files away; first: portmap disable, and portmap flush if the mappings are to go, too
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))

packages:	## .deb, .rpm, .apk (not signed: apk add --allow-untrusted) and Arch, in dist/
	packaging/build.sh $(VERSION)

clean:	## bin/ and dist/ away
	rm -rf bin dist

help:	## this list
	@sed -n 's/^\([a-z-]*\):.*##/\1	/p' Makefile
