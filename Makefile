# `make help` prints the groups ("##@") and the text after "## " of every target.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON := .venv/bin/python
LOCAL := { [ -x $(PYTHON) ] || { echo "error: there is no .venv yet: run 'make up' or 'make install' first" >&2; false; }; } \
	&& $(PYTHON) -m local
OPS := $(PYTHON) -m ops
STAGE := $(PYTHON) -m checks.stages
# Named after the content of what they are made from: in a fresh clone, the time of every file is new.
content = $(shell cat $(1) | sha256sum | cut -c1-16)
TOOLS := build/bin/.$(call content,tests/terratest/go.mod tests/terratest/go.sum)
CLIENT_TOOLS := clients/node_modules/.$(call content,clients/package.json clients/package-lock.json)
EXECUTOR := local/executor/node_modules/.$(call content,local/executor/package.json local/executor/package-lock.json)
AXE := checks/axe/node_modules/.$(call content,checks/axe/package.json checks/axe/package-lock.json)

# PMP_INSTANCE names another copy of the laptop platform (default: local).
ENVIRONMENT ?= local
IDENTITY ?= gitlab
SCOPE ?=
THROUGH ?= prod
ARGS ?=

.PHONY: help
help:
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z0-9-]*:.*## / { printf "  %-18s %s\n", $$1, $$2 }' Makefile

##@ First day

.PHONY: install up demo console reload down status logs trace readers psql shell doctor
install: ## install what is missing: Debian packages (as root), .venv
	@python3 -m local.install $(if $(filter install,$(MAKECMDGOALS)),--offer)

up: install ## start, deploy and test the whole platform; again: update
	@$(LOCAL) up

demo: ## a person's preference centre in the browser
	@$(LOCAL) demo --environment $(ENVIRONMENT)

console: ## a read-only page: users, proof, imports, catalogue, figures
	@$(LOCAL) console --environment $(ENVIRONMENT)

reload: ## changed Lambda code or SQL functions, in seconds (WATCH=1)
	@$(LOCAL) reload $(if $(WATCH),--watch)

down: ## stop everything and remove what 'make up' made
	@if [ -x $(PYTHON) ]; then $(LOCAL) down; else echo "nothing to stop: .venv does not exist"; fi

status: ## what runs where, with its memory
	@$(LOCAL) status

logs: ## follow the logs (LOG=name: one; LOG=function: the Lambda's)
	@$(LOCAL) logs $(LOG) --environment $(ENVIRONMENT)

trace: ## a request's lines in all logs (REQUEST=request_id)
	@test -n "$(REQUEST)" || { echo "error: give a request's id: make trace REQUEST=<request_id>" >&2; exit 1; }
	@$(LOCAL) trace '$(REQUEST)' --environment $(ENVIRONMENT)

readers: ## who read a user's data in the last day (USER_ID=)
	@test -n "$(USER_ID)" || { echo "error: give a user's id: make readers USER_ID=<id>" >&2; exit 1; }
	@$(LOCAL) readers '$(USER_ID)' --environment $(ENVIRONMENT)

psql: ## a session in the database as its owner (SQL="SELECT 1")
	@$(LOCAL) psql --environment $(ENVIRONMENT) $(if $(SQL),--sql "$$SQL")

shell: ## Python with a client of the API and the Lambda
	@$(LOCAL) shell --environment $(ENVIRONMENT)

doctor: ## what is right here, and what to do next (ENVIRONMENT=local)
	@$(LOCAL) doctor --environment $(ENVIRONMENT)

##@ API (ENVIRONMENT=local)

.PHONY: url env token credentials import clients
url: ## the API's base URL on localhost
	@$(LOCAL) url --environment $(ENVIRONMENT)

token: ## a bearer token (SCOPE="pmp/read" narrows it)
	@$(LOCAL) token --environment $(ENVIRONMENT) $(if $(SCOPE),--scope "$(SCOPE)")

# On failure these two print a command that fails, so that `eval "$(make -s env)" && next` never reaches `next`.
env: ## export lines for API clients: URL, token, CA variables
	@$(LOCAL) env --environment $(ENVIRONMENT) $(if $(SCOPE),--scope "$(SCOPE)") || { echo false; exit 1; }

credentials: ## export lines for AWS tools (IDENTITY=admin|gitlab|plan)
	@$(LOCAL) credentials $(IDENTITY) --environment $(ENVIRONMENT) || { echo false; exit 1; }

