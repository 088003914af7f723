"""Requests that nobody thought of, generated from the served document."""
