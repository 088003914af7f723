"""PMP's stand-ins for registry modules against the real ones."""
