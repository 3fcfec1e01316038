# vectorgpu's commands. 'make' alone lists them. The work is done by scripts/, which say what they do.
# Variables: KEEP=1 (make demo), PG_CONFIG, CARGO_TARGET_DIR, BENCH (arguments of make bench).

SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## install what is missing, build, search 60,000 real vectors in a private server, and ask language models (KEEP=1 leaves it running)
	@scripts/demo.sh $(if $(filter 1 yes on,$(KEEP)),--keep)

.PHONY: demo-stop
demo-stop: ## stop and delete the server that KEEP=1 left running
	@scripts/demo.sh --stop

.PHONY: test
test: ## everything that CI runs
	@scripts/test.sh

.PHONY: setup
setup: ## install what building, testing and the demo need
	@scripts/setup.sh --lint --clients

.PHONY: miri
miri: ## run the tests of engine/core under Miri (needs a nightly toolchain, and says which)
	@scripts/miri.sh

.PHONY: lint
lint: ## format check, clippy, crate boundaries, cargo-deny, shell, Python and workflow checks
	@scripts/lint.sh all

.PHONY: fmt
fmt: ## format Rust and Python
	@scripts/lint.sh fmt

.PHONY: install
install: ## build in release mode and install into the PostgreSQL of PG_CONFIG
	@scripts/install.sh

.PHONY: installcheck
installcheck: ## regression and outside-in tests of the installed extension
	@scripts/installcheck.sh

.PHONY: package
package: ## build a Debian package into target/
	@scripts/package.sh

.PHONY: bench
bench: ## measure on Fashion-MNIST in a private server (BENCH='--help' shows more)
	@scripts/bench.sh $(BENCH)

.PHONY: bench-report
bench-report: ## write tables and plots to bench/results (BENCH='RESULTS.jsonl ...'; without: anew from those there)
	@scripts/bench.sh report $(BENCH)

.PHONY: bench-kernels
bench-kernels: ## rates of the CPU and GPU kernels beside what this machine can do at best
	@. scripts/env.sh && cargo bench -p vectorgpu-core && cargo bench -p vectorgpu-compute

.PHONY: autotune
autotune: ## measure the kernels' constants on this machine's GPU and write them to shaders/workgroups.txt
	@. scripts/env.sh && cargo run --release -p vectorgpu-compute --example autotune -- --write

.PHONY: clean
clean: ## delete what was built
	@scripts/clean.sh
