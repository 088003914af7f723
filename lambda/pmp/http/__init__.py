"""The HTTP API: requests are matched, authorized and validated by ``openapi.json``, answered by ``routes``."""