import: ## import FILE=path (MAPPING= OCCURRED_AT= DRY_RUN=1)
	@test -n "$$FILE" || { echo "error: give a file: make import FILE=path" >&2; exit 1; }
	@$(LOCAL) import "$$FILE" --environment $(ENVIRONMENT) $(if $(DRY_RUN),--dry-run) \
	  $(if $(MAPPING),--mapping '$(MAPPING)') $(if $(OCCURRED_AT),--occurred-at '$(OCCURRED_AT)') \
	  $(if $(MAX_REJECTED),--max-rejected '$(MAX_REJECTED)')

clients: install $(CLIENT_TOOLS) ## generate typed clients and a Postman collection
	@$(OPS) generate-clients

##@ Database and release

.PHONY: release image-lock migrations compatibility sizing
release: install ## commit and tag a release (VERSION=1.2.3); pushes nothing
	@test -n "$(VERSION)" || { echo "error: give a version: make release VERSION=1.2.3" >&2; exit 1; }
	@$(OPS) release '$(VERSION)'

image-lock: install ## record the jobs' image (DIGEST=sha256:…, from ci-image)
	@test -n "$(DIGEST)" || { echo "error: give ci-image's digest: make image-lock DIGEST=sha256:…" >&2; exit 1; }
	@$(OPS) image-lock '$(DIGEST)'

migrations: install ## lint the migrations: squawk, expand before contract
	@$(OPS) migrations

compatibility: install ## this release's and the previous code on both schemas
	@$(OPS) compatibility $(ARGS)

sizing: install ## what a database carries and costs (CLASS=all RATE=5000)
	@$(OPS) sizing $(or $(CLASS),all) $(if $(RATE),--rate $(RATE))

##@ Tests (ARGS="-k name")

.PHONY: test lint format test-unit test-db test-terraform test-infra test-integration
test: install $(TOOLS) $(EXECUTOR) $(AXE) ## what CI runs, with a table of times (STAGES="lint unit")
	@python3 -m local.install --require go node
	@$(STAGE) $(STAGES)

lint: install $(TOOLS) ## formats, types, scanners, own rules (STEPS="ruff tflint")
	@$(STAGE) lint -- $(STEPS)

format: install ## let ruff and terraform rewrite what they can
	@$(PYTHON) -m ruff check --fix --quiet . || true
	@$(PYTHON) -m ruff format --quiet .
	@terraform fmt -recursive >/dev/null

test-unit: install ## Python without any service
	@$(STAGE) unit -- $(ARGS)

test-db: install ## deploy, verify, pgTAP, revert, deploy again
	@$(STAGE) db

test-terraform: install ## 'terraform test' of every module (MODULES="network")
	@$(STAGE) terraform -- $(MODULES)

test-infra: install ## templates, policies and the plans of every environment
	@$(STAGE) infra -- $(ARGS)

test-integration: install $(AXE) ## the Lambda against PostgreSQL behind PgBouncer
	@$(STAGE) integration -- $(ARGS)

.PHONY: test-pipeline test-image test-terratest test-e2e test-import-faults test-slow-reads parity nightly fuzz-api faults
.PHONY: bench bench-api bench-imports bench-growth bench-load bench-migrations soak bench-queue bench-deliveries restore-drill
test-pipeline: install $(EXECUTOR) ## the pipeline's shape (ARGS="-m e2e": all of it, 20 min)
	@$(STAGE) pipeline -- $(ARGS)

test-terratest: install ## apply modules on the emulator, destroy (RUN=TestApi)
	@python3 -m local.install --require go
	@$(STAGE) terratest -- $(RUN)

test-e2e: install ## a second platform: up, smoke test, up again, down
	@$(STAGE) e2e -- $(ARGS)

test-import-faults: install ## imports under faults, many times each (minutes)
	@PMP_FAULT_ROUNDS=20 $(PYTHON) -m pytest tests/integration/imports/test_faults.py

test-slow-reads: install ## imports and exports with slow reads (minutes)
	@$(PYTHON) -m pytest tests/integration/imports/test_slow_reads.py -m nightly

restore-drill: install ## drop a table, restore the instant before, replay erasures
	@$(PYTHON) -m checks.restore_drill $(ARGS)

parity: install ## stand-ins beside the released modules (VERSIONS=file)
	@$(PYTHON) -m checks.parity $(if $(VERSIONS),--versions '$(VERSIONS)') $(ARGS)

test-image: install $(EXECUTOR) ## build the jobs' image, run a merge request's jobs in it
	@$(PYTHON) -m checks.image $(ARGS)

