"""Granted beside used: ``python -m ci.policies RECORD…`` compares the delivery identity's policies with a deployment.

The laptop platform records every decision of its IAM enforcement as a JSON line ``{"principal", "action", "resource",
"decision", "sid"}``. What a policy grants and no deployment asked for stands in ``modules/delivery/unused-grants.yml``
with its reason, or is reported and fails. ``--write`` adds the record to ``modules/delivery/used-actions.yml``, by
which the tests judge the policies without a platform.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from rich.console import Console
from rich.table import Table

MODULE = Path(__file__).parents[1] / "modules/delivery"
USED = MODULE / "used-actions.yml"
UNUSED = MODULE / "unused-grants.yml"
USERS = {"delivery": "gitlab", "plan": "gitlab-plan"}


@dataclass(frozen=True)
class Balance:
    """What one policy grants, and what came of it; all of them sets of IAM actions such as ``ec2:CreateVpc``."""

    policy: str
    granted: frozenset[str]
    used: frozenset[str]
    explained: frozenset[str]

    @property
    def unexplained(self) -> frozenset[str]:
        """Granted, never asked for, and no reason given."""
        return self.granted - self.used - self.explained


def granted(document: Mapping[str, Any]) -> frozenset[str]:
    """Actions that a policy document allows."""
    return frozenset(
        action
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    )


def recorded(lines: Iterable[str], user: str) -> frozenset[str]:
    """Actions that the IAM user ``user`` asked for and was allowed, by the lines of a record."""
    allowed = set()
    for line in lines:
        decision = json.loads(line)
        if decision["decision"] == "Allow" and decision["principal"].endswith(f"/{user}"):
            allowed.add(decision["action"])
    return frozenset(allowed)


def used_actions(user: str) -> frozenset[str]:
    """Actions of ``user`` in the committed record; a plan asks for the same, whoever makes it."""
    record = yaml.safe_load(USED.read_text()) if USED.exists() else {}
    return frozenset(record.get(user, [])) | frozenset(record.get(USERS["delivery"], []))


def explained_actions() -> dict[str, str]:
    """Reason by action of what is granted although no deployment on the laptop platform asks for it."""
    return {
        action: group["reason"] for group in yaml.safe_load(UNUSED.read_text())["unused"] for action in group["actions"]
    }


def balance(policies: Mapping[str, Mapping[str, Any]], used: frozenset[str]) -> list[Balance]:
    """Each policy (name → document) against ``used``."""
    explained = frozenset(explained_actions())
    return [Balance(name, granted(document), used, explained) for name, document in sorted(policies.items())]


def attached_policies(user: str) -> dict[str, dict[str, Any]]:
    """Documents of the policies attached to an IAM user of the account that ``AWS_*`` name, by policy name."""
    iam = boto3.client("iam")
    documents: dict[str, dict[str, Any]] = {}
    for attached in iam.list_attached_user_policies(UserName=user)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId=version)["PolicyVersion"][
            "Document"
        ]
        documents[attached["PolicyName"]] = document if isinstance(document, dict) else json.loads(document)
    return documents


def table(balances: Iterable[Balance]) -> Table:
    """Counts by policy, and the names of what is unexplained."""
    drawn = Table("policy", "granted", "used", "listed as unused", "unexplained")
    for one in balances:
        used = one.granted & one.used
        drawn.add_row(
            one.policy,
            str(len(one.granted)),
            str(len(used)),
            str(len((one.granted & one.explained) - used)),
            ", ".join(sorted(one.unexplained)) or "0",
        )
    return drawn


def write(lines: list[str]) -> None:
    """Add a record to the committed one."""
    record = yaml.safe_load(USED.read_text()) if USED.exists() else {}
    merged = {user: sorted({*record.get(user, []), *recorded(lines, user)}) for user in USERS.values()}
    header = (
        "# IAM actions that deployments on the laptop platform asked for: first apply, change, rollback, destroy.\n"
    )
    USED.write_text(header + "# Written by `make policies WRITE=1`.\n" + yaml.safe_dump(merged))


def main() -> None:
    """Print the comparison; exit with 1 when a grant is neither used nor explained."""
    parser = argparse.ArgumentParser(prog="python -m ci.policies", description=__doc__)
    parser.add_argument("records", nargs="+", type=Path, help="IAM records of laptop platforms")
    parser.add_argument("--write", action="store_true", help="add the records to the committed one")
    arguments = parser.parse_args()
    try:
        lines = [line for record in arguments.records for line in record.read_text().splitlines()]
    except OSError as error:
        sys.exit(f"error: no IAM record at {error.filename}: run 'make up' first")
    if arguments.write:
        write(lines)
    unexplained: set[str] = set()
    for user in USERS.values():
        used = recorded(lines, user) | used_actions(user)
        balances = balance(attached_policies(user), used)
        Console(width=120).print(f"IAM user {user}", table(balances))
        unexplained |= {action for one in balances for action in one.unexplained}
    if unexplained:
        sys.exit(
            f"error: {len(unexplained)} actions are granted and never asked for: {', '.join(sorted(unexplained))}. "
            f"Remove them from modules/delivery, or give the reason in {UNUSED.relative_to(MODULE.parents[1])}"
        )


if __name__ == "__main__":
    main()
