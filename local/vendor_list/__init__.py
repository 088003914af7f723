"""The third party's double: a Global Vendor List of the true shape, generated, and a server that fails as told."""
