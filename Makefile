# Bulwark: everything a developer runs. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Modules with code of ours. tools/ holds pins only, test/peers other people's programs.
MODULES  := . test test/chart test/scale
# Modules that bring all of Kubernetes with them: built once, never with -race.
HEAVY    := test/control test/conformance
FUZZTIME ?= 10s
ARGS     ?=
CLUSTER  ?=

# All of vet is a stage of its own, and lint has it too: with the tests it would
# look at every library once more.
GOTEST   := go test -race -shuffle=on -vet=off
# A program with the race detector waits a second before it ends, for what threads
# still have to report. Scripts start hundreds.
export GORACE := atexit_sleep_ms=100

# One set of flags for everything that runs without the race detector, so that
# nothing is compiled twice.
export CGO_ENABLED := 0

# Go asks git for the commit to stamp, and git refuses a clone that another user
# owns. Only the binary is stamped, and only where git answers.
export GOFLAGS := $(filter-out -buildvcs%,$(shell go env GOFLAGS)) -buildvcs=false
VCS := $(shell git rev-parse -q --verify HEAD >/dev/null 2>&1 && echo true || echo false)

# $(call each,MODULES,COMMAND) runs it in every module, and fails when one of them did.
each = rc=0; for m in $(1); do (set -x; cd $$m && $(2)) || rc=1; done; [[ $$rc = 0 ]]
# $(call tools,NAME...) puts pinned tools first on PATH, building them when needed.
tools = dir=$$(tools/build $(1)); export PATH="$$dir:$$PATH"

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: build ## build, then guard the example shop on loopback (ARGS='-f DIR' for your own files; CLUSTER=dev for a cluster)
	@if [[ -n "$(CLUSTER)" ]]; then exec test/dev/up $(ARGS); fi; exec bin/bulwark up $(ARGS)

.PHONY: cluster
cluster: ## run a real control plane on this machine and say how to use it
	@exec test/dev/cluster $(ARGS)

.PHONY: build
build: ## compile bin/bulwark
	go build -buildvcs=$(VCS) -o bin/bulwark ./cmd/bulwark

.PHONY: test
test: peers ## run every test of every module, with the race detector, in random order
	@export CGO_ENABLED=1; rc=0; (set -x; $(GOTEST) -timeout 20m ./...) || rc=1; \
	tools/together 'set -x; cd test && $(GOTEST) -timeout 20m $$(go list ./... | grep -v /test/e2e$$)' \
		'set -x; cd test && $(GOTEST) -timeout 20m ./e2e || rc=1; cd control && $(GOTEST) $$(go list ./... | grep -v -e /cmd/ -e /plane$$ -e /oracle$$) || rc=1; exit $${rc:-0}' \
		'set -x; cd test/chart && $(GOTEST) -timeout 20m ./... || rc=1; cd ../scale && $(GOTEST) ./... || rc=1; ../conformance/run || rc=1; exit $${rc:-0}' || rc=1; \
	exit $$rc

.PHONY: e2e
e2e: ## of test, only this: the shop, its policies, outages and permissions on a cluster (4 minutes)
	cd test && CGO_ENABLED=1 go test -race -v -timeout 20m ./e2e

.PHONY: conformance
conformance: ## run the whole Gateway API conformance suite and write its report
	@REPORT=$(CURDIR)/docs/conformance/v1.6.3-bulwark.yaml test/conformance/run $(ARGS)

.PHONY: lint
lint: ## golangci-lint, its formatters included, over every module
	@$(call tools,golangci-lint); cfg=$$PWD/.golangci.yml; $(call each,$(MODULES) $(HEAVY),golangci-lint run --config "$$cfg" ./...)

.PHONY: fmt
fmt: ## rewrite sources the way lint wants them
	@$(call tools,golangci-lint); cfg=$$PWD/.golangci.yml; $(call each,$(MODULES) $(HEAVY),golangci-lint fmt --config "$$cfg" ./...)

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (default 10s)
	@tools/fuzz $(FUZZTIME)

.PHONY: bench
bench: build peers ## measure CPU per request beside the peers
	cd test && go run ./bench $(ARGS)

.PHONY: soak
soak: ## two minutes at saturation with 200 reloads and a dying backend
	cd test && go test ./load -v -count=1 -timeout 10m -load.duration 2m -load.reloads 200

.PHONY: scale
scale: ## measure 5,000 routes on a cluster: propagation, churn under load, memory
	cd test/scale && go run . $(ARGS)

.PHONY: gen
gen: ## regenerate deep copies, CRDs and the reference
	@$(call tools,controller-gen gofumpt); set -x; go generate ./...

.PHONY: check
check: ## everything CI runs; needed before a push, and enough
	@.ci/run

# The rest has no line in the list: parts of the targets above and of .ci/run.
.PHONY: peers gen-check vet vuln
# A test that needs a program which could not be installed says so itself.
peers:
	@[[ ! -e test/install.sh ]] || sh test/install.sh || echo "going on without the packages above" >&2
gen-check: gen
	@tools/unchanged ':(glob)**/zz_generated.*' deploy/crds deploy/helm/bulwark/files/crds docs/reference
vet:
	@$(call each,$(MODULES),go vet ./...)
vuln:
	@tools/vuln $(MODULES)
