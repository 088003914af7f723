"""Fuzzing: requests generated from the API document."""
