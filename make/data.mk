# Targets of the database, the imports and their measurements.

.PHONY: test-db import bench-imports test-import-faults

test-db: $(VENV) ## Database: deploy, verify, pgTAP, revert, deploy again on a throwaway cluster
	@$(PYTHON) -m tests.database

import: $(VENV) ## Import FILE=… into the running platform, and follow it to its end
	@test -n "$(FILE)" || { echo "error: give a file: make import FILE=path" >&2; exit 1; }
	@$(PYTHON) -m ci.import_file '$(FILE)'

test-import-faults: $(VENV) ## Imports under faults, each repeated many times (minutes)
	@PMP_FAULT_ROUNDS=20 $(PYTEST) tests/integration/imports/test_faults.py

bench-imports: $(VENV) ## Imports against psql \\copy and what teams use instead: table and plot in docs/bench/
	@$(PYTHON) -m tests.bench.imports
