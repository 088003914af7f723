"""What an environment can be rolled back to: the versions of the function that were deployed there."""

import subprocess

from ops.alias import Alias, Published
from ops.errors import UserError
from ops.output import say
from ops.settings import ROOT, require_digest

_SHOWN = 20


def show(environment: str) -> None:
    """Print the environment's versions, newest first, with date, commit and zip, and which of them serve.

    Raises:
        UserError: nothing is deployed there.
    """
    alias = Alias.of(environment)
    weights, versions = alias.weights(), alias.versions()
    for version in versions[:_SHOWN]:
        say(_line(version, weights))
    if (hidden := len(versions) - _SHOWN) > 0:
        say(f"  and {hidden} older ones")
    say(
        f"python -m ops rollback VERSION --environment {environment} deploys one again. The schema stays: it suits the "
        "code of this release and of the one before"
    )


def _line(version: Published, weights: dict[str, float]) -> str:
    share = f"serves {weights[version.number]:.0%}" if version.number in weights else ""
    date = version.date[:19].replace("T", " ")
    return (
        f"{version.number:>5}  {date} UTC  {version.release[:12]}  {version.code_sha256[:12]}  {share:<11}  "
        f"{_subject(version.release)}"
    ).rstrip()


def _subject(commit: str) -> str:
    """Return the subject of a commit that this clone has, else an empty string."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%s", commit, "--"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def digest_of(environment: str, wanted: str) -> str:
    """Return the SHA-256 of the zip that a person wants to deploy again.

    Args:
        environment: name, such as ``prod``.
        wanted: the number of a version that was deployed there, or a zip's digest itself.

    Raises:
        UserError: the version was never deployed there, its zip has no digest, or the text is neither.
    """
    if not wanted.isdecimal() or len(wanted) == 64:
        return require_digest(wanted)
    found = {version.number: version for version in Alias.of(environment).versions()}
    if wanted not in found:
        raise UserError(
            f"{environment} has no version {wanted}: 'python -m ops releases --environment {environment}' lists them"
        )
    return require_digest(found[wanted].code_sha256)
