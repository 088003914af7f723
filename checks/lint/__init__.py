"""``make lint``: formatters, type checks, scanners and PMP's own rules."""
