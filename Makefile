# Every target sets up what it needs. ARGS is handed on: make demo ARGS="--every 500ms"

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
ARGS ?=

.PHONY: help demo test test-agreement check check-docker bench-ingest bench-reconcile bench-check bench-quarantine bench-footprint

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The dev profile: it builds in a fraction of a release's time, and its dependencies are optimized.
demo: ## Watch a library follow its CMS: no server, no Docker, Ctrl-C to stop
	@flags=$$(scripts/setup.sh); exec cargo run $$flags -- demo $(ARGS)

test: ## Run every test, the integration tests on a Postgres of their own
	@flags=$$(scripts/setup.sh); exec cargo test --workspace $$flags $(ARGS)

# Not part of `make test`: its first run installs half a gigabyte of Python from PyPI. CI=1 makes that a must.
test-agreement: ## Compare our verdicts on data with those of datacontract-cli
	@flags=$$(scripts/setup.sh); exec cargo test $$flags --test it -- --ignored --nocapture quality::agreement $(ARGS)

check: ## Check format, lints, documentation and dependencies
	@scripts/setup.sh >/dev/null
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	scripts/check-dependencies.sh

# Not part of CI: it needs root, and its first run is a release build.
check-docker: ## Check Dockerfile and compose file by running them, without a Docker engine
	scripts/check-docker.sh

bench-ingest: ## Measure ingestion side by side with simpler servers
	@flags=$$(scripts/setup.sh); exec cargo bench $$flags --bench ingest -- $(ARGS)

bench-reconcile: ## Measure comparisons side by side with plain scans and reladiff
	@flags=$$(scripts/setup.sh); exec cargo bench $$flags --bench reconcile -- $(ARGS)

bench-check: ## Measure what the shipped checks cost on a million rows
	@flags=$$(scripts/setup.sh); exec cargo bench $$flags --bench check -- $(ARGS)

# The dev profile: what takes time here is the database.
bench-quarantine: ## Measure pages and replay of 100,000 quarantined entries
	@flags=$$(scripts/setup.sh); exec cargo bench $$flags --profile dev --bench quarantine -- $(ARGS)

bench-footprint: ## Measure from a clean clone: demo's first change, tests, memory, start
	@scripts/footprint.sh
