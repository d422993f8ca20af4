# What people and CI run. Every target prints one summary line last. `make help` lists them.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.buildVersion=$(VERSION)
PLUGINS := $(patsubst plugins/%/main.go,%,$(wildcard plugins/*/main.go))

## help: this list
.PHONY: help
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST) | column -t -s ':'

# A missing toolchain is an error with its name, never a skipped test.
.PHONY: toolchains
toolchains:
	@scripts/toolchains

## build: the host and the Go plugins, into bin/
.PHONY: build
build:
	@scripts/toolchains build
	@go build -ldflags '$(LDFLAGS)' -o bin/agenthost ./cmd/agenthost
	@for p in $(PLUGINS); do go build -ldflags '$(LDFLAGS)' -o bin/plugins/$$p/$$p ./plugins/$$p; done
	@echo "build ok: bin/agenthost and $(words $(PLUGINS)) plugins ($(PLUGINS))"

## demo: from a fresh clone to a query's result through the whole host
.PHONY: demo
demo: build
	@demo/run

## serve: the host in the foreground with configs/local.yaml
.PHONY: serve
serve: build
	@bin/agenthost serve --config configs/local.yaml
	@echo "serve ok: the host has stopped"

## test: every test in every language
.PHONY: test
test: toolchains build
	@scripts/test

## test-systems: the plugins for outside systems, on emulators and beside flytekit's connectors (a part of test)
.PHONY: test-systems
test-systems: toolchains
	@scripts/test-systems

## test-types: what becomes of values of every type in the plugins' engines (a part of test; TYPES_CHECKS=1000 makes up more of them)
.PHONY: test-types
test-types: toolchains
	@scripts/test-types

## compat-test: plugins and hosts of an earlier commit beside today's (COMPAT="go rust" for other languages; Rust takes minutes the first time)
.PHONY: compat-test
compat-test: toolchains build
	@PREBUILT_PROGRAMS=$(CURDIR)/bin scripts/test-compat $(COMPAT)

## alerts-test: the alert rules and the dashboard on a real Prometheus, with incidents of real hosts (a part of test)
.PHONY: alerts-test
alerts-test: toolchains build
	@scripts/test-alerts

## page-test: the host's page in a real Chromium: what is seen, by whom, axe, the keyboard, no JavaScript (a part of test)
.PHONY: page-test
page-test: toolchains build
	@scripts/test-page

## page-screenshots: the pictures of the page in docs/page
.PHONY: page-screenshots
page-screenshots: build
	@SCREENSHOTS=docs/page scripts/test-page

## test-modules: `go install` of the host, and how little a new plugin depends on (a part of test)
.PHONY: test-modules
test-modules:
	@scripts/test-modules

## tidy: every go.mod and go.sum
.PHONY: tidy
tidy:
	@scripts/tidy
	@echo "tidy ok: $$(go list -m | wc -l) modules and scripts/tools"

## lint: formatting, linters, tidy modules, generated code up to date
.PHONY: lint
lint: toolchains
	@scripts/lint

## verify-plugins: builds every plugin that has a verify.yaml, in any language, and runs `agenthost verify` on it
.PHONY: verify-plugins
verify-plugins: build
	@scripts/verify-plugins

## bench: what the host costs, beside targets: the rows of test/bench (BENCH_QUICK=1: a little of each, BENCH_AGAINST=bin of another commit, BENCH="-rows '^get-' -o json"; BENCH=--help)
.PHONY: bench
bench: bench-programs
	@flytekit=$$(scripts/venv flytekit) && .cache/bench/bench -flytekit "$$flytekit" -tls -traces $(if $(BENCH_AGAINST),-against '$(BENCH_AGAINST)') $(BENCH)

# What the builds say goes to standard error: -o json writes to the other.
.PHONY: bench-programs
bench-programs:
	@$(MAKE) --no-print-directory toolchains build >&2
	@mkdir -p .cache/bench && go build -o .cache/bench/ ./test/bench ./test/bench/plugin ./test/bench/proxy
	@for language in rust java python typescript; do \
	  bin/agenthost verify --spec sdk/$$language/examples/hello/verify.yaml --build --run handshake/line >/dev/null; done

## bench-docs: measures all rows and how the host grows, and writes docs/benchmarks.md with its plots of that (an hour of a quiet machine)
.PHONY: bench-docs
bench-docs: bench-programs
	@mkdir -p docs/benchmarks
	@flytekit=$$(scripts/venv flytekit) && code=0 && \
	  .cache/bench/bench -flytekit "$$flytekit" -tls -traces -growth -o json >.cache/bench/result.json || code=$$?; \
	  test -s .cache/bench/result.json && mv .cache/bench/result.json docs/benchmarks/result.json && \
	  go run ./test/bench/page && exit "$$code" # rows that could not be measured are told on the page, too

## bench-languages: the hello agent in every language, beside each other
.PHONY: bench-languages
bench-languages: toolchains build
	@scripts/verify-plugins hello javascript >&2
	@go run ./test/bench plugins/hello sdk/rust/examples/hello sdk/java/examples/hello sdk/python/examples/hello sdk/typescript/examples/hello docs/javascript

## author-hour: what a new author waits for in each language, from empty caches, as a table (LANGUAGES="go rust"; half an hour of a quiet machine)
.PHONY: author-hour
author-hour: toolchains build
	@scripts/author-hour $(LANGUAGES)

## chaos: jobs of both Flytes while plugins, configuration and hosts are broken at random (CHAOS_SECONDS, CHAOS_SEED)
.PHONY: chaos
chaos: toolchains build
	@for language in rust java python typescript; do \
	  bin/agenthost verify --spec sdk/$$language/examples/hello/verify.yaml --build --run handshake/line >/dev/null; done
	@go run ./test/chaos -guests sdk/rust/examples/hello,sdk/java/examples/hello,sdk/python/examples/hello,sdk/typescript/examples/hello

## chaos-creation: tasks that begin while plugins and hosts are away, none of which may cost an attempt (CHAOS_SECONDS, CHAOS_WITHOUT=G15)
.PHONY: chaos-creation
chaos-creation: toolchains build
	@scripts/java-program plugins/snowflake
	@for environment in bqemulator fakesnow; do scripts/venv $$environment >/dev/null; done
	@go build -o .cache/emulators/bigquery ./plugins/bigquery/bqtest/cmd
	@go build -o .cache/emulators/databricks ./plugins/databricks/fakejobs/cmd
	@flytekit=$$(scripts/venv flytekit) && go run ./test/chaos creation -flytekit "$$flytekit" -emulated

## chaos-guarantees: a short chaos without each of the guarantees, and what is lost then
.PHONY: chaos-guarantees
chaos-guarantees: build
	@go run ./test/chaos guarantees

## swap-under-load: a million polls while a plugin is swapped every second
.PHONY: swap-under-load
swap-under-load: build
	@go run ./test/chaos swap-under-load

## security-test: what a compromised plugin and a stranger would try, as root and as an ordinary user, with sandboxes and without
.PHONY: security-test
security-test: toolchains build
	@flytekit=$$(scripts/venv flytekit) && go run ./test/security -python "$$flytekit/python"

## fuzz: every fuzz target for FUZZ_SECONDS (default 30) each
.PHONY: fuzz
fuzz: toolchains
	@scripts/fuzz

## image: the container image agenthost:$(VERSION), with every plugin (IMAGE_TARGETS="host plugin-duckdb" for others)
.PHONY: image
image:
	@scripts/image $(VERSION) $(IMAGE_TARGETS)

## image-packages: pins today's packages of Debian and Python for the image
.PHONY: image-packages
image-packages:
	@scripts/image-packages

## image-test: builds the images, runs them as a cluster would, and looks into them
.PHONY: image-test
image-test:
	@scripts/image-test $(VERSION)

## image-test-arm64: builds the host and plugins for arm64, and runs them under qemu
.PHONY: image-test-arm64
image-test-arm64:
	@scripts/image-test-arm64 $(VERSION) $(IMAGE_TARGETS)

## image-test-same: builds images twice, the second time without any cache, and compares their digests (an hour)
.PHONY: image-test-same
image-test-same:
	@scripts/image-test-same $(VERSION) $(IMAGE_TARGETS)

## deploying-test: docs/deploying.md followed command by command, under a systemd of its own and in docker compose (root)
.PHONY: deploying-test
deploying-test:
	@go run ./test/deploying machine
	@scripts/docker-compose
	@scripts/image-engine go run ./test/deploying compose

## cluster-test: the chart and the host on a real Kubernetes of one node, built here and in namespaces of its own (CLUSTER_ONLY=case,…, CLUSTER_IMAGE=archive of an image)
.PHONY: cluster-test
cluster-test: toolchains build
	@test/cluster/run

## generate: the Go code of proto/, and the Rust SDK's stubs
.PHONY: generate
generate: toolchains
	@proto/generate
	@AGENTHOST_UPDATE=1 cargo test --quiet --locked --workspace --test contract >/dev/null
	@echo "generate ok: proto/ sdk/rust/src/contract/"

## clean: what the other targets made
.PHONY: clean
clean:
	@rm -rf bin .cache
	@echo "clean ok"
