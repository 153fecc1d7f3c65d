# `make` says what there is. Every target installs what it needs, and fails where it cannot.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
# The order of prerequisites is the order of work, also under `make -j`.
.NOTPARALLEL:

# How long the demo runs.
DURATION ?= 120s

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
# The binary that third-party clients are let loose on.
export TIDEKEEPER_BIN ?= $(TARGET)/debug/tidekeeper

VENV := .venv
REQUIREMENTS := tests/e2e/requirements.txt
# ministack pins another botocore than the clients.
VENV_MINISTACK := .venv-ministack
REQUIREMENTS_MINISTACK := tests/e2e/requirements-ministack.txt
PYTEST := $(VENV)/bin/pytest -c tests/e2e/pytest.ini --rootdir tests/e2e -p no:cacheprovider
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help
help: ## What there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: ## Builds the daemon and lets it keep eight views fresh on a local warehouse (DURATION=120s)
	cargo run --locked -- demo --for $(DURATION)

# The cheap checks come first, and the third-party clients last: their closing line is the
# last one printed.
.PHONY: test
test: fmt-check tools templates clippy doc unit policy e2e ## Installs what the tests need and runs all of them

.PHONY: fmt-check
fmt-check: ## Formatting
	cargo fmt --all --check

.PHONY: clippy
clippy: ## Lints, with and without the lab
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --package tidekeeper --no-default-features --lib --bins -- -D warnings

.PHONY: doc
doc: ## Documentation builds without a warning
	RUSTDOCFLAGS=-Dwarnings cargo doc --locked --workspace --no-deps --document-private-items

.PHONY: unit
unit: ## Rust tests
	cargo test --locked --workspace

.PHONY: build
build: ## The binary that the third-party clients drive
	cargo build --locked --bin tidekeeper

.PHONY: e2e
e2e: tools build ## Third-party clients against the binary (ARGS="-k demo" picks some)
	$(PYTEST) --ignore tests/e2e/test_templates.py tests/e2e $(ARGS)

.PHONY: templates
templates: $(VENV)/.installed ## Container and deployment files: cfn-lint, hadolint, yamllint
	$(PYTEST) tests/e2e/test_templates.py

.PHONY: tools
tools: $(VENV)/.installed $(VENV_MINISTACK)/.installed prometheus ## Installs what the tests need: a virtual environment, Prometheus

$(VENV)/.installed: $(REQUIREMENTS)
	python3 -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $(REQUIREMENTS)
	$(VENV)/bin/pip check --disable-pip-version-check
	touch $@

$(VENV_MINISTACK)/.installed: $(REQUIREMENTS_MINISTACK)
	python3 -m venv --clear $(VENV_MINISTACK)
	$(VENV_MINISTACK)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $(REQUIREMENTS_MINISTACK)
	$(VENV_MINISTACK)/bin/pip check --disable-pip-version-check
	touch $@

.PHONY: prometheus
prometheus:
	@if ! { command -v prometheus && command -v promtool; } >/dev/null; then \
	  $(AS_ROOT) apt-get update -qq; \
	  $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus; \
	fi
	@for tool in prometheus promtool; do \
	  command -v $$tool >/dev/null || { echo "make: $$tool is missing: install the package \`prometheus\`" >&2; exit 1; }; \
	done

# Not part of `make test`: building cargo-deny takes minutes. `advisories` needs the RustSec
# database, which is fetched from GitHub.
DENY := licenses bans sources
.PHONY: deny
deny: ## Licences, sources and versions of the dependencies (DENY="advisories …" for more)
	cargo deny --version 2>/dev/null || cargo install --locked cargo-deny
	cargo deny --locked check $(DENY)

SEEDS := 10
.PHONY: policy-report
policy-report: ## What the refresh policy promises, over many seeds (SEEDS=10), and what it costs
	cargo run --locked --release --package tidekeeper-simulator --example policy_report -- $(SEEDS)

.PHONY: policy
policy: ## The same promises over three seeds, as a test
	cargo run --locked --release --package tidekeeper-simulator --example policy_report -- 3

.PHONY: lab-report
lab-report: DURATION := $(if $(filter file,$(origin DURATION)),10m,$(DURATION))
lab-report: $(VENV)/.installed build ## Freshness, awake time and calls on local labs, next to what is promised (DURATION=10m)
	$(VENV)/bin/python scripts/lab_report.py --duration $(DURATION) $(PARTS)

.PHONY: bench
bench: ## Events per second of the scheduler
	cargo bench --locked --package tidekeeper-scheduler

.PHONY: release
release: ## The binary as it is shipped
	cargo build --locked --release --bin tidekeeper

.PHONY: footprint
footprint: release ## Size of the release binary, resident memory when idle, time from start to ready
	TIDEKEEPER_BIN=$(TARGET)/release/tidekeeper python3 scripts/footprint.py
