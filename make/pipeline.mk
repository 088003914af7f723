# The pipeline on a laptop, and what its jobs call.

EXECUTOR := ci/node_modules/.package-lock.json
THROUGH ?= prod

.PHONY: pipeline migrations test-pipeline

$(EXECUTOR): ci/package.json ci/package-lock.json
	@npm ci --prefix ci --ignore-scripts --no-fund --no-audit --loglevel error
	@touch $@

pipeline: $(VENV) $(EXECUTOR) ## promote this commit dev → staging → prod by .gitlab-ci.yml on the laptop platform (THROUGH=staging)
	@$(PYTHON) -m ci.laptop --through $(THROUGH)

migrations: $(VENV) ## lint the database's migrations: squawk, expand before contract
	@$(PYTHON) -m ci migrations

test-pipeline: $(VENV) $(EXECUTOR) ## the pipeline's shape, its executor, migrations under load (ARGS="-m e2e": all of it on a platform)
	@$(PYTEST) tests/pipeline -m "not e2e" $(ARGS)

.PHONY: compatibility
compatibility: $(VENV) ## the code of this release and of the one before, each on the schema of the other
	@$(PYTHON) -m ci.compatibility $(ARGS)
