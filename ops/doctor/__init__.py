"""Say what is right with an account, an environment and the GitLab project, and what to do next. Changes nothing.

It can be asked at any time of a first deployment, and in an incident: what builds on something that is missing is not
asked. The checks are in the order in which docs/aws.md makes their subjects.
"""

from collections.abc import Iterable

from ops.doctor import account, environment, gitlab
from ops.doctor.checks import Check, Finding, Verdict, unknown
from ops.errors import UserError
from ops.output import say

_STYLES = {Verdict.RIGHT: "", Verdict.WRONG: "red", Verdict.UNKNOWN: "dim"}


def checks(name: str | None) -> list[Check]:
    """Return all checks; those of an environment only if it is named."""
    return [*account.checks(), *(environment.checks(name) if name else ()), *gitlab.checks()]


def examine(questions: Iterable[Check]) -> dict[str, Finding]:
    """Ask, print what was found as it is found, and return it by the check's name."""
    found: dict[str, Finding] = {}
    blocking: set[str] = set()
    for one in questions:
        if one.after in blocking:
            finding = unknown(f"not asked before {one.after} is right")
            blocking.add(one.name)
        else:
            finding = one.answer()
        if finding.verdict is Verdict.WRONG:
            blocking.add(one.name)
        found[one.name] = finding
        say(f"  {finding.verdict.value} {one.name:<15} {finding.text}", _STYLES[finding.verdict])
        if finding.cure:
            say(f"    {'':<15} do: {finding.cure}")
    return found


def doctor(name: str | None) -> None:
    """Print every finding.

    Raises:
        UserError: something is wrong; the message names the first thing to do.
    """
    found = examine(checks(name))
    bad = [(title, one) for title, one in found.items() if one.verdict is Verdict.WRONG]
    if bad:
        title, first = bad[0]
        raise UserError(f"doctor: {len(bad)} of {len(found)} checks found something wrong, first {title}: {first.cure}")
    not_asked = sum(one.verdict is Verdict.UNKNOWN for one in found.values())
    say(
        f"doctor: {len(found) - not_asked} of {len(found)} checks are right; {not_asked} do not apply, or not to you",
        "bold",
    )
