.PHONY: sizing costs dashboard

sizing: $(VENV) ## what a database class carries and costs (CLASS=db.t3.medium, or CLASS=all)
	@$(PYTHON) -m ci.sizing $(or $(CLASS),all)

costs: $(VENV) ## write docs/costs.md from the environments' tfvars and the list prices
	@$(PYTHON) -m docs.costs

dashboard: $(VENV) ## draw docs/dashboard.svg from the planned CloudWatch dashboard
	@$(PYTHON) -m docs.dashboard
