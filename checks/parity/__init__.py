"""Comparison of PMP's stand-ins for registry modules with the real modules."""
