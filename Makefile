# The project's front door: `make` alone lists what there is.
# Everything is written inside the project: .venv (environment), .cache (tools), .demo (the demo's output).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VENV := .venv
PYTHON_IN_VENV := $(VENV)/bin/python
# The image that the Dockerfile starts from, and the tag of what it makes.
BASE_IMAGE ?= python:3.11-slim-bookworm
IMAGE_PREFIX ?= synthray
IMAGE_TAG ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo dev)
# More arguments for pytest, the demo, campaigns of faults and tests on a cluster,
# e.g. make test TESTS='tests/unit/data -k order'.
TESTS ?= tests
DEMO ?=
CHAOS ?=
ALERT_FAULTS ?=
CLUSTER ?=
ALL ?=
CLUSTER_TESTS ?= tests/cluster

ENVIRONMENT := $(PYTHON_IN_VENV) -m tests.cluster.environment

export PATH := $(CURDIR)/.cache/tools/bin:$(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(VENV)/.complete ## The environment alone: .venv, by uv, pinned by constraints.txt

# A tree that was moved or copied with its .venv would run the other tree's code.
ifneq ($(strip $(file <$(VENV)/.complete)),$(CURDIR))
.PHONY: $(VENV)/.complete
endif
$(VENV)/.complete: pyproject.toml constraints.txt tools/setup-environment.sh
	@PYTHON='$(PYTHON)' tools/setup-environment.sh

.PHONY: demo
demo: setup ## Raw images to a seeded picture on this machine: S3, Ray, a killed worker, live metrics (DEMO='--help')
	@$(PYTHON_IN_VENV) demo/run.py $(DEMO)

.PHONY: test
test: setup ## All tests that need no cluster (TESTS='tests/unit -k order' for some)
	@tools/setup-test-tools.sh
	@$(PYTHON_IN_VENV) -m pytest -n 2 --dist loadfile $(TESTS)

# ---- check: one command locally, the same in CI
.PHONY: check
check: check-format check-lint check-types check-layers check-generated check-dockerfile check-manifests check-scripts docs-site ## Format, lint, types, layers, generated files, Dockerfile, manifests, scripts, docs
	@echo 'check: all passed'

.PHONY: check-format check-lint check-types check-layers check-generated check-dockerfile check-manifests check-scripts
check-format: setup
	ruff format --check
check-lint: setup
	ruff check
	bandit --quiet --recursive src --severity-level medium --configfile pyproject.toml
check-types: setup
	mypy
check-layers: setup
	lint-imports --no-logo
check-generated: setup
	@$(PYTHON_IN_VENV) -m tools.generate_reference --check
	@$(PYTHON_IN_VENV) -m tools.generate_manifests --check
check-dockerfile: setup
	hadolint Dockerfile
check-manifests: setup
	@$(PYTHON_IN_VENV) tools/scan_manifests.py
check-scripts:
	bash -n .ci/run
	for script in tools/*.sh; do bash -n "$$script"; done

.PHONY: format
format: setup ## Formats the code and mends what the linter can mend
	ruff format
	ruff check --fix

.PHONY: docs
docs: setup ## The reference pages, the CRDs and parts of the chart, generated anew from the code
	@$(PYTHON_IN_VENV) -m tools.generate_reference
	@$(PYTHON_IN_VENV) -m tools.generate_manifests

.PHONY: docs-site
docs-site: setup ## The site of docs/ in build/site; a broken link or a list that would not be one is an error
	mkdocs build --strict

.PHONY: bench
bench: setup ## The benchmarks, one after the other; results with their configuration go to standard output
	@for benchmark in benchmarks/bench_*.py; do echo "== $$benchmark"; $(PYTHON_IN_VENV) "$$benchmark"; done

.PHONY: constraints
constraints: setup ## Pins every dependency anew in constraints.txt
	@echo 'hatchling>=1.27' | tools/setup-environment.sh pip compile --quiet --upgrade --no-header --no-annotate \
	    --python-version 3.11 --extra dev --output-file constraints.txt pyproject.toml -

# docker or podman where one answers; else `environment`, the buildah of tests/cluster/environment, which also gives the images to
# that environment's nodes. Its image names begin with localhost/.
BUILDER ?= $(shell for builder in docker podman; do \
    $$builder info >/dev/null 2>&1 && echo $$builder && exit; done; echo environment)
.PHONY: image
image: setup ## The images synthray/operator, worker and storage (BUILDER=..., BASE_IMAGE=..., IMAGE_PREFIX=..., IMAGE_TAG=...)
ifeq ($(BUILDER),environment)
	@$(ENVIRONMENT) image --prefix '$(IMAGE_PREFIX)' --tag '$(IMAGE_TAG)' --revision "$$(git rev-parse HEAD)"
else
	@for target in operator worker storage; do \
	    '$(BUILDER)' build --target "$$target" --build-arg BASE_IMAGE='$(BASE_IMAGE)' \
	        --build-arg REVISION="$$(git rev-parse HEAD)" --tag "$(IMAGE_PREFIX)/$$target:$(IMAGE_TAG)" .; \
	done
endif

# ---- a real Kubernetes cluster on this machine, without Docker; or tests on any other (CLUSTER='--kubeconfig ...')
.PHONY: cluster-up cluster-down test-cluster
cluster-up: setup ## A real Kubernetes of three nodes with KubeRay on this machine (root; the first time builds it)
	@$(ENVIRONMENT) up

cluster-down: setup ## Ends it; images and programs stay
	@$(ENVIRONMENT) down

test-cluster: setup ## Tests on a cluster (ALL=1 the long stories too; CLUSTER='--kubeconfig FILE --image REGISTRY/worker:TAG')
	@$(PYTHON_IN_VENV) -m pytest $(CLUSTER_TESTS) --image 'localhost/$(IMAGE_PREFIX)/worker:$(IMAGE_TAG)' \
	    $(if $(ALL),--all --report docs/benchmarks/stories.md) $(CLUSTER)

.PHONY: chaos
chaos: setup ## A campaign of faults against real runs (CHAOS='--hours 1 --seed 7 --through processes')
	@$(PYTHON_IN_VENV) -m tests.chaos $(CHAOS)

.PHONY: alert-faults
alert-faults: setup ## Real faults that must fire the alerts, by a real Prometheus (ALERT_FAULTS='--only SynthrayNoSteps')
	@tools/setup-test-tools.sh
	@$(PYTHON_IN_VENV) -m tests.chaos.alert_faults $(ALERT_FAULTS)

.PHONY: clean
clean: ## Removes what was made, but the environment (.venv; delete it by hand)
	rm -rf .demo .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find src tests benchmarks tools demo -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
