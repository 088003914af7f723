## ---------------------------------------------------------------- the API

.PHONY: bench bench-api fuzz-api
bench: bench-api bench-imports ## both benchmarks, each beside its floor and its peers

bench-api: $(VENV) ## the API beside FastAPI on one PostgreSQL: cold start, latency, memory, zip (docs/bench/api.md)
	@nice -n 5 $(PYTHON) -m tests.bench.api $(ARGS)

fuzz-api: $(VENV) ## 5,000 generated requests, none may find a 5xx or break the document (ARGS='--url … --token …')
	@$(PYTHON) -m tests.fuzz $(ARGS)
