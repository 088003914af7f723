"""A read-only page for the team that runs the platform on this laptop: ``make console``."""
