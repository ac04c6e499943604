.DEFAULT_GOAL := help
SHELL := /bin/bash
GO ?= go
export CGO_ENABLED ?= 0
BINS := agent gateway anchor firmware-sim demo

# Set LAN=1 to serve on this machine's network address, so that a phone can scan the code.
DEMO_FLAGS := $(if $(LAN),--lan)

run: go-build ## gateway, simulated hardware and three agents on this machine, until Ctrl-C
	@bin/demo --bin bin $(DEMO_FLAGS)

demo: go-build ## the same without hands: until one item's anchored passport is verified
	@bin/demo --bin bin --hands-off

build: go-build web ## the commands into bin/, the verifier for phones and browsers into web/dist/

go-build:
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ ./agent ./gateway ./anchor ./firmware-sim ./e2e/demo

# Without npm the Go side builds and runs all the same; tests that need it skip and say so.
web:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory web/dist/verify/cli.mjs; \
	else echo "build: no npm: web/ is left out"; fi

web/node_modules/.stamp: web/package-lock.json
	@for try in 1 2 3; do (cd web && npm ci --ignore-scripts --no-audit --no-fund) && break; sleep $$((try * 5)); done
	@touch $@

web/dist/verify/cli.mjs: web/node_modules/.stamp web/build.mjs web/esbuild.mjs web/verify/cli.mjs $(shell find web/verify/src web/verify/shrink -name '*.[tm]*s' 2>/dev/null)
	cd web && node build.mjs
	@touch $@

test: build ## every test that fits in ten minutes, with the race detector
	@bash e2e/test.sh

test-long: build ## the agent's budget, a month without a gateway, a chain of several, a gateway's ten years (an hour; root for the card)
	TRAILMARK_LONG=1 $(GO) test -count=1 -timeout 60m -v -run '^(TestAgentBudget|TestOffline|TestOfflineMonth|TestConsortium|TestKill|TestMillionAnchors|TestFlippedValues)$$' ./agent/internal/outbox ./internal/chain/comet ./gateway/internal/fsck ./e2e
	TRAILMARK_LONG=1 $(GO) test -count=1 -timeout 60m -v -run '^(TestRangeProofOfAnyWindow|TestJourneyIsFound)$$' ./gateway/internal/store ./gateway/internal/journey

test-geth: ## the submitter on a real geth that is killed and forgets (builds geth: some minutes)
	$(GO) -C internal/chain/evm/testdata/geth test -count=1 -timeout 30m -v .

bench: ## the figures of docs/specification.md
	$(GO) test -run '^$$' -bench . -benchtime 2s ./trace ./statement ./agent/internal/outbox ./gateway/internal/ingest

vectors: ## make vectors/ again; they must come out the same
	$(GO) test ./vectors -update
	git diff --exit-code -- vectors

contract: web/node_modules/.stamp ## compile anchor/contract/Anchors.sol; the artifact must come out the same
	node anchor/contract/build.mjs
	git diff --exit-code -- anchor/contract

lint: ## golangci-lint (built on first use, which takes some minutes)
	@test -x bin/golangci-lint || GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
	bin/golangci-lint run ./...

AGENT_LD = -s -w -X trailmark/agent/app.version=$(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

cross: ## the agent for Raspberry Pis: bin/arm (ARMv6 and up) and bin/arm64
	CGO_ENABLED=0 GOOS=linux GOARCH=arm GOARM=6 $(GO) build -trimpath -ldflags '$(AGENT_LD)' -o bin/arm/agent ./agent
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build -trimpath -ldflags '$(AGENT_LD)' -o bin/arm64/agent ./agent

# The newest release that the Go proxy serves whole; later ones need a module that it does not.
NFPM := v2.43.0
DEB_VERSION := 0.0.$(shell git rev-list --count HEAD 2>/dev/null || echo 0)+g$(shell git rev-parse --short HEAD 2>/dev/null || echo 0)

package: cross ## bin/*.deb: the agent with its unit, for armhf and arm64
	@test -x bin/nfpm || GOBIN=$(CURDIR)/bin CGO_ENABLED=0 $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM)
	@rm -f bin/*.deb
	DEB_VERSION=$(DEB_VERSION) DEB_ARCH=arm6 GO_ARCH=arm bin/nfpm package -f deploy/agent/nfpm.yaml -p deb -t bin/
	DEB_VERSION=$(DEB_VERSION) DEB_ARCH=arm64 GO_ARCH=arm64 bin/nfpm package -f deploy/agent/nfpm.yaml -p deb -t bin/
	@ls -l bin/*.deb

clean: ## remove what make built
	rm -rf bin

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)


.PHONY: run demo build go-build web test test-long test-geth bench vectors contract lint cross package clean help
