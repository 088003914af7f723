"""What the pipeline's jobs run, and a laptop too: ``python -m ci <command>``."""
