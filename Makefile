# `make help` prints the text after '## ' of every target, here and in make/*.mk.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON := .venv/bin/python
VENV := .venv/pmp-lock.sha256
PYTEST := $(PYTHON) -m pytest
TOOLS := build/bin/.stamp

.PHONY: help
help: ## every target with what it does
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST) | sort

# Whoever needs Python, PostgreSQL and the rest depends on this file: the same installation as before 'make up'.
$(VENV): requirements.lock local/install.py
	@python3 -m local.install
	@touch $@

## ---------------------------------------------------------------- tests

.PHONY: test lint format test-unit test-integration test-terraform test-infra test-terratest test-e2e
test: $(VENV) ## everything that CI runs, what fails fastest first, with a table of times (STAGES="lint unit")
	@$(PYTHON) -m tests.stages $(STAGES)

lint: $(VENV) ## formats, types, scanners and PMP's own rules (STEPS="ruff tflint"; names: STEPS=list)
	@$(PYTHON) -m tests.lint $(STEPS)

format: $(VENV) ## let ruff and terraform rewrite what they can
	@$(PYTHON) -m ruff check --fix --quiet . || true
	@$(PYTHON) -m ruff format --quiet .
	@terraform fmt -recursive >/dev/null

test-unit: $(VENV) ## the Lambda, ci and local without any service (ARGS="-k name")
	@$(PYTEST) tests/unit $(ARGS)

test-integration: $(VENV) ## the Lambda against a real PostgreSQL behind PgBouncer
	@$(PYTEST) tests/integration $(ARGS)

test-terraform: $(VENV) ## 'terraform test' of every module (MODULES="network database")
	@$(PYTHON) -m tests.terraform $(MODULES)

test-infra: $(VENV) ## templates, policies and the planned resources of every environment
	@$(PYTEST) tests/infra $(ARGS)

test-terratest: $(VENV) ## apply modules on the laptop's AWS, ask its APIs, destroy (RUN=TestNetwork)
	@$(PYTHON) -m tests.terratest '$(RUN)'

test-e2e: $(VENV) ## a second laptop platform: up, smoke test, up again, down
	@$(PYTEST) tests/e2e $(ARGS)

## ---------------------------------------------------------------- tools

.PHONY: tools docs clean
tools: $(TOOLS) ## build tflint, its AWS ruleset and terraform-docs into build/bin (minutes, once)

# The versions and hashes of the tools are those of the Go module; a niced compile, as it takes minutes of two cores.
$(TOOLS): tests/terratest/go.mod tests/terratest/go.sum
	@mkdir -p build/bin
	@nice -n 10 go -C tests/terratest build -p 2 -trimpath -ldflags='-s -w' -o '$(CURDIR)/build/bin/' tool
	@touch $@

docs: $(TOOLS) ## write inputs and outputs of every Terraform module into its README.md
	@$(PYTHON) -m tests.lint.module_documents --write

clean: ## remove what builds and tests left (not .venv, not a running platform)
	@rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis

-include make/*.mk
