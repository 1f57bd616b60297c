# Every target here is what CI and a person run; the scripts install what is missing (Debian packages as root, then .venv).

VENV := .venv/bin
SUITES := unit bundle stack sinks kernel image cluster matrix

.DEFAULT_GOAL := help
.PHONY: help setup run run-docker-compose image test test-cluster check bench matrix docs lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install everything that is needed into the system and .venv
	@scripts/setup all

run: ## Watch this host: the agent with a live table in the terminal (ARGS="--sort rtt")
	@scripts/setup run
	@$(VENV)/bpfleet top $(ARGS)

run-docker-compose: ## The agent, Prometheus and Grafana in containers on this host (ARGS="agent prometheus")
	@scripts/compose $(ARGS)

image: ## Build the agent's image with docker or buildah (ARGS="NAME:TAG")
	@scripts/image $(ARGS)

test: ## Run every suite that this machine can run (SUITES="unit", ARGS="-k name")
	@scripts/setup test
	@scripts/test $(SUITES) -- $(ARGS)

test-cluster: ## The cluster suite, on the cluster of KUBECONFIG, else on kind's `bpfleet`, else on a local one
	@scripts/setup test
	@scripts/test cluster -- $(ARGS)

check: ## Lint, types, layers, C format, and docs that are up to date
	@scripts/setup check
	@scripts/check

bench: ## Measure the goals: a table and build/bench.json (ARGS="--quick")
	@scripts/setup test
	@$(VENV)/python -m bench $(ARGS)

matrix: ## Boot other kernels under QEMU, with a known load: docs/kernels.md (ARGS="--boots plain 5.10")
	@scripts/setup matrix
	@$(VENV)/python -m matrix $(ARGS)

docs: ## Generate the pages and the schema of the chart that come from declarations
	@scripts/setup docs
	@scripts/docs

lock: ## Pin the requirements anew (ARGS="--upgrade")
	@scripts/setup docs
	@scripts/lock $(ARGS)

clean: ## Remove .venv and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
	@find bench matrix src tests -name __pycache__ -type d -prune -exec rm -rf {} +
