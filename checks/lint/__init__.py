"""``make lint``: formats, types, scanners and PMP's own rules."""
