.PHONY: policies rotate-key

policies: $(VENV) ## granted beside used, per policy of the delivery identity (after make up; WRITE=1 keeps the record)
	@eval "$$($(MAKE) -s credentials IDENTITY=admin)" && \
		$(PYTHON) -m ci.policies .pmp/$(or $(PMP_INSTANCE),local)/iam.jsonl $(if $(WRITE),--write)

rotate-key: $(VENV) ## give GitLab's identity a second access key, prove that both work, end the first (after make up)
	@eval "$$($(MAKE) -s credentials IDENTITY=admin)" && $(PYTHON) -m ci.keys gitlab --save .pmp/$(or $(PMP_INSTANCE),local)/credentials/gitlab.json
