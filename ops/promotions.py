"""What pipelines have promoted to an environment, in SSM parameters: an older pipeline must not apply over a newer one.

GitLab refuses outdated deployments, too, but only where a setting of the project says so, and not when a job is run
again that has already deployed once.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping

from ops import aws
from ops.errors import UserError
from ops.output import say
from ops.settings import ROOT, Target


def claim(target: Target, commit: str) -> None:
    """Make ``commit`` the newest that was applied to ``target``, before it is applied.

    Raises:
        UserError: a newer commit was applied there, or one that this clone does not know.
    """
    name = _name(target, "commit")
    newest = aws.parameter_or_none(name)
    if newest == commit:
        return
    if newest is not None:
        _refuse_older(target, commit, newest, name)
    aws.client("ssm").put_parameter(Name=name, Value=commit, Type="String", Overwrite=True)


def approved(target: Target, effects: Mapping[str, str]) -> bool:
    """Whether a plan with these effects was shown before in this pipeline. It is remembered for the next time."""
    digest = hashlib.sha256(json.dumps(effects, sort_keys=True).encode()).hexdigest()
    value = f"{os.environ.get('CI_PIPELINE_ID', 'none')} {digest}"
    name = _name(target, "shown")
    if aws.parameter_or_none(name) == value:
        return True
    aws.client("ssm").put_parameter(Name=name, Value=value, Type="String", Overwrite=True)
    return False


def forget(target: Target) -> None:
    """Remove what is remembered of a target that was destroyed."""
    if target.environment:
        ssm = aws.client("ssm")
        for what in ("commit", "shown"):
            try:
                ssm.delete_parameter(Name=_name(target, what))
            except ssm.exceptions.ParameterNotFound:
                continue


def _name(target: Target, what: str) -> str:
    return f"/pmp/{target.environment}/promotion/{target.layer}_{what}"


def _refuse_older(target: Target, commit: str, newest: str, parameter: str) -> None:
    if _is_ancestor(newest, commit):
        return
    if not _git("cat-file", "-e", f"{newest}^{{commit}}"):
        raise UserError(
            f"{target} was deployed from {newest[:12]}, which is not in the history of {commit[:12]}: this pipeline is "
            "older, so promote the newest commit instead. If the branch was rewritten, or the clone is shallow "
            f"(GIT_DEPTH), and you are sure: aws ssm delete-parameter --name {parameter}"
        )
    if _is_ancestor(commit, newest):
        raise UserError(
            f"{target} was deployed from {newest[:12]}, which is newer than {commit[:12]}: promote the newest commit, "
            "or go back to an earlier zip with the operation 'rollback'"
        )
    say(f"warning: {target} was deployed from {newest[:12]}, a commit of another branch", "yellow")


def _is_ancestor(older: str, newer: str) -> bool:
    return _git("merge-base", "--is-ancestor", older, newer)


def _git(*arguments: str) -> bool:
    return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, check=False).returncode == 0
