.DEFAULT_GOAL := help
SHELL := /bin/bash
GO ?= go
export CGO_ENABLED ?= 0
BINS := agent gateway anchor firmware-sim demo

# Set LAN=1 to serve on this machine's network address, so that a phone can scan the code.
DEMO_FLAGS := $(if $(LAN),--lan)

run: build ## gateway, simulated hardware and three agents on this machine, until Ctrl-C
	@bin/demo --bin bin $(DEMO_FLAGS)

demo: build ## the same without hands: until one item's anchored passport is verified
	@bin/demo --bin bin --hands-off

build: ## the commands, into bin/
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ ./agent ./gateway ./anchor ./firmware-sim ./e2e/demo

test: build ## every test that fits in ten minutes, with the race detector
	@bash e2e/test.sh

bench: ## the figures of docs/specification.md
	$(GO) test -run '^$$' -bench . -benchtime 2s ./trace ./statement ./agent/internal/outbox ./gateway/internal/ingest

vectors: ## make vectors/ again; they must come out the same
	$(GO) test ./vectors -update
	git diff --exit-code -- vectors

lint: ## golangci-lint (built on first use, which takes some minutes)
	@test -x bin/golangci-lint || GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
	bin/golangci-lint run ./...

clean: ## remove what make built
	rm -rf bin

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run demo build test bench vectors lint clean help
