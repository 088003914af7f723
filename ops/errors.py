"""Errors that a person can act on, and the one place that turns them into an error message and an exit status."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """An error whose one-line message says what went wrong, with which input, and what to do next."""


class InterruptedRunError(Exception):
    """A person or the runner asked to stop, and the running program has shut down cleanly."""


def run_command(command: Callable[[], object], interrupted: str) -> None:
    """Run a command-line application and print its error, if a person can act on it, as the last line on stderr.

    Exit status: 1 after a `UserError` or an error of botocore, 130 after an interruption.

    Args:
        command: the application; it may also call ``sys.exit``.
        interrupted: the line to print after Ctrl-C or SIGTERM.
    """
    try:
        command()
    except UserError as error:
        sys.exit(f"error: {error}")
    except (InterruptedRunError, KeyboardInterrupt):
        print(interrupted, file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if explanation := _explain_aws(error):
            sys.exit(f"error: {explanation}")
        raise


def _explain_aws(error: Exception) -> str | None:
    """Return one line about a failed AWS call, or None for any other error."""
    # Deferred: botocore takes a quarter of a second to load, and the installer runs before botocore is installed.
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return None
    if isinstance(error, ClientError):
        detail = error.response.get("Error", {})
        return f"AWS refused {error.operation_name}: {detail.get('Code')}: {detail.get('Message')}"
    if isinstance(error, BotoCoreError):
        return f"AWS cannot be reached: {error}"
    return None