nightly: install $(EXECUTOR) ## sampled tests, fuzz-api, faults, moto, growth, soak …
	@$(PYTHON) -m pytest tests -m nightly
	@$(PYTHON) -m checks.fuzz
	@$(PYTHON) -m checks.faults
	@$(PYTHON) -m checks.judges.emulator
	@$(PYTHON) -m checks.bench.growth --events 250000 1500000
	@$(PYTHON) -m checks.bench.migrations
	@$(PYTHON) -m checks.bench.soak
	@$(PYTHON) -m checks.parity --required
	@$(PYTHON) -m checks.image

fuzz-api: install ## 8,000 generated requests against a throwaway API
	@$(PYTHON) -m checks.fuzz $(ARGS)

faults: install ## each fault under requests: nothing is lost (2 min)
	@$(PYTHON) -m checks.faults $(ARGS)

bench: bench-api bench-imports bench-growth bench-load bench-migrations ## every benchmark; quiet machine

bench-api: install ## cold start, latency, memory, zip beside FastAPI
	@nice -n 5 $(PYTHON) -m checks.bench.api $(ARGS)

bench-imports: install ## imports beside psql's copy and what teams use
	@$(PYTHON) -m checks.bench.imports

bench-growth: install ## each operation at 1.5 and 15 million events (16 min)
	@$(PYTHON) -m checks.bench.growth $(ARGS)

bench-migrations: install ## an index and a backfill of 15 million events (12 min)
	@$(PYTHON) -m checks.bench.migrations $(ARGS)

bench-load: install ## requests at saturation and beside neighbours (10 min)
	@$(PYTHON) -m checks.bench.load $(ARGS)

soak: install ## half of saturation for long; all must be flat (MINUTES=30)
	@$(PYTHON) -m checks.bench.soak $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

bench-deliveries: install ## changes to one receiver, and what they cost a write
	@PYTHONPATH=lambda $(PYTHON) -m checks.bench.deliveries $(ARGS)

bench-queue: install ## reads of a running platform beside 40 imports
	@c=$$($(PYTHON) -m local credentials admin) && eval "$$c" && $(PYTHON) -m checks.bench.queue $(ARGS)

##@ AWS and its emulator

.PHONY: pipeline accounts options policies requests rotate-key moto
pipeline: install $(EXECUTOR) ## promote this commit dev to prod on the laptop (THROUGH=dev)
	@$(LOCAL) pipeline --through $(THROUGH)

accounts: install ## dev to prod, an emulated account for each (20 min)
	@export PMP_INSTANCE=accounts; $(LOCAL) accounts && $(LOCAL) down

policies: install ## granted beside used, per environment and policy (WRITE=1)
	@$(LOCAL) policies $(if $(WRITE),--write)

requests: install ## what AWS would refuse of this platform's requests
	@$(PYTHON) -m checks.aws_requests
	@$(PYTHON) -m checks.judges.policies

moto: install ## deploy all layers to moto, a second emulator (minutes)
	@$(PYTHON) -m checks.judges.emulator

options: install ## apply each option of a module once (ARGS="truststore")
	@$(PYTHON) -m checks.options $(ARGS)

rotate-key: install ## replace a GitLab access key (IDENTITY=plan ENVIRONMENT=…)
	@$(LOCAL) rotate-key $(IDENTITY) --environment $(ENVIRONMENT)

##@ Generated files

.PHONY: docs docs-site screenshots inventories costs dashboard tools clean
docs: install $(TOOLS) ## inputs and outputs in the modules' READMEs
	@$(PYTHON) -m checks.lint.module_documents --write

docs-site: install ## the documents as a site in build/site
	@$(OPS) docs-site

screenshots: install ## docs/preferences.png and docs/console.png
	@$(PYTHON) -m checks.screenshots

inventories: install ## what every layer plans in every environment
	@$(PYTHON) -m checks.inventory --write

costs: install ## docs/costs.md from the tfvars and the list prices
	@$(OPS) costs

dashboard: install ## docs/dashboard.svg from the planned dashboard
	@$(OPS) dashboard

tools: $(TOOLS) ## build tflint and terraform-docs (minutes, once)

clean: ## remove what builds and tests left (not a running platform)
	@rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis

# go.mod and go.sum pin the tools and their hashes; compiling takes minutes of two cores, so it is niced.
$(TOOLS):
	@python3 -m local.install --require go
	@mkdir -p build/bin && rm -f build/bin/.[0-9a-f]*
	@nice -n 10 go -C tests/terratest build -p 2 -trimpath -ldflags='-s -w' -o '$(CURDIR)/build/bin/' tool
	@touch $@

$(EXECUTOR) $(CLIENT_TOOLS) $(AXE):
	@python3 -m local.install --require node
	@npm ci --prefix $(patsubst %/node_modules/,%,$(dir $@)) --ignore-scripts --no-fund --no-audit --loglevel error
	@touch $@
