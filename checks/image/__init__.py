"""Build the jobs' image without Docker, and run a merge request's jobs in it: ``make test-image``."""
