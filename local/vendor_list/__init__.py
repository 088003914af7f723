"""A test double of the third-party API: a generated Global Vendor List and a server that can fail on request."""
