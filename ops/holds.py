"""Legal holds: events that stay, whatever the retention says (docs/adr/0229); from inside the VPC, as ``migrate``."""

import json
import re

from ops import aws
from ops.errors import UserError
from ops.migrate import Migration
from ops.output import say

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_CONSENT = re.compile(r"[a-z][a-z0-9_]{0,62}").fullmatch
_LONGEST_REASON = 500


def place(environment: str, reason: str, user: str | None, consent: str | None, *, everything: bool) -> None:
    """Set a hold and print its id.

    Args:
        environment: name, such as ``dev``.
        reason: for whoever lifts it one day; without personal data.
        user: id of the user whose events stay; None: of all users.
        consent: id of the consent; None: of all consents.
        everything: that the whole environment is meant, which needs neither.

    Raises:
        UserError: an argument is not valid, or names nobody.
    """
    if everything != (user is None and consent is None):
        raise UserError("name a user, a consent or both, or all events of the environment by --everything alone")
    if user is not None and not _UUID(user):
        raise UserError(f"--user {user} is not the id of a user: GET /v1/users?email=… shows it")
    if consent is not None and not _CONSENT(consent):
        raise UserError(f"--consent {consent} is not the id of a consent: GET /v1/consents lists them")
    if not 0 < len(reason) <= _LONGEST_REASON:
        raise UserError(f"--reason has {len(reason)} characters: write 1 to {_LONGEST_REASON}")
    arguments = ", ".join(_literal(value) for value in (user, consent, reason, _operator()))
    found = _ask(environment, f"SELECT pmp.set_legal_hold({arguments})")
    if found["outcome"] == "unknown_user":
        raise UserError(f"no user of {environment} has the id {user}")
    if found["outcome"] == "unknown_consent":
        raise UserError(f"{environment} has no consent {consent}: GET /v1/consents lists them")
    say(f"hold {found['id']} is set: from now on nothing of it leaves")


def lift(environment: str, hold: str) -> None:
    """Lift a hold; what is due then leaves by the next runs of the housekeeping.

    Raises:
        UserError: the hold does not exist, or it was lifted before.
    """
    if not _UUID(hold):
        raise UserError(f"{hold} is not the id of a hold: python -m ops holds lists them")
    outcome = _ask(environment, f"SELECT pmp.lift_legal_hold({_literal(hold)}, {_literal(_operator())})")["outcome"]
    if outcome != "lifted":
        why = "was lifted before" if outcome == "lifted_before" else "does not exist"
        raise UserError(f"hold {hold} of {environment} {why}: python -m ops holds lists them")
    say(f"hold {hold} is lifted")


def show(environment: str) -> None:
    """Print all holds, the active ones first."""
    rows = Migration(environment).run_script(
        "SELECT jsonb_build_object('id', h.id, 'user', s.id, 'consent', k.id, 'reason', h.reason, 'set_by', h.set_by,"
        " 'set_at', pmp.instant(h.set_at), 'lifted_by', h.lifted_by, 'lifted_at', pmp.instant(h.lifted_at))"
        " FROM pmp.legal_hold AS h LEFT JOIN pmp.subject AS s USING (subject_key) LEFT JOIN pmp.consent AS k"
        " USING (consent_key) ORDER BY h.lifted_at IS NOT NULL, h.set_at;\n"
    )
    for row in rows:
        hold = json.loads(row)
        of = " and ".join(f"{kind} {hold[kind]}" for kind in ("user", "consent") if hold[kind]) or "everything"
        end = f", lifted {hold['lifted_at']} by {hold['lifted_by']}" if hold["lifted_at"] else ""
        say(f"{hold['id']}  {of}: {hold['reason']} (set {hold['set_at']} by {hold['set_by']}{end})")
    if not rows:
        say(f"{environment} has no holds")


def _operator() -> str:
    return str(aws.client("sts").get_caller_identity()["Arn"])


def _ask(environment: str, question: str) -> dict[str, str]:
    answer: dict[str, str] = json.loads(Migration(environment).run_script(f"{question};\n")[-1])
    return answer


def _literal(value: str | None) -> str:
    """A value as SQL; a backslash has no meaning in it (standard_conforming_strings)."""
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"
