VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)

.PHONY: build test lint bench demo clean help

build:	## a static binary in bin/
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/portmap ./cmd/portmap

test:	## all tests
	./test.sh

lint:	## gofmt, go vet, golangci-lint
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	golangci-lint run ./...

bench: build	## speed, beside nft
	./bench/run.sh
	go test -run '^$$' -bench . ./rules ./internal/...

demo:	## the whole thing in a throw-away network
	go run ./cmd/portmap demo

clean:
	rm -rf bin dist

help:
	@sed -n 's/^\([a-z]*\):.*##/\1	/p' Makefile
