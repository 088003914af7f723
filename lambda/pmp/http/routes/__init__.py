"""One module per part of the API; each function is an operation of ``openapi.json``."""
