"""What the pipeline's jobs run, and a laptop too: ``python -m ops <command>``."""
