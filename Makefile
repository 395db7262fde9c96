# make alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)
ENGINE  ?= mysql
LINT    := go tool -modfile=.tools/go.mod golangci-lint
# An ordinary user's PATH lacks these on Debian.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# $(call need,CHECK,PACKAGES,WHY): where CHECK fails, root gets the packages
# installed, and anybody else is told to.
define need
@{ $(1); } >/dev/null 2>&1 || { \
	[ "$$(id -u)" = 0 ] || { echo "$(3); run as root: apt-get install $(2)" >&2; exit 1; }; \
	echo "$(3): installing $(2)"; \
	out=$$(apt-get -q -y update 2>&1; DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $(2) 2>&1) || { \
		echo "$(3), and apt-get cannot install $(2): $$(grep -m 1 -E '^(E:|W: Failed)' <<< "$$out" || tail -n 1 <<< "$$out")" >&2; exit 1; }; }
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Without cgo: static programs, and 1.7 MB less of resident memory. Users and
# groups are then those of /etc/passwd and /etc/group.
.PHONY: build
build: ## put resilver and resilver-lab into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/resilver ./cmd/resilver-lab

.PHONY: lab
lab: build ## get the database servers that tests and demo run on
	bin/resilver-lab fetch

.PHONY: demo
demo: build ## watch a real cluster heal itself, under 3 minutes; ENGINE=mariadb for MariaDB
	bin/resilver-lab demo --engine $(ENGINE)

.PHONY: bench
bench: build ## measure on a quiet machine, both engines, about 30 minutes; writes docs/performance.md
	bin/resilver-lab bench --data 2GiB --markdown docs/performance.md

.PHONY: cc
cc:
	$(call need,echo '#include <stdlib.h>' | cc -E -,gcc libc6-dev,the race detector needs a C compiler)

.PHONY: test
test: cc lab ## run the tests, on real servers, with the race detector
	@mkdir -p .lab
	@echo "go test -race ./...  (all of its output goes to .lab/test.log)"
	@go test -race -v -timeout 11m ./... > >(tee .lab/test.log | grep --line-buffered -E '^(ok|FAIL|---|panic:)|DATA RACE|servers?: m') 2>&1 || { \
		sleep 1; echo "=== what failed, from .lab/test.log:"; grep -nE -B60 '^\s*--- FAIL|DATA RACE|^panic:' .lab/test.log | tail -n 400; exit 1; }

.PHONY: debootstrap
debootstrap:
	$(call need,command -v debootstrap,debootstrap,the tests with systemd make a system of their own)

.PHONY: docker
docker:
	@out=$$(docker version 2>&1) || { \
		echo "make systemd needs docker, whose daemon this user may ask; install docker.io and start it: $$(tail -n 1 <<< "$$out")" >&2; exit 1; }

.PHONY: disks
disks:
	@[ "$$(id -u)" = 0 ] || { echo "the long proofs mount file systems, fill them and cut their power: run them as root" >&2; exit 1; }
	$(call need,command -v mkfs.ext4 && command -v mount,e2fsprogs mount,the long proofs mount file systems)

# What the failed tests of a verbose log said, each by itself, less the ends of
# the servers' logs: tests that run side by side speak in turns.
said = /^=== / {name = $$3; next} /^    [^ ]/ {log_end = /=== the end of/} ! log_end {lines[name] = lines[name] $$0 "\n"} \
	/--- FAIL: / {failed[$$3]} /DATA RACE|^panic:/ {print} END {for (name in failed) print "=== " name "\n" lines[name]}

.PHONY: proof
proof: disks cc lab ## run the long proofs on real clusters: faults, crashes, refusals
	@mkdir -p .lab
	go test -race -tags proof -timeout 50m -parallel 4 -count=1 -v ./cmd/internal/e2e > >(tee .lab/proof.log) 2>&1 || { \
		sleep 1; echo "=== what failed, from .lab/proof.log:"; awk '$(said)' .lab/proof.log; exit 1; }

SEED  ?= 1
CELLS ?=
.PHONY: chaos
chaos: disks build cc lab ## kill every program at every point of a rebuild, fill its disk at every step, hours, goes on where it was; SEED=7 CELLS='mysql swap'; writes docs/reliability.md
	@mkdir -p .lab
	@echo "the crash matrix  (all of its output goes to .lab/chaos.log)"
	@failed=0; RESILVER_CHAOS=$(CURDIR)/.lab/chaos.jsonl RESILVER_CHAOS_REVISION=$(VERSION) RESILVER_CHAOS_SEED=$(SEED) RESILVER_CHAOS_CELLS='$(CELLS)' \
		go test -race -tags proof -timeout 8h -count=1 -v -run 'TestInvariant5CrashMatrix|TestDiskFullAtEveryStep' ./cmd/internal/e2e \
		> >(tee .lab/chaos.log | grep --line-buffered -E '^(ok|FAIL|panic:)|--- FAIL|DATA RACE|cells to run| to go$$|full from|left to the next run') 2>&1 || failed=$$?; \
		bin/resilver-lab reliability --from .lab/chaos.jsonl --markdown docs/reliability.md; exit $$failed

.PHONY: systemd
systemd: docker cc debootstrap ## prove heals under systemd, in containers (needs docker)
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
