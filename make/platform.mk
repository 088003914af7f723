# The laptop platform. PMP_INSTANCE names another copy of it (default: local), ENVIRONMENT one of its four.

PLATFORM := $(PYTHON) -m local
ENVIRONMENT ?= local
IDENTITY ?= gitlab
SCOPE ?=

.PHONY: install up down status logs url token credentials

install: ## install what is missing: Debian packages (as root), .venv from the lock file
	@python3 -m local.install

up: install ## start everything, deploy everything, test it; again: repair and update
	@$(PLATFORM) up

down: ## stop everything and remove what 'make up' made
	@if [ -x .venv/bin/python ]; then $(PLATFORM) down; else echo "nothing to stop: .venv does not exist"; fi

status: ## what runs where, with its memory
	@$(PLATFORM) status

logs: ## follow the logs of all processes (LOG=name: one of them)
	@$(PLATFORM) logs $(LOG)

url: ## the API's base URL (ENVIRONMENT=local)
	@$(PLATFORM) url --environment $(ENVIRONMENT)

token: ## a bearer token (SCOPE="pmp/read" narrows it, ENVIRONMENT=local)
	@$(PLATFORM) token --environment $(ENVIRONMENT) $(if $(SCOPE),--scope "$(SCOPE)")

credentials: ## export lines for AWS tools (IDENTITY=admin|gitlab|plan)
	@$(PLATFORM) credentials $(IDENTITY) --environment $(ENVIRONMENT)
