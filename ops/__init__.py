"""The project's commands, ``python -m ops <command>``, for pipeline jobs, operators and the laptop platform."""
