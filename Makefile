# make alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)
ENGINE  ?= mysql
LINT    := go tool -modfile=.tools/go.mod golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## put resilver and resilver-lab into bin/
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/resilver ./cmd/resilver-lab

.PHONY: lab
lab: build ## get the database servers that tests and demo run on
	bin/resilver-lab fetch

.PHONY: demo
demo: build ## watch a real cluster heal itself, under 3 minutes; ENGINE=mariadb for MariaDB
	bin/resilver-lab demo --engine $(ENGINE)

.PHONY: cc
cc:
	@command -v cc >/dev/null || { \
		echo "the race detector needs a C compiler: installing gcc"; \
		apt-get -q -y update >/dev/null && apt-get -q -y install --no-install-recommends gcc libc6-dev >/dev/null; } || { \
		echo "no C compiler: install gcc and libc6-dev as root, then try again" >&2; exit 1; }

.PHONY: test
test: cc lab ## run the tests, on real servers, with the race detector
	@mkdir -p .lab
	@echo "go test -race ./...  (all of its output goes to .lab/test.log)"
	@go test -race -v -timeout 11m ./... > >(tee .lab/test.log | grep --line-buffered -E '^(ok|FAIL|---|panic:)|DATA RACE|[Ss]ervers?: M|servers: m|ran on m|mysqld [0-9]|mariadbd? [0-9]') 2>&1 || { \
		sleep 1; echo "=== what failed, from .lab/test.log:"; grep -nE -B60 '^\s*--- FAIL|DATA RACE|^panic:' .lab/test.log | tail -n 400; exit 1; }

.PHONY: debootstrap
debootstrap:
	@command -v debootstrap >/dev/null || { \
		echo "the tests with systemd make a system of their own: installing debootstrap"; \
		apt-get -q -y update >/dev/null && apt-get -q -y install --no-install-recommends debootstrap >/dev/null; } || { \
		echo "no debootstrap: install it as root, then try again" >&2; exit 1; }

.PHONY: proof
proof: cc lab ## run the long proofs on real clusters: faults, crashes, refusals
	go test -race -tags proof -timeout 40m -count=1 -v ./cmd/internal/e2e

.PHONY: systemd
systemd: cc debootstrap ## prove the systemd units, in a container (needs docker)
	go test -race -tags proof -timeout 20m -count=1 -v ./cmd/internal/e2e/systemd

.PHONY: lint
lint: ## check format, go vet and the linters of .golangci.yml
	@files=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
		if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi
	go vet ./...
	go vet -tags proof ./...
	$(LINT) run --allow-parallel-runners --build-tags proof ./...

.PHONY: clean
clean: ## remove bin/; the fetched servers stay
	rm -rf bin
