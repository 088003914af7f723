.PHONY: inventories parity

inventories: $(VENV) ## write what every layer plans in every environment to tests/infra/inventories
	@$(PYTHON) -m tests.infra.inventory --write

parity: $(VENV) ## compare the plans made with PMP's stand-ins and with the real modules (PMP_MODULE_MIRROR, PMP_PROVIDER_MIRROR)
	@$(PYTHON) -m tests.infra.parity
