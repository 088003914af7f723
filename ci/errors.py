"""The one kind of error that ends a command with a line a person can act on."""


class CommandError(Exception):
    """What went wrong, with which input, and what to do next, in one line."""


class InterruptedCommandError(Exception):
    """A person or the runner asked to stop, and the running program has ended in good order."""
