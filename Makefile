VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)

.PHONY: build test test-boot lint fuzz bench demo clean help

build:	## a static binary, bin/portmap
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/portmap ./cmd/portmap

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

bench:	## the speed of portmap, beside nft
	go test -run '^$$' -bench . ./...
	./bench/run.sh

demo:	## the whole thing in a throw-away network
	go run ./cmd/portmap demo

clean:	## bin/ and dist/ away
	rm -rf bin dist

help:	## this list
	@sed -n 's/^\([a-z-]*\):.*##/\1	/p' Makefile
